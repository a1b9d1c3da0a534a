#include "builder/tree_digest.h"

#include <fcntl.h>

#include <atomic>
#include <cerrno>
#include <mutex>
#include <span>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::builder {
namespace {

// No path that a program can name is deeper (PATH_MAX); what was seen is walked recursively.
constexpr int kMaxDepth = 2048;
// Entries of one folder that a thread looks at before another one may have the next.
constexpr size_t kPart = 256;

// sys::tryFstatat for a name that is no std::string.
bool look(int dir, const char* name, struct stat& st) {
  if (::fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0) return true;
  if (errno == ENOENT || errno == ENOTDIR) return false;
  throw Error::fromErrno(errno, fmt::format("stat {}", name));
}

}  // namespace

// A folder whose digest is being made.
struct TreeDigest::Scan {
  ScanRef parent;
  size_t index = 0;  // of the parent's entry
  size_t place = 0;  // among the parent's folders
  std::string path;  // from the source, with a trailing '/' unless empty
  int depth = 0;
  struct stat st {};
  bool isTaken = true;  // it counts, whatever is in it
  SourceFilter::State state;
  std::unique_ptr<SeenFolder> seen = std::make_unique<SeenFolder>();
  std::vector<Digest> digests;  // by entry
  Hasher hasher;
  std::atomic<size_t> open{1};  // parts and folders below that are not done; the first is listing
  std::mutex mutex;             // for seen->folders and seen->links
};

// Entries of a folder, in the hands of one thread.
struct TreeDigest::Range {
  int dir;
  size_t begin, end;
  StatCache::Folder known = {};
  std::vector<ScanRef> folders = {};        // to be entered
  std::string contextPath = {}, path = {};  // room for those of an entry
};

TreeDigest::TreeDigest(const ContentDigester& rules, const SourceFilter& filter, size_t threads)
    : rules_(rules), filter_(filter), pool_(rules.pulse_, threads) {
  // Rules that ignore nothing are not asked about every file.
  if (filter_.ignore != nullptr && filter_.ignore->empty()) filter_.ignore = nullptr;
}

std::optional<Digest> TreeDigest::run(int handle, const struct stat& st,
                                      const std::string& contextPath, Seen& seen) {
  auto scan = std::make_shared<Scan>();
  scan->st = st;
  scan->state = filter_.root(contextPath);
  scan->seen->path = contextPath.empty() ? "" : contextPath + "/";
  const auto fd = std::make_shared<const Fd>(sys::openDirectory(handle, "."));
  pool_.add([this, scan, fd](WorkPool::Worker& worker) { list(scan, fd, worker); });
  scan.reset();
  pool_.run();
  seen.add(std::move(seen_));
  return result_;
}

void TreeDigest::list(const ScanRef& scan, const FdRef& fd, WorkPool::Worker& worker) {
  SeenFolder& seen = *scan->seen;
  if (scan->depth > kMaxDepth) {
    throw Error::make(Kind::failed, "{} is nested more than {} folders deep",
                      text::quote(seen.path.substr(0, 100)), kMaxDepth);
  }
  scan->hasher = rules_.header(scan->st);
  seen.mode = rules_.modeOf(scan->st);
  seen.xattrs = addXattrs(scan->hasher, fd->get());
  const std::vector<fs::Entry> names = fs::listSorted(fd->get());
  seen.entries.resize(names.size());
  for (size_t i = 0; i < names.size(); ++i) {
    seen.entries[i].name = static_cast<std::uint32_t>(seen.names.size());
    seen.names += names[i].name;
    seen.names += '\0';
  }
  scan->digests.resize(names.size());
  pool_.expect(names.size());
  // The first part is on top of all others.
  for (size_t begin = names.size() / kPart * kPart; begin >= kPart; begin -= kPart) {
    const size_t end = std::min(begin + kPart, names.size());
    ++scan->open;
    pool_.add([this, scan, fd, begin, end](WorkPool::Worker& other) {
      look(scan, fd, {fd->get(), begin, end}, other);
    });
  }
  look(scan, fd, {fd->get(), 0, std::min(kPart, names.size())}, worker);
}

void TreeDigest::look(const ScanRef& scan, const FdRef& fd, Range range, WorkPool::Worker& worker) {
  if (rules_.cache_ != nullptr) range.known = rules_.cache_->folder(scan->seen->path);
  for (size_t index = range.begin; index < range.end; ++index) lookAt(scan, range, index, worker);
  for (auto folder = range.folders.rbegin(); folder != range.folders.rend(); ++folder)
    addFolder(*folder, fd);
  done(scan);
}

