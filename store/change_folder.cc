#include "store/change_folder.h"

#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "base/fs.h"
#include "base/sys.h"

namespace img::store {
namespace {

bool isDeletion(int dir, const fs::Entry& found, OpaqueMark mark) {
  const bool mayBeXattr = mark == OpaqueMark::hasXattrWhiteouts;
  if (found.type != DT_CHR && found.type != DT_UNKNOWN && !mayBeXattr) return false;
  const struct stat st = sys::fstatat(dir, found.name);
  if (isWhiteoutDevice(st)) return true;
  if (!mayBeXattr || !S_ISREG(st.st_mode) || st.st_size != 0) return false;
  return hasWhiteoutXattr(openForReading(dir, found.name, 0).get());
}

}  // namespace

Fd openForReading(int dir, const std::string& name, int flags) {
  flags |= O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
  const int fd = ::openat(dir, name.c_str(), flags | O_NOATIME);
  if (fd >= 0) return Fd{fd};
  return sys::openat(dir, name, flags);  // EPERM: somebody else's file; other errors come again
}

void ChangeFolder::append(Fd dir) {
  const OpaqueMark mark = opaqueMark(dir.get());
  isOpaque_ = mark == OpaqueMark::opaque;
  levels_.push_back({std::move(dir), mark});
}

ChangeFolder ChangeFolder::root(const std::vector<int>& folders) {
  ChangeFolder root;
  for (const int folder : folders) {
    root.append(sys::openDirectory(folder, "."));
    if (root.isOpaque_) break;
  }
  return root;
}

void ChangeFolder::listLevel(const Level& level, size_t number, std::vector<Item>& items) {
  for (fs::Entry& found : fs::list(level.dir.get())) {
    const bool isWhiteout = isDeletion(level.dir.get(), found, level.mark);
    items.push_back({std::move(found.name), found.type, isWhiteout, number});
  }
}

std::vector<ChangeFolder::Item> ChangeFolder::list() const {
  std::vector<Item> items;
  listLevel(levels_.front(), 0, items);
  if (levels_.size() == 1) return items;
  std::unordered_set<std::string> known;
  for (const Item& item : items) known.insert(item.name);
  for (size_t number = 1; number < levels_.size(); ++number) {
    std::vector<Item> more;
    listLevel(levels_[number], number, more);
    for (Item& item : more) {
      if (known.insert(item.name).second) items.push_back(std::move(item));
    }
  }
  return items;
}

bool ChangeFolder::isSameStack(const ChangeFolder& other) const {
  return std::equal(levels_.begin(), levels_.end(), other.levels_.begin(), other.levels_.end(),
                    [](const Level& a, const Level& b) {
                      const struct stat first = sys::fstat(a.dir.get());
                      const struct stat second = sys::fstat(b.dir.get());
                      return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
                    });
}

ChangeFolder ChangeFolder::descend(const Item& item) const {
  ChangeFolder folder;
  folder.append(openForReading(dirOf(item), item.name, O_DIRECTORY));
  for (size_t number = item.level + 1; number < levels_.size() && !folder.isOpaque_; ++number) {
    const int dir = levels_[number].dir.get();
    const auto st = sys::tryFstatat(dir, item.name);
    if (!st) continue;
    if (S_ISDIR(st->st_mode)) {
      folder.append(openForReading(dir, item.name, O_DIRECTORY));
    } else {
      // Anything but a folder ends the merge here, a whiteout too.
      folder.isOpaque_ = true;
    }
  }
  return folder;
}

}  // namespace img::store
