#include "parser/checks.h"

#include "base/text.h"
#include "parser/chars.h"
#include "parser/fault.h"
#include "parser/value_checks.h"

namespace img::parser {
namespace {

constexpr size_t kMaxParts = 3;

void readRules(std::string_view value, std::vector<std::string>& rules, bool& all) {
  for (const std::string& part : text::split(value, ',')) {
    const std::string_view rule = trimSpace(part);
    if (rule == "all") {
      all = true;
    } else if (!rule.empty()) {
      rules.emplace_back(rule);
    }
  }
}

}  // namespace

CheckConfig parseCheckConfig(std::string_view text) {
  CheckConfig config;
  const std::vector<std::string> parts = text::split(text, ';');
  if (parts.size() > kMaxParts) throw badValue("more than three options");
  for (const std::string& part : parts) {
    const size_t equals = part.find('=');
    const std::string_view name = trimSpace(std::string_view{part}.substr(0, equals));
    if (equals == std::string::npos) {
      throw badValue(fmt::format("{} has no \"=\"", text::quote(trimSpace(part))));
    }
    const std::string_view value = trimSpace(std::string_view{part}.substr(equals + 1));
    if (name == "skip") {
      readRules(value, config.skip, config.skipAll);
    } else if (name == "experimental") {
      readRules(value, config.experimental, config.experimentalAll);
    } else if (name == "error") {
      const auto on = parseBool(value);
      if (!on)
        throw badValue(fmt::format("error must be true or false, got {}", text::quote(value)));
      config.error = *on;
    } else {
      throw badValue(fmt::format("unknown option {}", text::quote(name)));
    }
  }
  return config;
}

}  // namespace img::parser
