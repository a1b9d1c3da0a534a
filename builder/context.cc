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
  if (!S_ISREG(sys::fstat(fd->get()).st_mode)) {
    throw Error::make(Kind::failed, "{} is not a regular file", text::quote(path));
  }
  return readAll(fd->get(), path, limit);
}

IgnoreFile findIgnoreFile(const std::string& dockerfilePath, const std::string& contextDir) {
  std::vector<std::string> candidates;
  if (!dockerfilePath.empty()) candidates.push_back(dockerfilePath + ".dockerignore");
  if (!contextDir.empty()) {
    candidates.push_back(contextDir + "/.dockerignore");
    candidates.push_back(contextDir + "/.containerignore");
  }
  for (const std::string& path : candidates) {
    if (auto content = tryReadUserFile(path, kMaxIgnoreFile)) {
      // Messages name the file as the user knows it: beside the Dockerfile, or in the context.
      const bool isInContext = !contextDir.empty() && path.starts_with(contextDir + "/.");
      return {isInContext ? path.substr(contextDir.size() + 1) : path, std::move(*content)};
    }
  }
  return {};
}

Context::Context(const std::string& folder, const IgnoreFile& ignore) : ignoreName_(ignore.name) {
  if (!folder.empty()) {
    auto opened = sys::tryOpenat(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY);
    if (!opened) {
      throw Error::make(Kind::notFound, "the build context {} is not a folder", text::quote(folder))
          .hint("the last argument is the folder with the files to build from, usually \".\"");
    }
    root_ = std::move(*opened);
    path_ = sys::readlinkat(AT_FDCWD, sys::procPath(root_.get()));
  }
  if (!ignore.name.empty()) ignore_ = parser::IgnorePatterns::parseFile(ignore.text, ignore.name);
}

std::vector<std::string> Context::list(bool withFolders) const {
  std::vector<std::string> paths;
  if (root_) listBelow(ignore_, root_.get(), "", ignore_.root(), withFolders, paths);
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace img::builder
