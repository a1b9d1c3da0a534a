#include "store/tree_diff.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/sys.h"
#include "store/same_file.h"
#include "store/xattrs.h"

namespace img::store {
namespace {

using Kind = TreeChange::Kind;

struct Found {
  ChangeFolder::Item item;
  struct stat st {};
};
using Names = std::map<std::string, Found>;

// What a folder of the tree has; a name that has just gone is not among them.
Names namesOf(const ChangeFolder& folder) {
  Names names;
  for (ChangeFolder::Item& item : folder.list()) {
    if (item.isWhiteout) continue;
    const auto st = sys::tryFstatat(folder.dirOf(item), item.name);
    if (!st) continue;
    std::string name = item.name;
    names.emplace(std::move(name), Found{std::move(item), *st});
  }
  return names;
}

std::optional<ChangeFolder> tryDescend(const ChangeFolder& folder, const Found& found) {
  try {
    return folder.descend(found.item);
  } catch (const Error& error) {
    if (error.errnum() != ENOENT && error.errnum() != ENOTDIR && error.errnum() != ELOOP) throw;
    return std::nullopt;
  }
}

std::uint64_t bytesOf(const struct stat& st) {
  return S_ISREG(st.st_mode) ? static_cast<std::uint64_t>(st.st_size) : 0;
}

bool isSameMeta(const struct stat& a, const struct stat& b) {
  return a.st_mode == b.st_mode && a.st_uid == b.st_uid && a.st_gid == b.st_gid &&
         a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

class Comparison {
 public:
  // True when anything below differs.
  bool folders(const ChangeFolder& before, const ChangeFolder& after, const std::string& path);
  std::vector<TreeChange> take();

 private:
  bool both(const ChangeFolder& before, const Found& old, const ChangeFolder& after,
            const Found& now, const std::string& path);
  void added(const ChangeFolder& folder, const Found& found, const std::string& path);
  void addedBelow(const ChangeFolder& folder, const Found& found, const std::string& path);
  [[nodiscard]] std::uint64_t bytesBelow(const ChangeFolder& folder, const Found& found) const;
  [[nodiscard]] bool isSame(const ChangeFolder& before, const Found& old, const ChangeFolder& after,
                            const Found& now) const;

  std::vector<TreeChange> changes_;
};

bool Comparison::folders(const ChangeFolder& before, const ChangeFolder& after,
                         const std::string& path) {
  if (before.isSameStack(after)) return false;
  const size_t known = changes_.size();
  const Names old = namesOf(before);
  const Names now = namesOf(after);
  for (const auto& [name, found] : now) {
    const auto was = old.find(name);
    if (was == old.end()) {
      added(after, found, path + "/" + name);
    } else {
      both(before, was->second, after, found, path + "/" + name);
    }
  }
  for (const auto& [name, found] : old) {
    if (now.contains(name)) continue;
    changes_.push_back({Kind::deleted, path + "/" + name, bytesBelow(before, found), 0});
  }
  return changes_.size() > known;
}

bool Comparison::both(const ChangeFolder& before, const Found& old, const ChangeFolder& after,
                      const Found& now, const std::string& path) {
  const bool wasFolder = S_ISDIR(old.st.st_mode);
  const bool isFolder = S_ISDIR(now.st.st_mode);
  bool differs = false;
  if (wasFolder && isFolder) {
    const auto from = tryDescend(before, old);
    const auto to = tryDescend(after, now);
    if (!from || !to) return false;
    differs = folders(*from, *to, path);
    differs = differs || !isSameMeta(sys::fstat(from->top()), sys::fstat(to->top()));
  } else {
    differs = !isSame(before, old, after, now);
    if (isFolder) addedBelow(after, now, path);
  }
  if (!differs) return false;
  const std::uint64_t bytes = wasFolder && !isFolder ? bytesBelow(before, old) : bytesOf(old.st);
  changes_.push_back({Kind::changed, path, bytes, bytesOf(now.st)});
  return true;
}

void Comparison::added(const ChangeFolder& folder, const Found& found, const std::string& path) {
  changes_.push_back({Kind::added, path, 0, bytesOf(found.st)});
  if (S_ISDIR(found.st.st_mode)) addedBelow(folder, found, path);
}

void Comparison::addedBelow(const ChangeFolder& folder, const Found& found,
                            const std::string& path) {
  const auto inner = tryDescend(folder, found);
  if (!inner) return;
  for (const auto& [name, child] : namesOf(*inner)) added(*inner, child, path + "/" + name);
}

std::uint64_t Comparison::bytesBelow(const ChangeFolder& folder, const Found& found) const {
  if (!S_ISDIR(found.st.st_mode)) return bytesOf(found.st);
  std::uint64_t bytes = 0;
  const auto inner = tryDescend(folder, found);
  if (!inner) return 0;
  for (const auto& [name, child] : namesOf(*inner)) bytes += bytesBelow(*inner, child);
  return bytes;
}

bool Comparison::isSame(const ChangeFolder& before, const Found& old, const ChangeFolder& after,
                        const Found& now) const {
  if (old.st.st_dev == now.st.st_dev && old.st.st_ino == now.st.st_ino) return true;
  const int from = before.dirOf(old.item);
  const int to = after.dirOf(now.item);
  const std::string& name = now.item.name;
  if (!isSameMeta(old.st, now.st) || old.st.st_rdev != now.st.st_rdev) return false;
  try {
    if (S_ISLNK(now.st.st_mode)) return sys::readlinkat(from, name) == sys::readlinkat(to, name);
    if (!S_ISREG(now.st.st_mode)) return true;
    if (old.st.st_size != now.st.st_size) return false;
    const Fd was = openForReading(from, name, 0);
    const Fd is = openForReading(to, name, 0);
    return readXattrs(was.get()) == readXattrs(is.get()) &&
           isSameContent(was.get(), is.get(), static_cast<std::uint64_t>(now.st.st_size));
  } catch (const Error& error) {
    if (error.errnum() != ENOENT && error.errnum() != ELOOP) throw;
    return false;  // just replaced by something else
  }
}

std::vector<TreeChange> Comparison::take() {
  std::sort(changes_.begin(), changes_.end(),
            [](const TreeChange& a, const TreeChange& b) { return a.path < b.path; });
  return std::move(changes_);
}

}  // namespace

std::vector<TreeChange> diffTrees(const std::vector<int>& before, const std::vector<int>& after) {
  Comparison comparison;
  comparison.folders(ChangeFolder::root(before), ChangeFolder::root(after), "");
  return comparison.take();
}

char changeLetter(Kind kind) {
  switch (kind) {
    case Kind::added: return 'A';
    case Kind::deleted: return 'D';
    case Kind::changed: break;
  }
  return 'C';
}

}  // namespace img::store
