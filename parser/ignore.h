// .dockerignore patterns (dockerfile.md section 4): compiled once, matched in time linear in the
// path. The same language serves COPY --exclude and --parents.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace img::parser {

class IgnorePatterns {
 public:
  IgnorePatterns();  // ignores nothing
  IgnorePatterns(IgnorePatterns&&) noexcept;
  IgnorePatterns& operator=(IgnorePatterns&&) noexcept;
  IgnorePatterns(const IgnorePatterns&) = delete;
  IgnorePatterns& operator=(const IgnorePatterns&) = delete;
  ~IgnorePatterns();

  // A file's text (comments, BOM, blanks). Throws Kind::failed with position.
  static IgnorePatterns parseFile(std::string_view text, std::string_view fileName);
  // Bare patterns (--exclude, --parents). Throws Kind::failed naming the pattern.
  static IgnorePatterns compile(const std::vector<std::string>& patterns);

  [[nodiscard]] bool empty() const;

  // Whole-path decision of 4.3. `path`: relative, '/'-separated, no leading "./".
  [[nodiscard]] bool isIgnored(std::string_view path) const;

  // Incremental form for a walk: the state of a folder is handed to its children.
  struct State {
    std::vector<std::uint64_t> matched;  // bit per pattern: it matched this path or a parent
    bool ignored = false;
  };
  [[nodiscard]] State root() const;
  // The state of `path`, whose parent has state `parent`.
  [[nodiscard]] State enter(const State& parent, std::string_view path) const;
  // Whether an ignored folder may hold something that an exception brings back (4.4).
  [[nodiscard]] bool mayContainException(std::string_view folder) const;

  // The last pattern that decided on `path`: its line (1-based; index + 1 for compile()) and text,
  // for hints.
  struct Rule {
    int line;
    std::string text;
  };
  [[nodiscard]] std::optional<Rule> decidingRule(std::string_view path) const;

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

// `path match` rules for wildcards in COPY sources (3.8): * ? [class] \c, never across '/'.
// Throws Kind::failed for a bad pattern.
bool matchWildcard(std::string_view pattern, std::string_view path);
bool hasWildcard(std::string_view path);

}  // namespace img::parser
