// Diagnostics on stderr (spdlog behind a thin face, so that no header pulls it in). Results never
// go here. `debug`: system-call-level steps with ids; `info`: what the user would miss; `warn`:
// what the user can act on, once per cause. Set up lazily: a command that logs nothing initialises
// nothing.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <utility>

namespace img::log {

enum class Level { trace, debug, info, warn, error, off };

void setLevel(Level level);
bool isEnabled(Level level);
void write(Level level, std::string_view text);

template <class... Args>
void debug(fmt::format_string<Args...> text, Args&&... args) {
  if (isEnabled(Level::debug)) write(Level::debug, fmt::format(text, std::forward<Args>(args)...));
}
template <class... Args>
void info(fmt::format_string<Args...> text, Args&&... args) {
  if (isEnabled(Level::info)) write(Level::info, fmt::format(text, std::forward<Args>(args)...));
}
template <class... Args>
void warn(fmt::format_string<Args...> text, Args&&... args) {
  if (isEnabled(Level::warn)) write(Level::warn, fmt::format(text, std::forward<Args>(args)...));
}

}  // namespace img::log
