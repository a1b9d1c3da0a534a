// The variables of a stage while it is built: base Env, then ENV and ARG in instruction order
// (dockerfile.md 2.5). An ordered map: a name that is set again keeps its place and takes the new
// value.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "parser/expand.h"

namespace img::builder {

class Variables {
 public:
  [[nodiscard]] const std::string* find(std::string_view name) const;
  void set(std::string_view name, std::string value);
  [[nodiscard]] std::vector<std::string> asEnv() const;  // "K=V", in order
  [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& all() const {
    return values_;
  }
  // Borrows this object: it must outlive the function.
  [[nodiscard]] parser::Lookup lookup() const;

 private:
  std::vector<std::pair<std::string, std::string>> values_;
};

// Sets NAME in a list of "NAME=value" as an image config holds it.
void setEnv(std::vector<std::string>& env, std::string_view name, std::string_view value);

}  // namespace img::builder
