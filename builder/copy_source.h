// The sources of a COPY or ADD, resolved: named paths and wildcard matches below a source root,
// ignore rules applied, errors that name what is near (dockerfile.md 3.8 "Source path",
// "Wildcards"; cli.md 4 copy-source-missing, copy-source-ignored).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "builder/context.h"
#include "parser/ignore.h"

namespace img::builder {

// A tree that sources come from: the context, or the root file system of a stage or image.
struct SourceRoot {
  int fd = -1;
  bool isContext = true;
  const Context* context = nullptr;  // set for the context
  std::string label;                 // "the build context", `stage "base"`, `image "busybox"`
  [[nodiscard]] const parser::IgnorePatterns* ignore() const {
    return context != nullptr ? &context->ignore() : nullptr;
  }
};

struct CopySource {
  Fd handle;                // O_PATH, links followed
  std::string name;         // base name of the path as written or matched
  std::string contextPath;  // where it really lies below the root, "" for the root itself
  std::string matched;      // wildcards: the path that matched; else empty
};

// `path` as written, already expanded. A pattern that matches nothing yields nothing; a missing
// plain path throws. Only the source in use is open: a pattern may match more names than a process
// may open files. Returns how many there were.
size_t forEachSource(const SourceRoot& root, const std::string& path, const std::string& keyword,
                     const std::function<void(const CopySource&)>& use);

// One source by its plain name, wildcards meaning nothing: what RUN --mount takes.
CopySource resolveSource(const SourceRoot& root, const std::string& path,
                         const std::string& keyword);

}  // namespace img::builder
