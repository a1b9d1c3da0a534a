#include "builder/context.h"

#include <dirent.h>

#include <algorithm>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::builder {
namespace {

constexpr size_t kMaxIgnoreFile = size_t{1} << 20;  // security.md L1

bool isFolder(int dir, const fs::Entry& entry) {
  if (entry.type != DT_UNKNOWN) return entry.type == DT_DIR;
  const auto st = sys::tryFstatat(dir, entry.name);
  return st && S_ISDIR(st->st_mode);
}

std::string readRegular(int fd, const std::string& path, size_t limit) {
  if (!S_ISREG(sys::fstat(fd).st_mode)) {
    throw Error::make(Kind::failed, "{} is not a regular file", text::quote(path));
  }
  return readAll(fd, path, limit);
}

// A path as a pattern that matches it alone. The leading '/' keeps '#' and '!' from counting.
std::string patternFor(const std::string& path) {
  std::string pattern = "/";
  for (const char c : path) {
    if (std::string_view{"*?[]\\"}.find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

// An ignored folder that has a descendant which an exception brings back is listed as its parent
// (4.3), hence the result: whether anything below `folder` remains.
bool listBelow(const parser::IgnorePatterns& ignore, int dir, const std::string& prefix,
               const parser::IgnorePatterns::State& state, bool withFolders,
               std::vector<std::string>& out) {
  bool isAny = false;
  for (const fs::Entry& entry : fs::list(dir)) {
    const std::string path = prefix + entry.name;
    const auto below = ignore.enter(state, path);
    if (!isFolder(dir, entry)) {
      if (!below.ignored) out.push_back(path);
      isAny = isAny || !below.ignored;
      continue;
    }
    if (below.ignored && !ignore.mayContainException(path)) continue;
    const Fd sub = sys::openat(dir, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    const bool remains =
        listBelow(ignore, sub.get(), path + "/", below, withFolders, out) || !below.ignored;
    if (remains && withFolders) out.push_back(path + "/");
    isAny = isAny || remains;
  }
  return isAny;
}

}  // namespace

std::optional<std::string> tryReadUserFile(const std::string& path, size_t limit) {
  const auto fd = sys::tryOpenat(AT_FDCWD, path, O_RDONLY | O_NONBLOCK);
  if (!fd) return std::nullopt;
  return readRegular(fd->get(), path, limit);
}

std::optional<std::string> tryReadContextFile(const std::string& folder, const std::string& name,
                                              size_t limit) {
  const auto root = sys::tryOpenat(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY);
  if (!root) return std::nullopt;
  if (const auto fd = sys::tryOpenInRoot(root->get(), name, O_RDONLY | O_NONBLOCK))
    return readRegular(fd->get(), folder + "/" + name, limit);
  if (!sys::tryFstatat(root->get(), name)) return std::nullopt;
  throw Error::make(Kind::failed, "{} is a link out of the build context",
                    text::quote(folder + "/" + name))
      .why(fmt::format("it leads to {}", text::quote(sys::readlinkat(root->get(), name))));
}

IgnoreFile findIgnoreFile(const std::string& dockerfilePath, const std::string& contextDir) {
  if (!dockerfilePath.empty()) {
    const std::string path = dockerfilePath + ".dockerignore";
    if (auto content = tryReadUserFile(path, kMaxIgnoreFile)) return {path, std::move(*content)};
  }
  if (contextDir.empty()) return {};
  for (const char* name : {".dockerignore", ".containerignore"}) {
    if (auto content = tryReadContextFile(contextDir, name, kMaxIgnoreFile))
      return {name, std::move(*content)};
  }
  return {};
}

Context::Context(const std::string& folder, const IgnoreFile& ignore, const std::string& storePath)
    : ignoreName_(ignore.name) {
  if (!folder.empty()) {
    auto opened = sys::tryOpenat(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY);
    if (!opened) {
      throw Error::make(Kind::notFound, "the build context {} is not a folder", text::quote(folder))
          .hint("the last argument is the folder with the files to build from, usually \".\"");
    }
    root_ = std::move(*opened);
    path_ = sys::readlinkat(AT_FDCWD, sys::procPath(root_.get()));
  }
  const std::string prefix = path_ == "/" ? path_ : path_ + "/";
  if (root_ && storePath.starts_with(prefix)) store_ = storePath.substr(prefix.size());
  std::string rules = ignore.text;
  if (!store_.empty()) rules += "\n" + patternFor(store_);  // the last rule wins
  if (!rules.empty()) ignore_ = parser::IgnorePatterns::parseFile(rules, ignore.name);
}

bool Context::isStore(std::string_view path) const {
  return !store_.empty() && path.starts_with(store_) &&
         (path.size() == store_.size() || path[store_.size()] == '/');
}

std::vector<std::string> Context::list(bool withFolders) const {
  std::vector<std::string> paths;
  if (root_) listBelow(ignore_, root_.get(), "", ignore_.root(), withFolders, paths);
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace img::builder
