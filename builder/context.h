// The build context: a folder, the ignore file that applies to it, and the list of what remains
// (dockerfile.md 4, cli.md X5). Files are reached by descriptor below the folder; nothing leads out
// of it (security.md B1).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "parser/ignore.h"

namespace img::builder {

// The ignore file for a Dockerfile and a context: FILE.dockerignore beside FILE, else .dockerignore
// or .containerignore in the context; an empty name when there is none.
struct IgnoreFile {
  std::string name, text;
};
IgnoreFile findIgnoreFile(const std::string& dockerfilePath, const std::string& contextDir);

class Context {
 public:
  // An empty `folder`: a context without files. Throws Kind::notFound / failed for what is no
  // folder. `storePath`, absolute: a store that lies in the context is no part of it, or a COPY
  // would copy its own result without end.
  Context(const std::string& folder, const IgnoreFile& ignore, const std::string& storePath = "");

  [[nodiscard]] int root() const { return root_.get(); }
  [[nodiscard]] const std::string& path() const { return path_; }  // absolute
  [[nodiscard]] const parser::IgnorePatterns& ignore() const { return ignore_; }
  [[nodiscard]] const std::string& ignoreName() const { return ignoreName_; }
  [[nodiscard]] bool isStore(std::string_view path) const;  // the store's folder or something in it

  // Relative paths that remain after the ignore rules, sorted bytewise; folders (with a trailing
  // '/') on request.
  [[nodiscard]] std::vector<std::string> list(bool withFolders) const;

 private:
  Fd root_;
  std::string path_;
  parser::IgnorePatterns ignore_;
  std::string ignoreName_;
  std::string store_;  // relative to the root; empty: the store lies elsewhere
};

// Dockerfile and ignore file: regular files only, never blocking on a FIFO (security.md R6).
// ENOENT: nullopt.
std::optional<std::string> tryReadUserFile(const std::string& path, size_t limit);
// The same for a file of the context: links lead nowhere but into it (security.md B1).
std::optional<std::string> tryReadContextFile(const std::string& folder, const std::string& name,
                                              size_t limit);

}  // namespace img::builder
