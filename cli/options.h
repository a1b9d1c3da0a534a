// The options of one command, in docker's syntax (cli.md section 1): `--name=value`, `--name
// value`, short clusters
// (`-it`, `-dp 80:80`, `-p4000:80`, `-e=X`), booleans without a separate value (`--rm=false`), `--`
// ends options, the last value of a single option wins, lists accumulate. The global options are
// part of every table. CLI11 keeps the table and prints the help; the words are brought into one
// plain form before it sees them, because its own rules for clusters, optional values and bracketed
// values differ from docker's.
//
//   Options options{context, "SRC NAME...", "Give an image more names"};
//   options.flag("-q,--quiet", quiet, "Print only ids").positionals(2, kAnyNumber);
//   if (!options.parse(args)) return 0;  // --help was shown
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command.h"

namespace img::cli {

inline constexpr size_t kAnyNumber = static_cast<size_t>(-1);

class Options {
 public:
  // `usage` is what follows "img COMMAND [OPTIONS]".
  Options(Context& context, std::string_view usage, std::string_view help);
  ~Options();
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;

  // `names` as CLI11 has them: "-f,--force". The targets outlive parse().
  Options& flag(const std::string& names, bool& value, const std::string& help);
  Options& text(const std::string& names, std::string& value, const std::string& meta,
                const std::string& help);
  Options& text(const std::string& names, std::optional<std::string>& value,
                const std::string& meta, const std::string& help);
  Options& list(const std::string& names, std::vector<std::string>& values, const std::string& meta,
                const std::string& help);
  Options& number(const std::string& names, std::optional<long long>& value,
                  const std::string& meta, const std::string& help);
  // Bytes (see values.h). -1 passes only where `allowUnlimited` is set.
  Options& size(const std::string& names, std::optional<long long>& bytes, const std::string& help,
                bool allowUnlimited = false);
  Options& duration(const std::string& names, std::optional<long long>& nanoseconds,
                    const std::string& help);
  // Any other type: `take` gets each value in turn and throws Kind::usage for a bad one.
  using Take = std::function<void(const std::string& value)>;
  Options& value(const std::string& names, const std::string& meta, const std::string& help,
                 Take take);
  // Takes a value only after `=`; without it `bare` is taken (`--pull` = `--pull=always`).
  Options& optionalValue(const std::string& names, const std::string& bare, const std::string& meta,
                         const std::string& help, Take take);
  // Known to docker or podman, without a meaning here: accepted, one info line, not in the help.
  Options& ignoredFlag(const std::string& names);
  Options& ignoredValue(const std::string& names);

  // Heading of the options added from here on.
  Options& group(const std::string& title);
  // run, create, exec: the first positional ends the options; all after it is kept as it is.
  Options& stopAtPositional();
  Options& positionals(size_t least, size_t most);

  // Throws Kind::usage (exit 125). False: the help was printed and the command has nothing more to
  // do.
  [[nodiscard]] bool parse(const std::vector<std::string>& args);
  [[nodiscard]] const std::vector<std::string>& words() const { return words_; }  // the positionals
  [[nodiscard]] bool isGiven(const std::string& name) const;                      // "--format"
  [[nodiscard]] std::string help() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::vector<std::string> words_;
};

}  // namespace img::cli
