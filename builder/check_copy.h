// Whether the ignore file excludes a source of COPY or ADD, told from its text alone: the check
// CopyIgnoredFile (dockerfile.md 8.2). An ignore file with exceptions is not judged.
#pragma once

#include <string>

#include "builder/request.h"
#include "parser/ignore.h"

namespace img::builder {

class CopySourceCheck {
 public:
  explicit CopySourceCheck(const Request& request);
  // `path` as expanded. Wildcards are matched as they are written.
  [[nodiscard]] bool isIgnored(const std::string& path, bool isAdd) const;

 private:
  parser::IgnorePatterns patterns_;
  bool ignoresAll_ = false;  // "*", "**" or "**/*": nothing is left of the context
};

}  // namespace img::builder
