#include "builder/content_digest.h"

#include <fmt/format.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/root_path.h"
#include "store/owners.h"

namespace img::builder {
namespace {

constexpr size_t kBuffer = size_t{256} << 10;
// No path that a program can name is deeper (PATH_MAX); the walk needs stack and descriptors for
// each.
constexpr int kMaxDepth = 2048;

// Adds the xattrs that count; gives the first 8 bytes of their digest, 0 when there are none.
std::uint64_t addXattrs(Hasher& hasher, int fd) {
  std::vector<std::string> names = sys::flistxattr(fd);
  names.erase(std::remove_if(names.begin(), names.end(),
                             [](const std::string& name) { return !isCopiedXattr(name); }),
              names.end());
  hasher.field(std::uint64_t{names.size()});
  if (names.empty()) return 0;
  std::sort(names.begin(), names.end());
  Hasher own;
  for (const std::string& name : names) {
    own.field(name);
    own.field(sys::fgetxattr(fd, name).value_or(""));
  }
  const Digest digest = own.finish();
  hasher.update(std::as_bytes(std::span{digest.bytes()}));
  std::uint64_t number = 0;
  std::memcpy(&number, digest.bytes().data(), sizeof number);
  return number;
}

// Another file may have got the name between a look at it and the open.
bool isUnchanged(const struct stat& before, const struct stat& after) {
  return before.st_dev == after.st_dev && before.st_ino == after.st_ino &&
         before.st_size == after.st_size && before.st_mtim.tv_sec == after.st_mtim.tv_sec &&
         before.st_mtim.tv_nsec == after.st_mtim.tv_nsec;
}

}  // namespace

bool isCopiedXattr(const std::string& name) {
  if (name == "security.capability") return true;
  return !store::isOwnerXattr(name) && !name.starts_with("system.") &&
         !name.starts_with("security.") && !name.starts_with("trusted.overlay.") &&
         !name.starts_with("user.overlay.");
}

mode_t gitMode(mode_t mode) {
  if (S_ISDIR(mode)) return S_IFDIR | 0755;
  if (!S_ISREG(mode)) return mode;
  return S_IFREG | ((mode & S_IXUSR) != 0 ? 0755 : 0644);
}

mode_t ContentDigester::modeOf(const struct stat& st) const {
  return gitPermissions_ ? gitMode(st.st_mode) : st.st_mode;
}

// Every 16 MiB at most: the call costs a system call.
void ContentDigester::pulse() {
  if (pulse_ && ++ticks_ % 64 == 0) pulse_();
}

Hasher ContentDigester::header(const struct stat& st) const {
  Hasher hasher;
  hasher.field(std::uint64_t{modeOf(st)});
  hasher.field(std::uint64_t{isContext_ ? 0 : st.st_uid});
  hasher.field(std::uint64_t{isContext_ ? 0 : st.st_gid});
  const bool isDevice = S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode);
  hasher.field(std::uint64_t{isDevice ? st.st_rdev : 0});
  hasher.field(S_ISREG(st.st_mode) ? static_cast<std::uint64_t>(st.st_size) : 0);
  return hasher;
}

std::optional<Digest> ContentDigester::digest(int handle, const std::string& contextPath,
                                              const SourceFilter& filter) {
  struct stat st = sys::fstat(handle);
  if (recordsOwners_) store::applyOwner(handle, st);
  if (!S_ISDIR(st.st_mode)) {
    // By a name in /proc the descriptor can be opened again: the object is the one that was
    // resolved.
    return digestEntry(AT_FDCWD, sys::procPath(handle), contextPath, st);
  }
  if (cache_ != nullptr && seen_.empty()) seen_.reserve(cache_->size());
  const Fd folder = sys::openDirectory(handle, ".");
  const std::string prefix = contextPath.empty() ? "" : contextPath + "/";
  return digestFolder({folder.get(), prefix, "", 0}, st, filter, filter.root(contextPath), true);
}

