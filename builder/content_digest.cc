#include "builder/content_digest.h"

#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/root_path.h"

namespace img::builder {
namespace {

constexpr size_t kBuffer = size_t{256} << 10;

void addXattrs(Hasher& hasher, int fd) {
  std::vector<std::string> names = sys::flistxattr(fd);
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    if (!isCopiedXattr(name)) continue;
    hasher.field(name);
    hasher.field(sys::fgetxattr(fd, name).value_or(""));
  }
}

bool isUnchanged(const struct stat& before, const struct stat& after) {
  return before.st_size == after.st_size && before.st_mtim.tv_sec == after.st_mtim.tv_sec &&
         before.st_mtim.tv_nsec == after.st_mtim.tv_nsec;
}

}  // namespace

bool isCopiedXattr(const std::string& name) {
  if (name == "security.capability") return true;
  return !name.starts_with("system.") && !name.starts_with("security.") &&
         !name.starts_with("trusted.overlay.") && !name.starts_with("user.overlay.");
}

// Every 16 MiB at most: the call costs a system call.
void ContentDigester::pulse() {
  if (pulse_ && ++ticks_ % 64 == 0) pulse_();
}

Hasher ContentDigester::header(const struct stat& st) const {
  Hasher hasher;
  hasher.field(std::uint64_t{st.st_mode});
  hasher.field(std::uint64_t{isContext_ ? 0 : st.st_uid});
  hasher.field(std::uint64_t{isContext_ ? 0 : st.st_gid});
  const bool isDevice = S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode);
  hasher.field(std::uint64_t{isDevice ? st.st_rdev : 0});
  hasher.field(S_ISREG(st.st_mode) ? static_cast<std::uint64_t>(st.st_size) : 0);
  return hasher;
}

std::optional<Digest> ContentDigester::digest(int handle, const std::string& contextPath,
                                              const SourceFilter& filter) {
  const struct stat st = sys::fstat(handle);
  if (!S_ISDIR(st.st_mode)) {
    // By a name in /proc the descriptor can be opened again: the object is the one that was
    // resolved.
    return digestEntry(AT_FDCWD, sys::procPath(handle), contextPath, st);
  }
  const Fd folder = sys::openDirectory(handle, ".");
  const std::string prefix = contextPath.empty() ? "" : contextPath + "/";
  return digestFolder({folder.get(), prefix, ""}, st, filter, filter.root(contextPath), true);
}

std::optional<Digest> ContentDigester::digestFolder(const Folder& folder, const struct stat& st,
                                                    const SourceFilter& filter,
                                                    const SourceFilter::State& state,
                                                    bool isTaken) {
  Hasher hasher = header(st);
  addXattrs(hasher, folder.fd);
  bool isAny = isTaken;
  for (const fs::Entry& entry : fs::listSorted(folder.fd)) {
    const auto child = sys::tryFstatat(folder.fd, entry.name);
    if (!child) continue;  // removed while we looked; the copy will not see it either
    const std::string contextPath = folder.contextPath + entry.name;
    const std::string path = folder.path + entry.name;
    const bool isFolder = S_ISDIR(child->st_mode);
    std::optional<Digest> digest;
    const SourceFilter::Step step = filter.enter(state, contextPath, path, isFolder);
    if (step.verdict == SourceFilter::Verdict::skip) continue;
    if (isFolder) {
      const Fd sub = sys::openat(folder.fd, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      digest = digestFolder({sub.get(), contextPath + "/", path + "/"}, *child, filter, step.state,
                            step.verdict == SourceFilter::Verdict::take);
    } else {
      digest = digestEntry(folder.fd, entry.name, contextPath, *child);
    }
    if (!digest) continue;
    isAny = true;
    hasher.field(entry.name);
    hasher.update(std::as_bytes(std::span{digest->bytes()}));
  }
  if (!isAny) return std::nullopt;
  return hasher.finish();
}

std::optional<Digest> ContentDigester::digestEntry(int dir, const std::string& name,
                                                   const std::string& contextPath,
                                                   const struct stat& st) {
  if (isContext_ && isSpecial(st.st_mode)) return std::nullopt;
  if (S_ISREG(st.st_mode)) {
    pulse();
    seen_.push_back(
        {contextPath, st.st_ino, st.st_size, nanoseconds(st.st_mtim), nanoseconds(st.st_ctim)});
    if (reads_ == Reads::nothing) return Digest{};
    if (const Digest* known = cache_ != nullptr ? cache_->find(contextPath, st) : nullptr)
      return *known;
    const std::int64_t readAt = currentNanoseconds();
    const Digest digest = readFile(dir, name, contextPath, st);
    if (cache_ != nullptr) cache_->remember(contextPath, st, digest, readAt);
    return digest;
  }
  Hasher hasher = header(st);
  if (S_ISLNK(st.st_mode)) hasher.field(sys::readlinkat(dir, name));
  return hasher.finish();
}

Digest ContentDigester::readFile(int dir, const std::string& name, const std::string& contextPath,
                                 const struct stat& st) {
  const int noFollow = dir == AT_FDCWD ? 0 : O_NOFOLLOW;
  const Fd fd = sys::openat(dir, name, O_RDONLY | O_NONBLOCK | noFollow);
  Hasher hasher = header(st);
  addXattrs(hasher, fd.get());
  buffer_.resize(kBuffer);
  for (;;) {
    const auto count = static_cast<size_t>(
        sys::check([&] { return ::read(fd.get(), buffer_.data(), buffer_.size()); }, "read {}",
                   text::quote(contextPath)));
    if (count == 0) break;
    pulse();
    hasher.update(std::span{buffer_}.first(count));
  }
  if (!isUnchanged(st, sys::fstat(fd.get()))) {
    throw Error::make(Kind::failed, "file {} changed while it was read", text::quote(contextPath));
  }
  return hasher.finish();
}

}  // namespace img::builder
