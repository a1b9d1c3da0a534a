// What `ps` shows of a container, as words: STATUS, COMMAND (cli.md 6 and 11), and which of
// its filters it passes.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/containers.h"

namespace img::cli {

// "Up 3 minutes", "Exited (0) 2 hours ago", "Created", "Up 3 minutes (Paused)".
std::string statusText(const store::ContainerState& state, long long now);
// Quoted; 20 characters and an ellipsis, or whole.
std::string commandText(const std::vector<std::string>& argv, bool noTrunc);

// `-f KIND=VALUE`: several of one kind mean "or", different kinds "and" (label and label!: all must
// match).
class ContainerFilter {
 public:
  // Throws Kind::usage for an unknown kind or a bad value.
  void add(std::string_view text);
  // Containers that `before` and `since` compare with. The caller resolves what is named here.
  [[nodiscard]] std::vector<std::string> wanted(const std::string& kind) const;
  void resolve(const std::string& kind, std::vector<std::string> values);
  [[nodiscard]] bool hasStatus() const {
    return values_.contains("status") || values_.contains("exited");
  }
  [[nodiscard]] bool passes(const store::ContainerRecord& record) const;

 private:
  std::map<std::string, std::vector<std::string>> values_;
};

// The filters of a command line, with what `before`, `since` and `until` mean looked up.
ContainerFilter readContainerFilter(const store::Containers& containers,
                                    const std::vector<std::string>& texts);

}  // namespace img::cli
