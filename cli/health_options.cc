#include "cli/health_options.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"

namespace img::cli {
namespace {

constexpr std::array<std::string_view, 4> kOnFailure = {"none", "kill", "restart", "stop"};
// As docker has it: below a millisecond nothing is measured.
constexpr long long kShortest = 1'000'000;

void checkDuration(const std::optional<long long>& value, const char* option, bool mayBeZero) {
  if (!value || *value >= kShortest || (mayBeZero && *value == 0)) return;
  throw Error::make(Kind::usage, "{}: less than 1ms", option);
}

// A command line for the shell, or a JSON array of words, which needs none.
std::vector<std::string> testOf(const std::string& command) {
  if (command.empty()) throw Error{Kind::usage, "--health-cmd: no command"};
  if (command == "none") return {"NONE"};
  if (!command.starts_with('[')) return {"CMD-SHELL", command};
  try {
    auto words = parseJson(command, "--health-cmd").get<std::vector<std::string>>();
    if (words.empty()) throw Error{Kind::usage, "--health-cmd: no command"};
    words.insert(words.begin(), "CMD");
    return words;
  } catch (const Json::exception& error) {
    throw Error::make(Kind::usage, "--health-cmd: {} is not an array of words",
                      text::quote(command));
  }
}

}  // namespace

store::HealthRecord healthRecordOf(const HealthRequest& request) {
  const bool hasOthers = request.command || request.interval || request.timeout ||
                         request.startPeriod || request.startInterval || request.retries;
  if (request.isDisabled && hasOthers) {
    throw Error{Kind::usage, "--no-healthcheck excludes the other --health options"};
  }
  checkDuration(request.interval, "--health-interval", false);
  checkDuration(request.timeout, "--health-timeout", false);
  checkDuration(request.startPeriod, "--health-start-period", true);
  checkDuration(request.startInterval, "--health-start-interval", false);
  if (request.retries && (*request.retries < 1 || *request.retries > 1'000'000)) {
    throw Error{Kind::usage, "--health-retries: not a positive number"};
  }
  store::HealthRecord record;
  record.isDisabled = request.isDisabled;
  if (request.command) record.test = testOf(*request.command);
  record.interval = request.interval;
  record.timeout = request.timeout;
  record.startPeriod = request.startPeriod;
  record.startInterval = request.startInterval;
  if (request.retries) record.retries = static_cast<int>(*request.retries);
  record.onFailure = request.onFailure;
  const bool isKnown = record.onFailure.empty() || std::find(kOnFailure.begin(), kOnFailure.end(),
                                                             record.onFailure) != kOnFailure.end();
  if (!isKnown) {
    throw Error::make(Kind::usage, "--health-on-failure: unknown action {}",
                      text::quote(record.onFailure))
        .hint("none, kill, restart or stop");
  }
  return record;
}

store::RestartRecord parseRestart(const std::string& text) {
  const size_t colon = text.find(':');
  store::RestartRecord record{text.substr(0, colon), 0};
  const bool isOnFailure = record.policy == "on-failure";
  if (colon != std::string::npos) {
    const auto maximum = text::parseUnsigned(std::string_view{text}.substr(colon + 1));
    if (!isOnFailure || !maximum || *maximum > 1'000'000) {
      throw Error::make(Kind::usage, "--restart: {} is not on-failure[:NUMBER]", text::quote(text));
    }
    record.maximum = static_cast<int>(*maximum);
  }
  if (record.policy == "no" || record.policy.empty()) return {};
  if (!isOnFailure && record.policy != "always" && record.policy != "unless-stopped") {
    throw Error::make(Kind::usage, "--restart: unknown policy {}", text::quote(text))
        .hint("no, on-failure[:NUMBER], always or unless-stopped");
  }
  return record;
}

}  // namespace img::cli
