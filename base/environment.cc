#include "base/environment.h"

#include <cstdlib>

namespace img {

std::optional<std::string> findVariable(const std::string& name) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing sets variables
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return value;
}

std::string variableOrEmpty(const std::string& name) {
  return findVariable(name).value_or("");
}

}  // namespace img
