#include "store/verify_view.h"

#include <sys/sysmacros.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/change_folder.h"
#include "store/owners.h"
#include "store/same_file.h"
#include "store/tar.h"
#include "store/whiteout.h"
#include "store/xattrs.h"

namespace img::store {
namespace {

using Type = TarEntry::Type;

// The range that every file system keeps; outside of it a time may have been moved into the range.
constexpr std::int64_t kOldest = -(std::int64_t{1} << 31);
constexpr std::int64_t kNewest = (std::int64_t{1} << 32) - 1;

std::string_view typeName(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return "a file";
    case S_IFDIR: return "a folder";
    case S_IFLNK: return "a symbolic link";
    case S_IFCHR: return "a character device";
    case S_IFBLK: return "a block device";
    case S_IFIFO: return "a FIFO";
    default: return "of an unknown type";
  }
}

mode_t typeOf(Type type) {
  switch (type) {
    case Type::directory: return S_IFDIR;
    case Type::symlink: return S_IFLNK;
    case Type::charDevice: return S_IFCHR;
    case Type::blockDevice: return S_IFBLK;
    case Type::fifo: return S_IFIFO;
    default: return S_IFREG;
  }
}

Xattrs expectedXattrs(const TarEntry& entry, const Xattrs& actual) {
  Xattrs expected;
  for (const auto& [name, value] : entry.xattrs) {
    if (judgeXattr(name, value) != XattrVerdict::keep) continue;
    // The kernel keeps an ACL that says no more than the mode in the mode (posix_acl(5)): three
    // entries of 8 bytes behind the version.
    const bool isMinimalAcl = name.starts_with("system.posix_acl_") && value.size() == 28;
    if (isMinimalAcl && !actual.contains(name)) continue;
    expected.emplace(name, value);
  }
  return expected;
}

// One name of the folder: its folder's inode and what it is called there.
std::uint64_t keyOf(ino_t folder, std::string_view name) {
  const std::uint64_t hash = std::hash<std::string_view>{}(name);
  return hash ^ (static_cast<std::uint64_t>(folder) * 0x9E3779B97F4A7C15ULL + (hash << 6));
}

std::pair<std::string, std::string> splitPath(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

class Comparison {
 public:
  Comparison(int root, std::string name, const ViewRules& rules, size_t limit)
      : root_(root), name_(std::move(name)), rules_(rules), limit_(limit) {
    parents_.insert(sys::fstat(root).st_ino);
  }

  void entry(const TarEntry& entry, TarReader& data);
  std::vector<ViewProblem> finish();

 private:
  // What the tar says --------------------------------------------------------------------------
  bool enter(const std::string& parent);
  void replace(const std::string& path, bool isWithFolder);
  void notePath(int folder);
  void object(const std::string& path, const std::string& last, const TarEntry& entry,
              TarReader& data);
  void whiteout(const std::string& path, const std::string& name);
  void opaque(const std::string& parent);
  [[nodiscard]] std::string differenceOf(const std::string& last, const struct stat& st,
                                         const TarEntry& entry, TarReader& data) const;
  [[nodiscard]] std::string metaDifference(const std::string& last, struct stat st,
                                           const TarEntry& entry) const;
  [[nodiscard]] std::string xattrDifference(const std::string& last, const struct stat& st,
                                            const TarEntry& entry) const;
  [[nodiscard]] std::string linkDifference(const struct stat& st, const TarEntry& entry) const;
  void suspect(const std::string& path, std::string problem) {
    suspects_[path] = std::move(problem);
  }
  // What is there beside ------------------------------------------------------------------------
  void walk(int folder, const std::string& path);
  void surplus(int folder, const std::string& path, const std::string& name, const struct stat& st);
  [[nodiscard]] bool isExplained(int folder, const std::string& path, const std::string& name,
                                 const struct stat& st) const;
  void checkOpaque(int folder, const std::string& path, const struct stat& st);

  int root_;
  std::string name_;
  const ViewRules& rules_;
  size_t limit_;

  std::optional<std::string> current_;
  Fd folder_;  // that entries are looked up in; empty: it is not there
  ino_t inode_ = 0;

  std::unordered_set<std::uint64_t> seen_;       // names that the tar has
  std::unordered_set<ino_t> parents_, opaques_;  // folders that it needs; those it makes opaque
  // A whiteout beside an object of the same name gives way to it, whichever comes first.
  std::vector<std::pair<std::uint64_t, std::string>> pending_;
  std::map<std::string, std::string> suspects_;           // until a later entry replaces them
  std::multimap<std::string, std::string> suspectLinks_;  // those that are hard links, by target
};

bool Comparison::enter(const std::string& parent) {
  if (current_ == parent) return static_cast<bool>(folder_);
  current_ = parent;
  folder_.reset();
  auto opened = sys::tryOpenInRoot(root_, parent.empty() ? "." : parent, O_RDONLY | O_DIRECTORY);
  if (!opened) return false;
  folder_ = std::move(*opened);
  inode_ = sys::fstat(folder_.get()).st_ino;
  notePath(folder_.get());
  return true;
}

// Links on the way may have led anywhere: the folder's own parents are what is there.
void Comparison::notePath(int folder) {
  Fd at = sys::openDirectory(folder, ".");
  while (parents_.insert(sys::fstat(at.get()).st_ino).second)
    at = sys::openDirectory(at.get(), "..");
}

void Comparison::entry(const TarEntry& entry, TarReader& data) {
  const std::string path = cleanTarPath(entry.path, name_);
  const auto [parent, last] = splitPath(path);
  for (const std::string& part : text::split(parent, '/')) {
    if (whiteoutKind(part) == WhiteoutKind::metadata) return;
  }
  const WhiteoutKind kind = path.empty() ? WhiteoutKind::none : whiteoutKind(last);
  if (kind == WhiteoutKind::metadata) return;
  replace(path, entry.type != Type::directory);
  try {
    if (path.empty()) {
      if (!enter("")) return;
      const struct stat st = sys::fstat(folder_.get());
      if (std::string what = metaDifference("", st, entry); !what.empty()) suspect("", what);
    } else if (!enter(parent)) {
      suspect(path, "is missing, its folder too");
    } else if (kind == WhiteoutKind::opaque) {
      opaque(parent);
    } else if (kind == WhiteoutKind::name) {
      whiteout(path, last.substr(kWhiteoutPrefix.size()));
    } else {
      object(path, last, entry, data);
    }
  } catch (const Error& error) {
    if (error.kind() == Kind::corrupt) throw;  // the tar's
    suspect(path, "cannot be read: " + error.cause());
  }
}

// What an earlier entry said about the path does not hold any more, nor what lay below it unless
// both are folders. A hard link keeps the inode whose other name goes here: it cannot be compared
// with it then.
void Comparison::replace(const std::string& path, bool isWithFolder) {
  suspects_.erase(path);
  const auto forgive = [&](auto from, auto to) {
    for (auto at = from; at != to; ++at) suspects_.erase(at->second);
    suspectLinks_.erase(from, to);
  };
  forgive(suspectLinks_.lower_bound(path), suspectLinks_.upper_bound(path));
  if (!isWithFolder) return;
  suspects_.erase(suspects_.lower_bound(path + "/"), suspects_.lower_bound(path + "0"));
  forgive(suspectLinks_.lower_bound(path + "/"), suspectLinks_.lower_bound(path + "0"));
}

void Comparison::object(const std::string& path, const std::string& last, const TarEntry& entry,
                        TarReader& data) {
  seen_.insert(keyOf(inode_, last));
  const auto st = sys::tryFstatat(folder_.get(), last);
  if (!st) return suspect(path, "is missing");
  std::string what = differenceOf(last, *st, entry, data);
  if (what.empty()) return;
  suspect(path, std::move(what));
  if (entry.type == Type::hardLink)
    suspectLinks_.emplace(cleanTarPath(entry.linkTarget, name_), path);
}

void Comparison::whiteout(const std::string& path, const std::string& name) {
  const auto st = sys::tryFstatat(folder_.get(), name);
  const std::uint64_t key = keyOf(inode_, name);
  if (st && isWhiteoutDevice(*st)) {
    seen_.insert(key);
    return;
  }
  if (st && S_ISDIR(st->st_mode)) {
    opaques_.insert(st->st_ino);
  } else {
    pending_.emplace_back(key, path);
  }
}

void Comparison::opaque(const std::string& parent) {
  if (opaqueMark(folder_.get()) != OpaqueMark::opaque) {
    return suspect(parent, "does not hide what lies below it");
  }
  opaques_.insert(inode_);
}

// Whether `count` bytes of the file from `at` on are those of `expected`; null: zeros.
bool hasBytes(int file, std::uint64_t at, const std::byte* expected, std::uint64_t count) {
  std::vector<std::byte> buffer(size_t{64} << 10);
  while (count > 0) {
    const size_t piece = static_cast<size_t>(std::min<std::uint64_t>(count, buffer.size()));
    const std::span<std::byte> into{buffer.data(), piece};
    if (preadFull(file, into, static_cast<off_t>(at), "a file") != piece) return false;
    if (expected != nullptr) {
      if (std::memcmp(into.data(), expected, piece) != 0) return false;
      expected += piece;
    } else if (std::any_of(into.begin(), into.end(),
                           [](std::byte b) { return b != std::byte{0}; })) {
      return false;
    }
    at += piece;
    count -= piece;
  }
  return true;
}

bool hasContent(int file, const TarEntry& entry, TarReader& data) {
  std::vector<TarEntry::Extent> extents = entry.extents;
  if (!entry.sparse) extents = {{0, entry.size}};
  std::uint64_t at = 0;
  std::span<const std::byte> piece;
  for (const auto& extent : extents) {
    if (!hasBytes(file, at, nullptr, extent.offset - at)) return false;
    at = extent.offset;
    for (std::uint64_t left = extent.length; left > 0;) {
      if (piece.empty()) piece = data.readPiece();
      const size_t count = static_cast<size_t>(std::min<std::uint64_t>(left, piece.size()));
      if (count == 0 || !hasBytes(file, at, piece.data(), count)) return false;
      piece = piece.subspan(count);
      at += count;
      left -= count;
    }
  }
  return hasBytes(file, at, nullptr, entry.size - at);
}

std::string Comparison::differenceOf(const std::string& last, const struct stat& st,
                                     const TarEntry& entry, TarReader& data) const {
  if (entry.type == Type::hardLink) return linkDifference(st, entry);
  const bool isDevice = entry.type == Type::charDevice || entry.type == Type::blockDevice;
  // tree_writer.cc: without privilege an empty file without rights stands in for a device.
  const bool isStandIn =
      isDevice && S_ISREG(st.st_mode) && st.st_size == 0 && (st.st_mode & 07777) == 0;
  if (isStandIn && recordsOwners()) return {};
  if ((st.st_mode & S_IFMT) != typeOf(entry.type)) {
    return fmt::format("is {}, in its blob it is {}", typeName(st.st_mode),
                       typeName(typeOf(entry.type)));
  }
  if (std::string what = metaDifference(last, st, entry); !what.empty()) return what;
  if (entry.type == Type::symlink) {
    const std::string target = sys::readlinkat(folder_.get(), last);
    if (target == entry.linkTarget) return {};
    return fmt::format("leads to {}, in its blob to {}", text::quote(target),
                       text::quote(entry.linkTarget));
  }
  if (isDevice && st.st_rdev != makedev(entry.deviceMajor, entry.deviceMinor)) {
    return fmt::format("is device {}:{}, in its blob {}:{}", major(st.st_rdev), minor(st.st_rdev),
                       entry.deviceMajor, entry.deviceMinor);
  }
  if (std::string what = xattrDifference(last, st, entry); !what.empty()) return what;
  if (entry.type != Type::file) return {};
  if (static_cast<std::uint64_t>(st.st_size) != entry.size) {
    return fmt::format("has {} bytes, in its blob {}", st.st_size, entry.size);
  }
  const Fd file = openForReading(folder_.get(), last, 0);
  return hasContent(file.get(), entry, data) ? "" : "has other bytes than in its blob";
}

std::string Comparison::metaDifference(const std::string& last, struct stat st,
                                       const TarEntry& entry) const {
  if (recordsOwners()) {
    if (last.empty()) {
      applyOwner(folder_.get(), st);
    } else {
      applyOwnerAt(folder_.get(), last, st);
    }
  }
  if (!S_ISLNK(st.st_mode) && (st.st_mode & 07777) != (entry.mode & 07777)) {
    return fmt::format("has mode {:04o}, in its blob {:04o}", st.st_mode & 07777,
                       entry.mode & 07777);
  }
  if (st.st_uid != entry.uid || st.st_gid != entry.gid) {
    return fmt::format("belongs to {}:{}, in its blob to {}:{}", st.st_uid, st.st_gid, entry.uid,
                       entry.gid);
  }
  const bool isUsualTime = entry.mtimeSeconds >= kOldest && entry.mtimeSeconds <= kNewest;
  if (isUsualTime && (st.st_mtim.tv_sec != entry.mtimeSeconds ||
                      st.st_mtim.tv_nsec != static_cast<long>(entry.mtimeNanoseconds))) {
    return fmt::format(
        "was changed at {}, in its blob at {}",
        text::formatTime(st.st_mtim.tv_sec, st.st_mtim.tv_nsec),
        text::formatTime(entry.mtimeSeconds, static_cast<long>(entry.mtimeNanoseconds)));
  }
  return {};
}

std::string Comparison::xattrDifference(const std::string& last, const struct stat& st,
                                        const TarEntry& entry) const {
  const bool isOpened = S_ISREG(st.st_mode) || S_ISDIR(st.st_mode);
  Xattrs actual = isOpened ? readXattrs(openForReading(folder_.get(), last, 0).get())
                           : readXattrsAt(folder_.get(), last);
  Xattrs expected = expectedXattrs(entry, actual);
  if (recordsOwners()) {  // the kernel shows it with the ids of the namespace, capabilities(7)
    actual.erase("security.capability");
    expected.erase("security.capability");
  }
  if (actual == expected) return {};
  for (const auto& [key, value] : expected) {
    const auto found = actual.find(key);
    if (found == actual.end()) return "lacks the attribute " + text::quote(key);
    if (found->second != value) return "has another attribute " + text::quote(key);
  }
  for (const auto& [key, value] : actual) {
    if (!expected.contains(key)) return "has the attribute " + text::quote(key) + " too much";
  }
  return {};
}

std::string Comparison::linkDifference(const struct stat& st, const TarEntry& entry) const {
  const auto [parent, last] = splitPath(cleanTarPath(entry.linkTarget, name_));
  const auto folder =
      sys::tryOpenInRoot(root_, parent.empty() ? "." : parent, O_RDONLY | O_DIRECTORY);
  const auto target = folder ? sys::tryFstatat(folder->get(), last) : std::nullopt;
  if (target && target->st_ino == st.st_ino) return {};
  return fmt::format("is not the same file as {}", text::quote(entry.linkTarget));
}

// --- What is there beside ---

void Comparison::walk(int folder, const std::string& path) {
  const struct stat here = sys::fstat(folder);
  checkOpaque(folder, path, here);
  for (const fs::Entry& item : fs::listSorted(folder)) {
    const auto st = sys::tryFstatat(folder, item.name);
    if (!st) continue;
    const std::string full = path.empty() ? item.name : path + "/" + item.name;
    const bool isKnown = seen_.contains(keyOf(here.st_ino, item.name)) ||
                         (S_ISDIR(st->st_mode) && parents_.contains(st->st_ino));
    if (!isKnown) surplus(folder, full, item.name, *st);
    if (suspects_.size() > limit_) return;
    if (S_ISDIR(st->st_mode) && (isKnown || rules_.isSealed))
      walk(openForReading(folder, item.name, O_DIRECTORY).get(), full);
  }
}

void Comparison::checkOpaque(int folder, const std::string& path, const struct stat& st) {
  const bool isExpected = opaques_.contains(st.st_ino);
  const bool isOpaque = opaqueMark(folder) == OpaqueMark::opaque;
  if (isExpected && !isOpaque) suspect(path, "does not hide what lies below it");
  if (isOpaque && !isExpected && !rules_.isSealed) suspect(path, "hides what lies below it");
}

void Comparison::surplus(int folder, const std::string& path, const std::string& name,
                         const struct stat& st) {
  if (rules_.isSealed && isExplained(folder, path, name, st)) return;
  suspect(path, "is not in its blob");
}

std::optional<ChangeFolder> descendTo(const std::vector<int>& stack, const std::string& path) {
  ChangeFolder folder = ChangeFolder::root(stack);
  for (const std::string& part : text::split(path, '/')) {
    if (part.empty()) continue;
    const std::vector<ChangeFolder::Item> items = folder.list();
    const auto item = std::find_if(items.begin(), items.end(), [&](const ChangeFolder::Item& one) {
      return one.name == part && !one.isWhiteout;
    });
    if (item == items.end()) return std::nullopt;
    const auto st = sys::tryFstatat(folder.dirOf(*item), part);
    if (!st || !S_ISDIR(st->st_mode)) return std::nullopt;
    folder = folder.descend(*item);
  }
  return folder;
}

bool isSameThing(int ours, int theirs, const std::string& name, const struct stat& st) {
  const auto other = sys::tryFstatat(theirs, name);
  if (!other || st.st_mode != other->st_mode || st.st_uid != other->st_uid ||
      st.st_gid != other->st_gid) {
    return false;
  }
  if (S_ISDIR(st.st_mode)) return true;
  if (S_ISLNK(st.st_mode)) return sys::readlinkat(ours, name) == sys::readlinkat(theirs, name);
  if (!S_ISREG(st.st_mode)) return st.st_rdev == other->st_rdev;
  return st.st_size == other->st_size &&
         isSameContent(openForReading(ours, name, 0).get(), openForReading(theirs, name, 0).get(),
                       static_cast<std::uint64_t>(st.st_size));
}

bool Comparison::isExplained(int folder, const std::string& path, const std::string& name,
                             const struct stat& st) const {
  if (rules_.stacks.empty()) return true;
  const std::string parent = splitPath(path).first;
  return std::any_of(rules_.stacks.begin(), rules_.stacks.end(), [&](const auto& stack) {
    if (stack.empty()) return isWhiteoutDevice(st);
    const auto below = descendTo(stack, parent);
    if (!below) return isWhiteoutDevice(st);
    const std::vector<ChangeFolder::Item> items = below->list();
    const auto item = std::find_if(items.begin(), items.end(), [&](const ChangeFolder::Item& one) {
      return one.name == name && !one.isWhiteout;
    });
    if (isWhiteoutDevice(st)) return item == items.end();
    return item != items.end() && isSameThing(folder, below->dirOf(*item), name, st);
  });
}

std::vector<ViewProblem> Comparison::finish() {
  folder_.reset();
  walk(root_, "");
  for (const auto& [key, path] : pending_) {
    if (!seen_.contains(key)) suspect(path, "is missing: it hides a name of the layers below");
  }
  std::vector<ViewProblem> problems;
  for (auto& [path, what] : suspects_) {
    if (problems.size() == limit_) break;
    problems.push_back({path, std::move(what)});
  }
  return problems;
}

}  // namespace

std::vector<ViewProblem> compareView(int root, Source& tar, const std::string& name,
                                     const ViewRules& rules, size_t limit) {
  TarReader reader{tar, name, TarReader::Mode::readAhead};
  Comparison comparison{root, name, rules, limit};
  while (const TarEntry* entry = reader.next()) comparison.entry(*entry, reader);
  reader.drain();
  return comparison.finish();
}

}  // namespace img::store
