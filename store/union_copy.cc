#include "store/union_copy.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <map>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "store/change_folder.h"
#include "store/owners.h"
#include "store/tree_copy.h"

namespace img::store {
namespace {

struct Form {
  bool isCopied = false, hasTrustedXattrs = true;
};
Form& form() {
  static Form state;
  return state;
}

constexpr char kCopyName[] = ".img-copy";  // beside the name it takes; nobody else is there

std::string childOf(const std::string& path, const std::string& name) {
  return path.empty() ? name : path + "/" + name;
}

class UnionCopier {
 public:
  explicit UnionCopier(int top) : top_(top) {}

  void folder(const ChangeFolder& from, int to, const std::string& path) {
    for (const ChangeFolder::Item& item : from.list()) {
      if (item.isWhiteout) continue;
      const std::string childPath = childOf(path, item.name);
      try {
        child(from, item, to, childPath);
      } catch (Error& error) {
        error.during("copying {}", childPath);
        throw;
      }
    }
    struct stat st = sys::fstat(from.top());
    if (recordsOwners_) applyOwner(from.top(), st);
    copyMetadata(from.top(), to, st);
  }

 private:
  void child(const ChangeFolder& parent, const ChangeFolder::Item& item, int to,
             const std::string& path) {
    const int from = parent.dirOf(item);
    const struct stat st = sys::fstatat(from, item.name);
    if (S_ISDIR(st.st_mode)) {
      sys::mkdirat(to, item.name, 0700);
      const Fd target = sys::openat(to, item.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      return folder(parent.descend(item), target.get(), path);
    }
    if (S_ISSOCK(st.st_mode)) return;
    if (st.st_nlink > 1) {
      const auto [known, isNew] = seen_.try_emplace({st.st_dev, st.st_ino}, path);
      if (!isNew) return sys::linkat(top_, known->second, to, item.name, 0);
    }
    copyObject(from, item.name, to, item.name);
  }

  int top_;
  const bool recordsOwners_ = recordsOwners();
  std::map<std::pair<dev_t, ino_t>, std::string> seen_;
};

}  // namespace

void copyUnions(bool hasTrustedXattrs) {
  form() = {true, hasTrustedXattrs};
}

bool copiesUnions() {
  return form().isCopied;
}

bool usesUserMarks() {
  return recordsOwners() || !form().hasTrustedXattrs;
}

void copyUnion(const std::vector<int>& folders, int to) {
  if (folders.empty()) return;
  UnionCopier{to}.folder(ChangeFolder::root(folders), to, "");
}

bool separateLinks(int folder) {
  bool isChanged = false;
  const struct stat own = sys::fstat(folder);
  bool isOwnChanged = false;
  for (const fs::Entry& entry : fs::list(folder)) {
    const struct stat st = sys::fstatat(folder, entry.name);
    if (S_ISDIR(st.st_mode)) {
      const Fd inner = sys::openat(folder, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      isChanged = separateLinks(inner.get()) || isChanged;
    } else if (st.st_nlink > 1) {
      copyObject(folder, entry.name, folder, kCopyName);
      sys::renameat(folder, kCopyName, folder, entry.name);
      isOwnChanged = true;
    }
  }
  if (isOwnChanged) sys::futimens(folder, own.st_atim, own.st_mtim);
  return isChanged || isOwnChanged;
}

}  // namespace img::store
