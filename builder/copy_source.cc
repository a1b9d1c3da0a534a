#include "builder/copy_source.h"

#include <algorithm>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/root_path.h"
#include "builder/source_filter.h"
#include "builder/stage.h"
#include "parser/glob.h"

namespace img::builder {
namespace {

std::string baseName(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

// Where an open object lies below the root; both are asked of the kernel, so no link is left in it.
std::string pathBelow(const SourceRoot& root, const Fd& handle) {
  const auto link = [](int fd) { return sys::readlinkat(AT_FDCWD, sys::procPath(fd)); };
  const std::string base = link(root.fd);
  const std::string path = link(handle.get());
  if (path == base) return "";
  const size_t prefix = base == "/" ? 1 : base.size() + 1;
  return path.size() > prefix ? path.substr(prefix) : "";
}

bool isHidden(const SourceRoot& root, const std::string& contextPath, bool isFolder) {
  const parser::IgnorePatterns* ignore = root.ignore();
  if (ignore == nullptr || contextPath.empty() || !ignore->isIgnored(contextPath)) return false;
  return !isFolder || !ignore->mayContainException(contextPath);
}

Error notFound(const SourceRoot& root, const std::string& path, const std::string& keyword) {
  return Error::make(Kind::notFound, "{}: {} {} not found in {}", keyword,
                     keyword == "RUN" ? "mount source" : "source", text::quote(path), root.label);
}

Error ignoredError(const SourceRoot& root, const std::string& path, const std::string& contextPath,
                   const std::string& keyword) {
  Error error = notFound(root, path, keyword);
  error.code("copy-source-ignored");
  if (root.context->isStore(contextPath)) {
    error.why("the image store lies there, which is no part of the context");
    return error;
  }
  if (const auto rule = root.ignore()->decidingRule(contextPath)) {
    error.hint(fmt::format("{} is excluded by {} line {} ({})", text::quote(path),
                           root.context->ignoreName(), rule->line, text::quote(rule->text)));
  }
  return error;
}

// Names beside the missing one that the user may have meant.
std::optional<std::string> nearName(const SourceRoot& root, const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash);
  const auto fd = sys::tryOpenInRoot(root.fd, folder, O_RDONLY | O_DIRECTORY);
  if (!fd) return std::nullopt;
  std::vector<std::string> names;
  const std::string wanted = baseName(path);
  for (const fs::Entry& entry : fs::list(fd->get())) {
    if (text::lower(entry.name) == text::lower(wanted)) return entry.name;
    names.push_back(entry.name);
  }
  return text::suggest(wanted, names);
}

// Why a name that is there cannot be followed.
std::optional<Error> outsideError(const SourceRoot& root, const std::string& path,
                                  const std::string& keyword) {
  const auto link = sys::tryOpenInRoot(root.fd, path, O_PATH | O_NOFOLLOW);
  if (!link || !S_ISLNK(sys::fstat(link->get()).st_mode)) return std::nullopt;
  Error error = notFound(root, path, keyword);
  error.code("copy-outside");
  error.why(
      fmt::format("it is a link to {}, which does not exist in {}; nothing outside is followed",
                  text::quote(sys::readlinkat(link->get(), "")), root.label));
  return error;
}

Error missingError(const SourceRoot& root, const std::string& path, const std::string& keyword) {
  if (auto error = outsideError(root, path, keyword)) return std::move(*error);
  Error error = notFound(root, path, keyword);
  error.code("copy-source-missing");
  if (root.isContext)
    error.why(fmt::format("tried {}", text::escape(root.context->path() + "/" + path, 500)));
  if (const auto near = nearName(root, path))
    error.hint(fmt::format("did you mean {}?", text::quote(*near)));
  return error;
}

CopySource resolveOne(const SourceRoot& root, const std::string& path, const std::string& keyword) {
  auto handle = [&] {
    try {
      return sys::tryOpenInRoot(root.fd, path.empty() ? "." : path, O_PATH);
    } catch (Error& error) {
      error.prefixCause(keyword + ": ");
      throw;
    }
  }();
  if (!handle) throw missingError(root, path, keyword);
  CopySource source;
  source.contextPath = pathBelow(root, *handle);
  const bool isFolder = S_ISDIR(sys::fstat(handle->get()).st_mode);
  if (isHidden(root, source.contextPath, isFolder))
    throw ignoredError(root, path, source.contextPath, keyword);
  source.handle = std::move(*handle);
  source.name = baseName(path);
  return source;
}

// Walks below `folder` and matches whole paths; does not descend into a match.
class WildcardWalk {
 public:
  WildcardWalk(const SourceRoot& root, const parser::Glob& pattern)
      : root_(root), pattern_(pattern) {}

  void walk(int dir, const std::string& prefix) {
    for (const fs::Entry& entry : fs::listSorted(dir)) {
      const std::string path = prefix + entry.name;
      const auto st = sys::tryFstatat(dir, entry.name);
      if (!st) continue;
      const bool isFolder = S_ISDIR(st->st_mode);
      if (isHidden(root_, path, isFolder)) continue;
      if (pattern_.matches(path)) {
        matches.push_back(path);
      } else if (isFolder) {
        walk(sys::openat(dir, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW).get(), path + "/");
      }
    }
  }
  std::vector<std::string> matches;

 private:
  const SourceRoot& root_;
  const parser::Glob& pattern_;
};

parser::Glob compileWildcard(const std::string& pattern, const std::string& keyword) {
  try {
    return parser::Glob::compile(pattern, parser::Glob::Dialect::wildcard);
  } catch (Error& error) {
    error.prefixCause(keyword + ": ");
    throw;
  }
}

// The part before the first component that holds a wildcard, without a trailing '/'.
std::string fixedPart(const std::string& pattern) {
  size_t end = 0;
  while (end < pattern.size()) {
    const size_t slash = std::min(pattern.find('/', end), pattern.size());
    if (parser::hasWildcard(pattern.substr(end, slash - end))) break;
    end = slash + 1;
  }
  return end == 0 ? "" : pattern.substr(0, end - 1);
}

}  // namespace

CopySource resolveSource(const SourceRoot& root, const std::string& path,
                         const std::string& keyword) {
  return resolveOne(root, joinPath("/", path).substr(1), keyword);
}

size_t forEachSource(const SourceRoot& root, const std::string& path, const std::string& keyword,
                     const std::function<void(const CopySource&)>& use) {
  const std::string clean = joinPath("/", path).substr(1);
  if (!parser::hasWildcard(clean)) {
    use(resolveOne(root, clean, keyword));
    return 1;
  }
  const parser::Glob pattern = compileWildcard(clean, keyword);
  const std::string front = fixedPart(clean);
  const auto folder =
      sys::tryOpenInRoot(root.fd, front.empty() ? "." : front, O_RDONLY | O_DIRECTORY);
  if (!folder) return 0;
  WildcardWalk walk{root, pattern};
  walk.walk(folder->get(), front.empty() ? "" : front + "/");
  std::sort(walk.matches.begin(), walk.matches.end());
  for (const std::string& match : walk.matches) {
    CopySource source = resolveOne(root, match, keyword);
    source.matched = match.substr(front.empty() ? 0 : front.size() + 1);
    use(source);
  }
  return walk.matches.size();
}

}  // namespace img::builder
