// One Error for the whole program: what went wrong, the steps that were under way, and what the
// user can do. Thrown by value, caught by reference; crosses a process boundary as JSON (see
// process.h). Text form and exit status: docs of the command line, cli/report.h prints it. Not
// shared between threads.
#pragma once

#include <fmt/core.h>

#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace img {

// What a caller may react to. People read the text.
enum class Kind { failed, usage, notFound, exists, busy, corrupt, denied, unsupported, internal };

std::string_view kindName(Kind kind);

// A place in a text the user wrote. Lines and columns are 1-based; 0 means unknown.
struct Position {
  std::string file;
  int line = 0;
  int endLine = 0;
  int column = 0;    // of the token at fault, in Unicode scalar values
  int width = 0;     // length of that token; 0: the first word of the line
  std::string text;  // the whole file, for the excerpt; may be empty
};

class Error : public std::exception {
 public:
  Error(Kind kind, std::string cause);
  template <class... Args>
  static Error make(Kind kind, fmt::format_string<Args...> cause, Args&&... args) {
    return Error{kind, fmt::format(cause, std::forward<Args>(args)...)};
  }
  // "ACTION: No such file or directory (ENOENT)"; the kind follows from errnum.
  static Error fromErrno(int errnum, std::string_view action);

  // Adds the next outer step ("unpacking layer sha256:12ab..").
  template <class... Args>
  Error& during(fmt::format_string<Args...> step, Args&&... args) {
    return addStep(fmt::format(step, std::forward<Args>(args)...));
  }
  Error& addStep(std::string step);
  Error& hint(std::string text);  // an action the user can take
  Error& why(std::string text);   // the system-level cause
  Error& code(std::string name);  // stable name of the case, cli.md section 4
  Error& at(Position position);   // kept if already set: the innermost place wins
  Error& exitCode(int status);    // overrides the status that follows from the kind
  Error& logTail(std::vector<std::string> lines);
  Error& stage(std::string label);  // e.g. `stage "build", step 4/9`
  Error& prefixCause(std::string_view prefix);
  Error& also(Error other);  // found at the same time, and independent of this one

  [[nodiscard]] const char* what() const noexcept override { return cause_.c_str(); }
  [[nodiscard]] const std::string& cause() const noexcept { return cause_; }
  [[nodiscard]] Kind kind() const noexcept { return kind_; }
  [[nodiscard]] int errnum() const noexcept { return errnum_; }
  [[nodiscard]] const std::vector<std::string>& steps() const noexcept { return steps_; }
  [[nodiscard]] const std::vector<std::string>& hints() const noexcept { return hints_; }
  [[nodiscard]] const std::string& why() const noexcept { return why_; }
  [[nodiscard]] const std::string& code() const noexcept { return code_; }
  [[nodiscard]] const std::optional<Position>& position() const noexcept { return position_; }
  [[nodiscard]] const std::optional<int>& exitCode() const noexcept { return exitCode_; }
  [[nodiscard]] const std::vector<std::string>& logTail() const noexcept { return logTail_; }
  [[nodiscard]] const std::string& stage() const noexcept { return stage_; }
  [[nodiscard]] const std::vector<Error>& others() const noexcept { return others_; }

  // For the error pipe of a child. fromJson never throws: bad input gives Kind::internal.
  [[nodiscard]] std::string toJson() const;
  static Error fromJson(std::string_view text);

 private:
  Kind kind_;
  int errnum_ = 0;
  std::string cause_;
  std::vector<std::string> steps_;
  std::vector<std::string> hints_;
  std::string why_;
  std::string code_;
  std::optional<Position> position_;
  std::optional<int> exitCode_;
  std::vector<std::string> logTail_;
  std::string stage_;
  std::vector<Error> others_;
};

// The error of the exception in flight, whatever its type (foreign ones become Kind::internal).
Error currentError();

}  // namespace img
