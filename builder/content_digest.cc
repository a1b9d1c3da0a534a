#include "builder/content_digest.h"

#include <fmt/format.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/sys.h"
#include "base/text.h"
#include "builder/root_path.h"
#include "builder/tree_digest.h"
#include "store/owners.h"

namespace img::builder {
namespace {

constexpr size_t kBuffer = size_t{256} << 10;

// Another file may have got the name between a look at it and the open.
bool isUnchanged(const struct stat& before, const struct stat& after) {
  return before.st_dev == after.st_dev && before.st_ino == after.st_ino &&
         before.st_size == after.st_size && before.st_mtim.tv_sec == after.st_mtim.tv_sec &&
         before.st_mtim.tv_nsec == after.st_mtim.tv_nsec;
}

// Microseconds, roughly: what opening it costs, and a nanosecond a byte.
size_t effortOf(const struct stat& st) {
  return 20 + static_cast<size_t>(st.st_size) / 1000;
}

std::string deviceNumbers(const struct stat& st) {
  return fmt::format("{}:{}", major(st.st_rdev), minor(st.st_rdev));
}

}  // namespace

std::uint64_t addXattrs(Hasher& hasher, int fd) {
  std::vector<std::string> names = sys::flistxattr(fd);
  std::erase_if(names, [](const std::string& name) { return !isCopiedXattr(name); });
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
  if (!S_ISDIR(st.st_mode)) return digestFile(handle, contextPath, st);
  TreeDigest tree{*this, filter, WorkPool::usualThreads()};
  try {
    return tree.run(handle, st, contextPath, seen_);
  } catch (...) {
    if (!tree.hasThreads() || tree.isInterrupted()) throw;
  }
  // Which of several errors comes first is chance among threads; alone it is always the same.
  return TreeDigest{*this, filter, 0}.run(handle, st, contextPath, seen_);
}

// A source that is no folder.
std::optional<Digest> ContentDigester::digestFile(int handle, const std::string& contextPath,
                                                  const struct stat& st) {
  auto seen = std::make_unique<SeenFolder>();
  const size_t slash = contextPath.rfind('/');
  const size_t begin = slash == std::string::npos ? 0 : slash + 1;
  seen->path = contextPath.substr(0, begin);
  seen->names = contextPath.substr(begin);
  // By a name in /proc the descriptor can be opened again: the object is the one that was
  // resolved.
  const std::string opened = sys::procPath(handle);
  const Place place{AT_FDCWD, opened.c_str(), seen->path, seen->names.c_str(), st};
  StatCache::Folder known;
  if (cache_ != nullptr) known = cache_->folder(seen->path);
  WorkPool pool{pulse_, 0};
  WorkPool::Worker worker{true, 0, {}};
  SeenFolder::Entry& entry = seen->entries.emplace_back();
  const Outcome outcome = digestEntry(place, entry, known, {pool, worker});
  if (entry.kind == SeenFolder::Kind::other) seen->links[0] = outcome.link;
  seen_.add(std::move(seen));
  if (entry.kind == SeenFolder::Kind::none) return std::nullopt;
  return outcome.whole;
}

std::string ContentDigester::linkOf(int dir, const char* name, const struct stat& st) {
  return S_ISLNK(st.st_mode) ? sys::readlinkat(dir, name) : deviceNumbers(st);
}

ContentDigester::Outcome ContentDigester::digestEntry(const Place& place, SeenFolder::Entry& entry,
                                                      StatCache::Folder& known,
                                                      const Thread& thread) const {
  const struct stat& st = place.st;
  if (isContext_ && isSpecial(st.st_mode)) return {};
  entry.mode = modeOf(st);
  if (S_ISREG(st.st_mode)) return {digestRegular(place, entry, known, thread), {}};
  entry.kind = SeenFolder::Kind::other;
  Hasher hasher = header(st);
  Outcome outcome;
  outcome.link = linkOf(place.dir, place.opened, st);
  if (S_ISLNK(st.st_mode)) hasher.field(outcome.link);
  outcome.whole = hasher.finish();
  return outcome;
}

Digest ContentDigester::digestRegular(const Place& place, SeenFolder::Entry& entry,
                                      StatCache::Folder& known, const Thread& thread) const {
  const struct stat& st = place.st;
  thread.pool.pulse(thread.worker);
  entry.kind = SeenFolder::Kind::file;
  entry.inode = st.st_ino;
  entry.size = st.st_size;
  entry.mtime = nanoseconds(st.st_mtim);
  entry.ctime = nanoseconds(st.st_ctim);
  if (reads_ == Reads::nothing) return {};
  std::optional<FileDigest> digest = known.find(place.name, st);
  if (!digest) {
    thread.pool.expect(effortOf(st));
    const std::int64_t readAt = currentNanoseconds();
    digest = readFile(place, thread);
    if (cache_ != nullptr) cache_->remember(place.folder + place.name, st, *digest, readAt);
  }
  entry.content = digest->content;
  entry.xattrs = digest->xattrs;
  return digest->whole;
}

ContentDigester::OpenedFile ContentDigester::begin(int file, const struct stat& st,
                                                   bool hasXattrs) const {
  OpenedFile opened{header(st), 0};
  if (hasXattrs) {
    opened.xattrs = addXattrs(opened.whole, file);
  } else {
    opened.whole.field(std::uint64_t{0});  // as addXattrs() says that there are none
  }
  return opened;
}

FileDigest ContentDigester::OpenedFile::finish(const Digest& content) const {
  Hasher hasher = whole;
  hasher.update(std::as_bytes(std::span{content.bytes()}));
  return {hasher.finish(), content, xattrs};
}

FileDigest ContentDigester::readFile(const Place& place, const Thread& thread) const {
  const int noFollow = place.dir == AT_FDCWD ? 0 : O_NOFOLLOW;
  const Fd fd = sys::openat(place.dir, place.opened, O_RDONLY | O_NONBLOCK | noFollow);
  const OpenedFile opened = begin(fd.get(), place.st);
  Hasher content;
  std::vector<std::byte>& buffer = thread.worker.buffer;
  buffer.resize(kBuffer);
  const auto size = static_cast<size_t>(place.st.st_size);
  size_t total = 0;
  // A file of the expected length is at its end; one that has grown has another time as well.
  for (bool isMore = true; isMore;) {
    const auto count = static_cast<size_t>(
        sys::check([&] { return ::read(fd.get(), buffer.data(), buffer.size()); }, "read {}",
                   text::quote(place.path())));
    content.update(std::span{buffer}.first(count));
    total += count;
    isMore = count > 0 && (total != size || size == 0);
    if (isMore) thread.pool.pulse(thread.worker);
  }
  if (!isUnchanged(place.st, sys::fstat(fd.get()))) {
    throw Error::make(Kind::failed, "file {} changed while it was read", text::quote(place.path()));
  }
  return opened.finish(content.finish());
}

}  // namespace img::builder
