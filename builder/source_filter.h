// Which paths below a COPY source count: the context's ignore rules, --exclude and --parents
// patterns, decided incrementally while a tree is walked (dockerfile.md 3.8, 4.3).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "parser/ignore.h"

namespace img::builder {

class SourceFilter {
 public:
  // Borrowed, may be null. `ignore` sees paths relative to the context, the others relative to the
  // source.
  const parser::IgnorePatterns* ignore = nullptr;
  const parser::IgnorePatterns* exclude = nullptr;
  const parser::IgnorePatterns* include = nullptr;

  struct State {
    parser::IgnorePatterns::State ignore, exclude, include;
  };
  enum class Verdict {
    take,     // it counts
    descend,  // the folder itself does not, something below it may
    skip
  };

  // The state of the source itself: `contextPath` is its path in the context ("" for the root).
  [[nodiscard]] State root(std::string_view contextPath) const;
  struct Step {
    State state;
    Verdict verdict;
  };
  // `contextPath` and `path` name the same child, seen from the context and from the source.
  [[nodiscard]] Step enter(const State& parent, std::string_view contextPath, std::string_view path,
                           bool isFolder) const;
  [[nodiscard]] bool isTrivial() const {
    return ignore == nullptr && exclude == nullptr && include == nullptr;
  }
};

}  // namespace img::builder