std::optional<Digest> ContentDigester::digestFolder(const Folder& folder, const struct stat& st,
                                                    const SourceFilter& filter,
                                                    const SourceFilter::State& state,
                                                    bool isTaken) {
  if (folder.depth > kMaxDepth) {
    throw Error::make(Kind::failed, "{} is nested more than {} folders deep",
                      text::quote(folder.contextPath.substr(0, 100)), kMaxDepth);
  }
  Hasher hasher = header(st);
  const std::uint64_t xattrs = addXattrs(hasher, folder.fd);
  bool isAny = isTaken;
  for (const fs::Entry& entry : fs::listSorted(folder.fd)) {
    auto child = sys::tryFstatat(folder.fd, entry.name);
    if (!child) continue;  // removed while we looked; the copy will not see it either
    if (recordsOwners_) store::applyOwnerAt(folder.fd, entry.name, *child);
    const std::string contextPath = folder.contextPath + entry.name;
    const std::string path = folder.path + entry.name;
    const bool isFolder = S_ISDIR(child->st_mode);
    std::optional<Digest> digest;
    const SourceFilter::Step step = filter.enter(state, contextPath, path, isFolder);
    if (step.verdict == SourceFilter::Verdict::skip) continue;
    if (isFolder) {
      const Fd sub = sys::openat(folder.fd, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      digest = digestFolder({sub.get(), contextPath + "/", path + "/", folder.depth + 1}, *child,
                            filter, step.state, step.verdict == SourceFilter::Verdict::take);
    } else {
      digest = digestEntry(folder.fd, entry.name, contextPath, *child);
    }
    if (!digest) continue;
    isAny = true;
    hasher.field(entry.name);
    hasher.update(std::as_bytes(std::span{digest->bytes()}));
  }
  if (!isAny) return std::nullopt;
  others_.push_back({folder.contextPath, modeOf(st), xattrs, {}});
  return hasher.finish();
}

std::optional<Digest> ContentDigester::digestEntry(int dir, const std::string& name,
                                                   const std::string& contextPath,
                                                   const struct stat& st) {
  if (isContext_ && isSpecial(st.st_mode)) return std::nullopt;
  if (S_ISREG(st.st_mode)) return digestFile(dir, name, contextPath, st).whole;
  Hasher hasher = header(st);
  SeenOther other{contextPath, modeOf(st), 0, {}};
  if (S_ISLNK(st.st_mode)) {
    other.link = sys::readlinkat(dir, name);
    hasher.field(other.link);
  } else {
    other.link = fmt::format("{}:{}", major(st.st_rdev), minor(st.st_rdev));
  }
  others_.push_back(std::move(other));
  return hasher.finish();
}

FileDigest ContentDigester::digestFile(int dir, const std::string& name,
                                       const std::string& contextPath, const struct stat& st) {
  pulse();
  seen_.push_back({contextPath,
                   st.st_ino,
                   st.st_size,
                   nanoseconds(st.st_mtim),
                   nanoseconds(st.st_ctim),
                   modeOf(st),
                   {}});
  if (reads_ == Reads::nothing) return {};
  FileDigest& digest = seen_.back().digest;
  if (const auto known = cache_ != nullptr ? cache_->find(contextPath, st) : std::nullopt)
    return digest = *known;
  const std::int64_t readAt = currentNanoseconds();
  digest = readFile(dir, name, contextPath, st);
  if (cache_ != nullptr) cache_->remember(contextPath, st, digest, readAt);
  return digest;
}

FileDigest ContentDigester::readFile(int dir, const std::string& name,
                                     const std::string& contextPath, const struct stat& st) {
  const int noFollow = dir == AT_FDCWD ? 0 : O_NOFOLLOW;
  const Fd fd = sys::openat(dir, name, O_RDONLY | O_NONBLOCK | noFollow);
  FileDigest digest;
  Hasher whole = header(st);
  digest.xattrs = addXattrs(whole, fd.get());
  Hasher content;
  buffer_.resize(kBuffer);
  for (;;) {
    const auto count = static_cast<size_t>(
        sys::check([&] { return ::read(fd.get(), buffer_.data(), buffer_.size()); }, "read {}",
                   text::quote(contextPath)));
    if (count == 0) break;
    pulse();
    content.update(std::span{buffer_}.first(count));
  }
  if (!isUnchanged(st, sys::fstat(fd.get()))) {
    throw Error::make(Kind::failed, "file {} changed while it was read", text::quote(contextPath));
  }
  digest.content = content.finish();
  whole.update(std::as_bytes(std::span{digest.content.bytes()}));
  digest.whole = whole.finish();
  return digest;
}

}  // namespace img::builder