void TreeDigest::addFolder(const ScanRef& scan, const FdRef& parent) {
  pool_.add([this, scan, parent](WorkPool::Worker& worker) {
    const SeenFolder& above = *scan->parent->seen;
    const char* name = above.nameOf(above.entries[scan->index]);
    const auto fd = std::make_shared<const Fd>(
        sys::openat(parent->get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    list(scan, fd, worker);
  });
}

void TreeDigest::lookAt(const ScanRef& scan, Range& range, size_t index, WorkPool::Worker& worker) {
  SeenFolder& seen = *scan->seen;
  SeenFolder::Entry& entry = seen.entries[index];
  const char* name = seen.nameOf(entry);
  struct stat st {};
  if (!builder::look(range.dir, name, st))
    return;  // removed meanwhile: the copy will not see it either
  if (rules_.recordsOwners_) store::applyOwnerAt(range.dir, name, st);
  const bool isFolder = S_ISDIR(st.st_mode);
  SourceFilter::Step step{{}, SourceFilter::Verdict::take};
  if (!filter_.isTrivial()) {
    range.contextPath.assign(seen.path).append(name);
    range.path.assign(scan->path).append(name);
    step = filter_.enter(scan->state, range.contextPath, range.path, isFolder);
    if (step.verdict == SourceFilter::Verdict::skip) return;
  }
  if (isFolder) {
    const ScanRef below = enter(scan, index, st, scan->path + name + "/");
    below->state = std::move(step.state);
    below->isTaken = step.verdict == SourceFilter::Verdict::take;
    range.folders.push_back(below);
    return;
  }
  const ContentDigester::Place place{range.dir, name, seen.path, name, st};
  ContentDigester::Outcome outcome = rules_.digestEntry(place, entry, range.known, {pool_, worker});
  scan->digests[index] = outcome.whole;
  if (entry.kind != SeenFolder::Kind::other) return;
  const std::lock_guard lock{scan->mutex};
  seen.links.emplace(index, std::move(outcome.link));
}

TreeDigest::ScanRef TreeDigest::enter(const ScanRef& parent, size_t index, const struct stat& st,
                                      std::string path) {
  SeenFolder& above = *parent->seen;
  SeenFolder::Entry& entry = above.entries[index];
  auto scan = std::make_shared<Scan>();
  scan->parent = parent;
  scan->index = index;
  scan->path = std::move(path);
  scan->depth = parent->depth + 1;
  scan->st = st;
  scan->seen->path = above.path + above.nameOf(entry) + "/";
  ++parent->open;
  const std::lock_guard lock{parent->mutex};
  scan->place = above.folders.size();
  above.folders.emplace_back();
  entry.kind = SeenFolder::Kind::folder;
  entry.inode = scan->place;
  return scan;
}

// One part of it is. When it was the last one, so is that of the folder above.
void TreeDigest::done(const ScanRef& finished) {
  for (ScanRef scan = finished; scan && --scan->open == 0; scan = scan->parent) {
    const std::optional<Digest> digest = combine(*scan);
    if (!scan->parent) {
      result_ = digest;
      seen_ = std::move(scan->seen);
      return;
    }
    Scan& above = *scan->parent;
    if (!digest) {
      above.seen->entries[scan->index].kind = SeenFolder::Kind::none;
      continue;
    }
    above.digests[scan->index] = *digest;
    const std::lock_guard lock{above.mutex};
    above.seen->folders[scan->place] = std::move(scan->seen);
  }
}

std::optional<Digest> TreeDigest::combine(Scan& scan) const {
  SeenFolder& seen = *scan.seen;
  bool isAny = scan.isTaken;
  const bool isHashed = rules_.reads_ == ContentDigester::Reads::content;
  for (size_t i = 0; i < seen.entries.size(); ++i) {
    const SeenFolder::Entry& entry = seen.entries[i];
    if (entry.kind == SeenFolder::Kind::none) continue;
    isAny = true;
    if (!isHashed) continue;
    scan.hasher.field(std::string_view{seen.nameOf(entry)});
    scan.hasher.update(std::as_bytes(std::span{scan.digests[i].bytes()}));
  }
  std::vector<Digest>{}.swap(scan.digests);
  seen.isListed = isAny;
  if (!isAny) return std::nullopt;
  return isHashed ? scan.hasher.finish() : Digest{};
}

}  // namespace img::builder
