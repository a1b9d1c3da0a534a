// Flags, mounts and the values behind them: reading what was written out gives the same again, and
// the order of mount options does not matter (Q15).
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/text.h"
#include "parser/checks.h"
#include "parser/dockerfile.h"
#include "parser/json_array.h"
#include "parser/paths.h"
#include "parser/value_checks.h"
#include "parser/words.h"
#include "tests/parser/fuzz_targets.h"

namespace img::parser::testing {
namespace {

void checkFlags(std::string_view text, char escape) {
  const FlagSplit split = splitFlags(text, escape);
  require(text.find(split.body) != std::string_view::npos, "the body is part of the text");
  std::string again;
  for (const std::string& flag : split.flags) {
    require(flag.starts_with("--") && flag.size() > 2, "a flag begins with two dashes");
    // The dashes themselves must stand there as they are to begin a flag.
    again += "--" + escapeAll(std::string_view{flag}.substr(2), escape) + " ";
  }
  again += "-- x";
  const FlagSplit second = splitFlags(again, escape);
  require(second.flags == split.flags && second.body == "x", "escaped flags stay");
}

void checkInstructions(std::string_view text) {
  std::string line;
  for (const char c : text) line += c == '\n' ? ' ' : c;
  for (const std::string_view keyword : {"RUN", "COPY", "ADD", "HEALTHCHECK", "ARG"}) {
    succeeds([&] { parseDockerfile(fmt::format("FROM a\n{} {}\n", keyword, line), "Dockerfile"); });
  }
  succeeds([&] { parseDockerfile(fmt::format("FROM {}\n", line), "Dockerfile"); });
}

std::string quoteCsv(const std::vector<std::string>& fields) {
  std::string out;
  for (const std::string& field : fields) {
    if (!out.empty()) out += ',';
    out += '"';
    for (const char c : field) out += c == '"' ? std::string{"\"\""} : std::string{c};
    out += '"';
  }
  return out;
}

bool isSame(const RunMount& a, const RunMount& b) {
  return a.type == b.type && a.target == b.target && a.source == b.source && a.from == b.from &&
         a.readOnly == b.readOnly && a.id == b.id && a.sharing == b.sharing && a.size == b.size &&
         a.mode == b.mode && a.uid == b.uid && a.gid == b.gid && a.required == b.required &&
         a.env == b.env;
}

// Whether no option is given twice, under any of its names.
bool isOrderFree(const std::vector<std::string>& fields) {
  std::set<std::string> seen;
  for (const std::string& field : fields) {
    std::string key = text::lower(field.substr(0, field.find('=')));
    if (key == "dst" || key == "destination") key = "target";
    if (key == "src") key = "source";
    if (key == "ro" || key == "rw" || key == "readwrite") key = "readonly";
    if (!seen.insert(key).second) return false;
  }
  return true;
}

void checkMount(std::string_view text) {
  succeeds([&] {
    const RunMount mount = parseRunMount(text);
    const bool isNamed = mount.type == RunMount::Type::secret || mount.type == RunMount::Type::ssh;
    require(isNamed ? !mount.id.empty() : !mount.target.empty(), "a mount is told apart");
    require(mount.target.empty() || cleanPath(mount.target) != "/", "nothing over /");
    require(!mount.mode || *mount.mode <= 07777, "a mode has twelve bits");
    auto fields = splitCsv(text).value();
    require(isSame(mount, parseRunMount(quoteCsv(fields))), "quotes do not matter");
    const ExpandValue same = [](std::string_view value) { return std::string{value}; };
    require(isSame(mount, parseRunMount(text, same)), "expanding nothing changes nothing");
    if (!isOrderFree(fields)) return;
    std::reverse(fields.begin(), fields.end());
    require(isSame(mount, parseRunMount(quoteCsv(fields))), "order does not matter");
  });
  const auto fields = splitCsv(text);
  if (fields) require(splitCsv(quoteCsv(*fields)) == fields, "a CSV line reads back");
}

void checkPorts(std::string_view word) {
  succeeds([&] {
    const ExposeWord expose = parseExposeWord(word);
    require(!expose.ports.empty() && expose.ports.size() <= 65536, "a range is a range");
    for (const std::string& port : {expose.ports.front(), expose.ports.back()}) {
      const ExposeWord one = parseExposeWord(port);
      require(one.ports == std::vector{port} && !one.hasHostPart && !one.protocolNotLowerCase,
              "a port is its own form");
    }
  });
}

void checkPlatform(std::string_view text) {
  succeeds([&] {
    const Platform platform = parsePlatform(text);
    require(!platform.os.empty() && !platform.architecture.empty(), "a platform is complete");
    require(parsePlatform(platform.str()) == platform, "a platform reads back");
  });
}

void checkNumbers(std::string_view text) {
  succeeds([&] {
    const ModeChange change = ModeChange::parse(text);
    for (const bool isDirectory : {false, true}) {
      const mode_t mode = change.apply(0640, isDirectory);
      require((mode & ~mode_t{07777}) == 0, "a mode has twelve bits");
      if (change.octal()) require(mode == *change.octal(), "an octal mode is the mode");
    }
  });
  succeeds([&] {
    const long long duration = parseDuration(text);
    require(parseDuration(fmt::format("{}ns", duration)) == duration, "a duration reads back");
  });
  const auto signal = signalNumber(text);
  require(succeeds([&] { checkStopSignal(text); }) == signal.has_value(), "one list of signals");
  require(signalNumber(text::lower(text)) == signal, "the case of a signal does not matter");
  const auto flag = parseBool(text);
  if (flag) require(parseBool(text::lower(text)) == flag, "the case of a boolean does not matter");
  succeeds([&] { parseCheckConfig(text); });
}

// Where the two definitions of JSON do not differ: text without surrogates and foreign bytes.
void checkJson(std::string_view text) {
  const auto ours = parseJsonArray(text);
  const bool isPlain =
      text.find("\\u") == std::string_view::npos &&
      std::all_of(text.begin(), text.end(), [](char c) { return c > 0 && c != 0x7F; });
  if (!isPlain || !text.starts_with('[') || text.size() > 1000) return;
  const auto theirs = nlohmann::json::parse(text, nullptr, false);
  // Numbers that fit no double are an error there, and a number here.
  if (theirs.is_discarded() && ours && ours->badElement != 0) return;
  require(ours.has_value() == theirs.is_array(), "JSON is JSON");
  if (!ours || ours->badElement != 0) return;
  require(ours->strings == theirs.get<std::vector<std::string>>(), "strings are decoded");
}

}  // namespace

void fuzzValues(std::string_view text) {
  for (const char escape : {'\\', '`'}) checkFlags(text, escape);
  checkInstructions(text);
  checkMount(text);
  checkPorts(text);
  checkPlatform(text);
  checkNumbers(text);
  checkJson(text);
}

}  // namespace img::parser::testing
