#include "builder/variables.h"

#include <fmt/core.h>

#include <algorithm>

namespace img::builder {

const std::string* Variables::find(std::string_view name) const {
  const auto at =
      std::find_if(values_.begin(), values_.end(), [&](const auto& v) { return v.first == name; });
  return at == values_.end() ? nullptr : &at->second;
}

void Variables::set(std::string_view name, std::string value) {
  for (auto& [key, old] : values_) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  values_.emplace_back(name, std::move(value));
}

std::vector<std::string> Variables::asEnv() const {
  std::vector<std::string> env;
  env.reserve(values_.size());
  for (const auto& [name, value] : values_) env.push_back(fmt::format("{}={}", name, value));
  return env;
}

parser::Lookup Variables::lookup() const {
  return [this](std::string_view name) { return find(name); };
}

void setEnv(std::vector<std::string>& env, std::string_view name, std::string_view value) {
  std::string entry{name};
  entry += '=';
  const size_t prefix = entry.size();
  entry += value;
  for (std::string& old : env) {
    if (std::string_view{old}.substr(0, prefix) == std::string_view{entry}.substr(0, prefix)) {
      old = std::move(entry);
      return;
    }
  }
  env.push_back(std::move(entry));
}

}  // namespace img::builder
