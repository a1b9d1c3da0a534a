// Checks of values that are known only after expansion, for the builder: modes, ports, signals,
// durations, platforms, and the text of RUN --mount
// (dockerfile.md 3.2, 3.6, 3.8, 3.13, 3.17, 3.19). Every function throws Kind::failed with code
// "parse" and the message of the spec WITHOUT its "{INSTR}: " prefix and without a position: the
// caller knows both (Error::prefixCause, Error::at).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace img::parser {

// 1 t T TRUE true True, 0 f F FALSE false False; anything else nullopt.
std::optional<bool> parseBool(std::string_view text);

// --chmod: octal 0..7777, or symbolic as chmod(1) does it with umask 0.
class ModeChange {
 public:
  // Throws "--chmod {v}: use octal 0-7777 or a symbolic mode such as u=rwX,go=rX".
  static ModeChange parse(std::string_view text);

  // Set for the octal form only; it then also applies to DEST and the parents made on the way
  // (3.8).
  [[nodiscard]] std::optional<mode_t> octal() const { return octal_; }
  // The new permission bits (07777) of a file whose mode is `mode`; type bits are ignored.
  [[nodiscard]] mode_t apply(mode_t mode, bool isDirectory) const;

 private:
  struct Clause {
    mode_t affected = 0;        // the bits that the "who" part may touch
    char op = '=';              // + - =
    mode_t bits = 0;            // r w x s t
    bool conditionalX = false;  // X
    char copyFrom = 0;          // u, g or o: copy that class's permissions
  };
  bool addClauses(std::string_view part);
  [[nodiscard]] mode_t applyClause(const Clause& clause, mode_t mode, bool isDirectory) const;
  std::optional<mode_t> octal_;
  std::vector<Clause> clauses_;
};

// One expanded EXPOSE word: `[[ip:]hostport:]port[-port][/proto]`.
struct ExposeWord {
  std::vector<std::string> ports;  // "80/tcp", ranges as single entries
  bool hasHostPart = false;        // ip or host port given, and dropped (check ExposeInvalidFormat)
  bool protocolNotLowerCase = false;  // check ExposeProtoCasing
};
ExposeWord parseExposeWord(std::string_view word);

// The number of "9", "KILL", "SIGKILL", "rtmin+3", "SIGRTMAX-1"; nullopt for 0 and anything
// unknown.
std::optional<int> signalNumber(std::string_view name);
// Throws "unknown signal {s}".
void checkStopSignal(std::string_view name);

// "1h30m", "1.5s", "300ms", "-2s", "0": nanoseconds. Throws the {detail} text of 3.17 alone.
long long parseDuration(std::string_view text);

struct RunMount {
  enum class Type { bind, cache, tmpfs, secret, ssh };
  enum class Sharing { shared, exclusive, locked };  // exclusive is written "private"
  Type type = Type::bind;
  std::string target;  // as written, not yet joined to WORKDIR; empty when not given (secret, ssh)
  std::string source;  // empty when not given
  std::string from;    // empty when not given; never expanded
  bool readOnly = true;
  std::string id;  // cache: target as written, cleaned; secret: its name; ssh: "default"
  Sharing sharing = Sharing::shared;
  std::uint64_t size = 0;  // tmpfs; 0: no limit
  std::optional<mode_t> mode;
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  bool required = false;
  std::string env;  // secret: the variable that gets its content
};
std::string_view mountTypeName(RunMount::Type type);

// `expandValue` is called for every value but that of `from` (2.6); without it values are taken as
// they are. Splitting comes first, so an expanded value may hold commas.
using ExpandValue = std::function<std::string(std::string_view value)>;
RunMount parseRunMount(std::string_view text, const ExpandValue& expandValue = {});
// The value of `from` alone, for planning: all other values may hold variables that have no value
// yet. Empty when there is none or parseRunMount would refuse it.
std::string runMountFrom(std::string_view text);

// A CSV line as --mount and --device use it: fields separated by commas, "..." around a field, ""
// inside. nullopt: a quote in the wrong place.
std::optional<std::vector<std::string>> splitCsv(std::string_view text);

struct Platform {
  std::string os;
  std::string osVersion;
  std::string architecture;
  std::string variant;
  // "linux/arm64", "linux/arm/v7", "windows(10.0.17763)/amd64".
  [[nodiscard]] std::string str() const;
  bool operator==(const Platform&) const = default;
};
// The machine this program runs on, normalised.
Platform hostPlatform();
// Normalised (3.2); missing parts come from `host`. Throws "bad platform {p}".
Platform parsePlatform(std::string_view text, const Platform& host = hostPlatform());

}  // namespace img::parser
