#include "store/lower_view.h"

#include "base/sys.h"
#include "store/owners.h"
#include "store/whiteout.h"

namespace img::store {
namespace {

bool isDeleted(int dir, const std::string& name, const struct stat& st) {
  if (isWhiteoutDevice(st)) return true;
  if (!S_ISREG(st.st_mode) || st.st_size != 0) return false;
  return hasWhiteoutXattr(sys::openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).get());
}

}  // namespace

LowerFolder LowerFolder::root(const std::vector<int>& lowers) {
  LowerFolder folder;
  for (const int lower : lowers) {
    if (!folder.append(sys::openDirectory(lower, "."))) break;
  }
  return folder;
}

bool LowerFolder::append(Fd folder) {
  const bool isOpaque = opaqueMark(folder.get()) == OpaqueMark::opaque;
  dirs_.push_back(folder.get());
  owned_.push_back(std::move(folder));
  return !isOpaque;
}

std::optional<LowerFolder::Found> LowerFolder::find(const std::string& name) const {
  for (const int dir : dirs_) {
    auto st = sys::tryFstatat(dir, name);
    if (!st) continue;
    if (isDeleted(dir, name, *st)) return std::nullopt;
    if (recordsOwners()) applyOwnerAt(dir, name, *st);
    return Found{dir, *st};
  }
  return std::nullopt;
}

LowerFolder LowerFolder::descend(const std::string& name) const {
  LowerFolder folder;
  for (const int dir : dirs_) {
    const auto st = sys::tryFstatat(dir, name);
    if (!st) continue;
    // Anything but a folder ends the union here, a whiteout too.
    if (!S_ISDIR(st->st_mode)) break;
    if (!folder.append(sys::openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW))) break;
  }
  return folder;
}

}  // namespace img::store
