#include "cli/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>
#include <set>

#include "base/digest.h"
#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/human.h"
#include "cli/report.h"

namespace img::cli {
namespace {

constexpr size_t kMaxChanges = 20;
constexpr size_t kMaxValue = 120;
constexpr size_t kNameColumn = 18;

std::string shortDigest(const std::string& hex) {
  return hex.size() > 6 ? hex.substr(0, 6) + "…" : hex;
}

std::string shownValue(const std::string& value) {
  constexpr std::string_view kPrefix = "sha256:";
  if (value.empty()) return "(empty)";
  if (const auto digest = Digest::tryParse(value)) return std::string{kPrefix} + digest->shortHex();
  if (Digest::tryParseHex(value)) return shortDigest(value);
  return ellipsis(printable(value), kMaxValue);
}

char markOf(const builder::Change& change) {
  if (change.field == "added") return '+';
  if (change.field == "removed") return '-';
  if (change.field == "mode") return 'm';
  if (change.field == "type") return 't';
  if (change.field == "link") return 'l';
  if (change.field == "xattr") return 'x';
  return '~';
}

std::string fileText(const builder::Change& change) {
  if (change.field == "added" || change.field == "removed") return {};
  if (change.field == "content") {
    return fmt::format("content {} → {}  ({} → {})", shortDigest(change.before),
                       shortDigest(change.after), formatSize(change.bytesBefore),
                       formatSize(change.bytesAfter));
  }
  return fmt::format("{} {} → {}", change.field, shownValue(change.before),
                     shownValue(change.after));
}

std::string valueText(const builder::Change& change) {
  if (change.field == "added") return change.after.empty() ? "" : shownValue(change.after);
  if (change.field == "removed") return change.before.empty() ? "" : shownValue(change.before);
  return fmt::format("{} → {}", shownValue(change.before), shownValue(change.after));
}

std::string changeLine(const builder::Change& change) {
  const bool isFile = change.kind == "file";
  std::string name = printable(change.name.empty() && isFile ? "." : change.name);
  if (!isFile) name = change.kind + (name.empty() ? "" : " " + name);
  const std::string text = isFile ? fileText(change) : valueText(change);
  if (text.empty()) return fmt::format("     {} {}", markOf(change), name);
  return fmt::format("     {} {:<{}}  {}", markOf(change), name, kNameColumn, text);
}

// "4 inputs changed", or what the progress line says when there is nothing to count.
std::string headline(const builder::Miss& miss) {
  std::set<std::pair<std::string, std::string>> things;
  for (const builder::Change& change : miss.changes) things.emplace(change.kind, change.name);
  const bool isCounted = things.size() > 1;
  return isCounted ? fmt::format("{} inputs changed", things.size()) : printable(miss.text);
}

std::string since(const std::string& build, const std::string& at, std::string_view word,
                  long long now) {
  if (build.empty()) return {};
  const std::string when = formatWhen(at, now);
  return fmt::format(" {} build {}{}", word, build, when.empty() ? "" : " (" + when + ")");
}

// What compares nothing needs no list.
bool hasList(const builder::Miss& miss) {
  return miss.reason != "parent" && miss.reason != "evicted" && miss.reason != "not-exported";
}

std::vector<std::string> hitLines(const builder::Explanation& hit, long long now) {
  const std::string maker = since(hit.madeBy, hit.madeAt, "made by", now);
  std::string line = maker.empty() ? "   hit" : "   hit:" + maker;
  if (!hit.from.empty()) line = "   hit: from cache " + printable(hit.from);
  return {std::move(line)};
}

}  // namespace

ExplainMode explainMode(const std::string& word) {
  if (word.empty()) return ExplainMode::none;
  if (word == "text") return ExplainMode::text;
  if (word == "all") return ExplainMode::all;
  if (word == "json") return ExplainMode::json;
  throw Error::make(Kind::usage, "--explain {}: use text, all or json", text::quote(word));
}

std::vector<std::string> explainLines(const builder::Explanation& explanation, bool all,
                                      long long now) {
  if (explanation.isHit) return all ? hitLines(explanation, now) : std::vector<std::string>{};
  const builder::Miss& miss = explanation.miss;
  std::string first = "   miss: " + headline(miss);
  if (miss.reason == "evicted" && !miss.changes.empty()) {
    first += ", " + formatWhen(miss.changes.front().after, now);
  } else if (miss.reason != "parent") {
    first += since(miss.comparedWith, miss.comparedAt, "since", now);
  }
  std::vector<std::string> lines{std::move(first)};
  if (hasList(miss)) {
    const size_t count = all ? miss.changes.size() : std::min(miss.changes.size(), kMaxChanges);
    for (size_t i = 0; i < count; ++i) lines.push_back(changeLine(miss.changes[i]));
    if (count < miss.changes.size()) {
      lines.push_back(
          fmt::format("     … and {} more (--explain=all)", miss.changes.size() - count));
    }
  }
  if (!miss.hint.empty()) lines.push_back("   hint: " + printable(miss.hint));
  return lines;
}

std::string explainJson(const builder::StepLabel& step, const builder::Explanation& explanation) {
  const builder::Miss& miss = explanation.miss;
  nlohmann::ordered_json json{
      {"step", step.number},
      {"line", step.line},
      {"instruction", step.text},
      {"result", explanation.isHit ? "hit" : "miss"},
      {"reason", miss.reason},
      {"compared_with", explanation.isHit ? explanation.madeBy : miss.comparedWith}};
  if (!explanation.from.empty()) json["cache"] = explanation.from;
  json["changes"] = nlohmann::ordered_json::array();
  for (const builder::Change& change : miss.changes) {
    nlohmann::ordered_json item{{"kind", change.kind},
                                {"name", change.name},
                                {"old", change.before},
                                {"new", change.after}};
    if (change.kind == "file") item["field"] = change.field;
    json["changes"].push_back(std::move(item));
  }
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string formatWhen(const std::string& rfc3339, long long now) {
  const auto seconds = text::parseTimeSeconds(rfc3339);
  if (!seconds) return {};
  const auto local = [](long long time) {
    const auto value = static_cast<time_t>(time);
    tm parts{};
    ::localtime_r(&value, &parts);
    return parts;
  };
  const tm then = local(*seconds);
  const auto isDay = [&](const tm& day) {
    return day.tm_year == then.tm_year && day.tm_yday == then.tm_yday;
  };
  const std::string clock = fmt::format("{:02}:{:02}", then.tm_hour, then.tm_min);
  if (isDay(local(now))) return "today " + clock;
  constexpr long long kDay = 86'400;  // seconds
  if (isDay(local(now - kDay))) return "yesterday " + clock;
  return fmt::format("{:04}-{:02}-{:02} {}", then.tm_year + 1900, then.tm_mon + 1, then.tm_mday,
                     clock);
}

}  // namespace img::cli
