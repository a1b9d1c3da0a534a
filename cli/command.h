// What a command is, the table it registers in, and what it gets to work with.
//
// A unit exports `void addXxxCommands(CommandTable&)`, declared in commands.h and called in
// commands.cc. The table holds only names, a line of help and a function: the option table of a
// command (options.h) is built by that function, so that a start of the program pays for the one
// command it runs.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "store/layout.h"

namespace img::cli {

class Context;

// Headings of `img --help`, in this order.
enum class Group { build, containers, images, volumes, system };

struct Command {
  // Comma-separated, the canonical name first: "images,ls,image ls". A grouped spelling has one
  // blank.
  std::string_view names;
  Group group;
  std::string_view help;  // one line, no full stop
  // Gets the words after the command's name, returns the exit status. Errors are thrown.
  int (*run)(Context& context, const std::vector<std::string>& args);
};

class CommandTable {
 public:
  void add(const Command& command) { commands_.push_back(command); }
  [[nodiscard]] const Command* find(std::string_view name) const;  // by any of its names
  [[nodiscard]] bool isGroup(std::string_view word) const;         // "image" of "image ls"
  // The second words of a group, or all names without a blank when `group` is empty.
  [[nodiscard]] std::vector<std::string> namesIn(std::string_view group) const;
  [[nodiscard]] const std::vector<Command>& all() const { return commands_; }

 private:
  std::vector<Command> commands_;
};

enum class When { automatic, always, never };

// Options that every command takes, before or after its name (cli.md section 1).
struct Globals {
  std::string root;     // empty: the default place
  std::string runRoot;  // empty: the default place
  std::string isolation = "auto";
  When color = When::automatic;
  bool jsonErrors = false;
};

class Context {
 public:
  // The descriptors of results and of everything else; tests give their own.
  explicit Context(int out = 1, int err = 2) : out_(out), err_(err) {}

  Globals globals;
  std::string command;  // as shown in "See 'img COMMAND --help'"; empty before it is known

  // The store of --root, $IMG_ROOT or the default place; opened (and created) at the first call,
  // which enters the namespace of a caller who is not root (rootless.h). Paths may be opened before
  // it; what is to be mounted must be opened after it.
  const store::Layout& store();
  // Where it lies, and where what does not outlive a boot does (--runroot, $IMG_RUNROOT or the
  // default place); absolute.
  std::string storeRoot();
  std::string runRoot();

  // A result to stdout, whole. A reader that has gone away ends the command quietly (OutputClosed).
  void print(std::string_view text);
  // A notice to stderr, not part of the result.
  void notice(std::string_view text);
  // A warning in the form of cli.md section 4; the same warning is shown once.
  void warn(const Error& warning);
  // An error in the form of section 4.
  void report(const Error& error);
  // One failure among several targets: reported at once, and the command goes on; status() is
  // then 1.
  void fail(const Error& error);
  int status() const { return status_; }

  int out() const { return out_; }
  int err() const { return err_; }
  bool outIsTerminal() const;
  bool errIsTerminal() const;
  bool useColor(int fd) const;  // cli.md section 2

 private:
  int out_, err_;
  int status_ = 0;
  std::string storeRoot_, runRoot_;
  std::optional<store::Layout> store_;
  std::vector<std::string> warned_;
};

// Thrown by Context::print on EPIPE; App ends the command silently with status 0 (cli.md section
// 2).
struct OutputClosed {};

}  // namespace img::cli
