#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace img::log {
namespace {

Level currentLevel = Level::warn;

spdlog::level::level_enum toSpdlog(Level level) {
  return static_cast<spdlog::level::level_enum>(level);
}

spdlog::logger& logger() {
  static spdlog::logger instance = [] {
    spdlog::logger made{"img", std::make_shared<spdlog::sinks::stderr_sink_st>()};
    made.set_pattern("%l: %v");
    made.set_level(spdlog::level::trace);
    return made;
  }();
  return instance;
}

}  // namespace

void setLevel(Level level) {
  currentLevel = level;
}
bool isEnabled(Level level) {
  return level >= currentLevel;
}
void write(Level level, std::string_view text) {
  logger().log(toSpdlog(level), text);
}

}  // namespace img::log
