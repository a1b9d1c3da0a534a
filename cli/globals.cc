#include "cli/globals.h"

#include "base/environment.h"
#include "base/lock_wait.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/values.h"

namespace img::cli {
namespace {

[[noreturn]] void refuse(std::string_view option, const std::string& value,
                         std::string_view expected) {
  throw Error::make(Kind::usage, "invalid value {} for {}: expected {}", text::quote(value), option,
                    expected);
}

void setLogLevel(Context&, const std::string& value) {
  using log::Level;
  static constexpr std::array<std::pair<std::string_view, Level>, 7> kLevels{
      {{"trace", Level::trace},
       {"debug", Level::debug},
       {"info", Level::info},
       {"warn", Level::warn},
       {"warning", Level::warn},
       {"error", Level::error},
       {"fatal", Level::off}}};
  for (const auto& [name, level] : kLevels) {
    if (text::lower(value) == name) return log::setLevel(level);
  }
  refuse("--log-level", value, "trace, debug, info, warn, error or fatal");
}

void setVerbose(Context&, const std::string& value) {
  if (parseBool(value, "--verbose")) log::setLevel(log::Level::info);
}

void setColor(Context& context, const std::string& value) {
  if (value == "auto") {
    context.globals.color = When::automatic;
  } else if (value == "always") {
    context.globals.color = When::always;
  } else if (value == "never") {
    context.globals.color = When::never;
  } else {
    refuse("--color", value, "auto, always or never");
  }
}

void setErrorFormat(Context& context, const std::string& value) {
  if (value != "text" && value != "json") refuse("--error-format", value, "text or json");
  context.globals.jsonErrors = value == "json";
}

void setLongestWait(Context&, const std::string& value) {
  constexpr std::int64_t kMillisecond = 1'000'000;
  setLockTimeout(parseDuration(value, "--lock-timeout") / kMillisecond);
}

void setRoot(Context& context, const std::string& value) {
  if (value.empty()) refuse("--root", value, "a directory");
  context.globals.root = value;
}

void setRunRoot(Context& context, const std::string& value) {
  if (value.empty()) refuse("--runroot", value, "a directory");
  context.globals.runRoot = value;
}

}  // namespace

const std::array<GlobalOption, 7> kGlobalOptions{{
    {"--root", "DIR", "Store directory", setRoot},
    {"--runroot", "DIR", "Directory for what does not outlive a boot", setRunRoot},
    {"--log-level", "LEVEL", "trace, debug, info, warn, error or fatal (warn)", setLogLevel},
    {"--verbose", "", "Same as --log-level info", setVerbose},
    {"--color", "WHEN", "auto, always or never (auto)", setColor},
    {"--lock-timeout", "TIME", "Longest wait for another command (no limit)", setLongestWait},
    {"--error-format", "FORMAT", "Form of errors: text or json (text)", setErrorFormat},
}};

void applyEnvironment(Context& context) {
  context.globals.root = variableOrEmpty("IMG_ROOT");
  context.globals.runRoot = variableOrEmpty("IMG_RUNROOT");
  if (const std::string level = variableOrEmpty("IMG_LOG_LEVEL"); !level.empty()) {
    setLogLevel(context, level);
  }
}

}  // namespace img::cli
