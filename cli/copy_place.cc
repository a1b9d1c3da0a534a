#include "cli/copy_place.h"

#include <utility>

#include "base/error.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::cli {
namespace {

constexpr int kMaxLinks = 40;  // path_resolution(7)

// "a/b/" says that it means a folder, and so does "a/b/.".
bool meansFolder(const std::string& path) {
  return path.ends_with('/') || path == "." || path == ".." || path.ends_with("/.") ||
         path.ends_with("/..");
}

bool meansContent(const std::string& path) {
  return path == "." || path.ends_with("/.");
}

// The parts before and after the last slash, without the slashes at the end.
std::pair<std::string, std::string> splitLast(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

// The name that a folder is known by, for "." and ".." and links.
std::string ownName(const Fd& folder) {
  const std::string path = sys::readlinkat(AT_FDCWD, sys::procPath(folder.get()));
  return path.substr(path.rfind('/') + 1);
}

Error missing(const CopyTree& tree, const std::string& path) {
  return Error::make(Kind::notFound, "{} does not exist{}", text::quote(path),
                     tree.isContainer() ? " in the container" : "");
}

}  // namespace

Fd CopyTree::open(const std::string& path, int flags) const {
  return root_ < 0 ? sys::openat(AT_FDCWD, path, flags) : sys::openInRoot(root_, path, flags);
}

std::optional<Fd> CopyTree::tryOpen(const std::string& path, int flags) const {
  return root_ < 0 ? sys::tryOpenat(AT_FDCWD, path, flags) : sys::tryOpenInRoot(root_, path, flags);
}

CopySource findSource(const CopyTree& tree, const std::string& path, bool followLink) {
  CopySource source;
  source.isContent = meansContent(path);
  auto [parent, name] = splitLast(path);
  const bool isNameless = name.empty() || name == "." || name == "..";
  if (followLink || meansFolder(path) || isNameless) {
    auto found = tree.tryOpen(path, O_PATH);
    if (!found) throw missing(tree, path);
    source.handle = std::move(*found);
  } else {
    const auto folder = tree.tryOpen(parent, O_PATH | O_DIRECTORY);
    auto found = folder ? sys::tryOpenat(folder->get(), name, O_PATH | O_NOFOLLOW) : std::nullopt;
    if (!found) throw missing(tree, path);
    source.handle = std::move(*found);
  }
  source.st = sys::fstat(source.handle.get());
  if (meansFolder(path) && !S_ISDIR(source.st.st_mode)) {
    throw Error::make(Kind::failed, "{} is not a directory", text::quote(path));
  }
  source.name = isNameless ? ownName(source.handle) : name;
  // The root has no name to copy it under.
  if (name.empty() || source.name.empty()) source.isContent = true;
  return source;
}

CopyTarget findTarget(const CopyTree& tree, const std::string& path, const CopySource& source) {
  const bool isFolder = S_ISDIR(source.st.st_mode);
  std::string place = path;
  for (int links = 0; links <= kMaxLinks; ++links) {
    auto [parent, name] = splitLast(place);
    const bool isNameless = name.empty() || name == "." || name == "..";
    auto folder = tree.tryOpen(isNameless ? place : parent, O_PATH | O_DIRECTORY);
    if (!folder) throw missing(tree, parent);
    if (isNameless) return {std::move(*folder), source.name, source.isContent};
    auto found = sys::tryOpenat(folder->get(), name, O_PATH | O_NOFOLLOW);
    if (!found) {
      if (!isFolder && meansFolder(place)) throw missing(tree, path);
      return {std::move(*folder), std::move(name), false};
    }
    const mode_t mode = sys::fstat(found->get()).st_mode;
    if (S_ISDIR(mode)) return {std::move(*found), source.name, source.isContent};
    if (!S_ISLNK(mode)) {
      if (meansFolder(place))
        throw Error::make(Kind::failed, "{} is not a directory", text::quote(path));
      if (isFolder) {
        throw Error::make(Kind::failed, "cannot copy a directory to the file {}",
                          text::quote(path));
      }
      return {std::move(*folder), std::move(name), false};
    }
    // The copy takes the place of what the link leads to, also when that is not there yet. The
    // link's own folder stays part of the path, so that the kernel resolves all of it in the root.
    const std::string target = sys::readlinkat(found->get(), "");
    const std::string tail = meansFolder(place) ? "/" : "";
    place = (target.starts_with('/') ? target : parent + "/" + target) + tail;
  }
  throw Error::make(Kind::failed, "{} is a loop of symbolic links", text::quote(path));
}

Fd findFolder(const CopyTree& tree, const std::string& path) {
  auto folder = tree.tryOpen(path, O_PATH | O_DIRECTORY);
  if (!folder) {
    throw Error::make(Kind::failed, "the destination {} must be a directory", text::quote(path));
  }
  return std::move(*folder);
}

CopyArgument parseCopyArgument(std::string_view argument) {
  const size_t colon = argument.find(':');
  const bool isLocal = argument.starts_with('/') || argument.starts_with('.');
  if (isLocal || colon == std::string_view::npos) return {"", std::string{argument}};
  return {std::string{argument.substr(0, colon)}, std::string{argument.substr(colon + 1)}};
}

}  // namespace img::cli
