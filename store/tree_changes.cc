#include "store/tree_changes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include <memory>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "store/owners.h"
#include "store/tree_copy.h"
#include "store/whiteout.h"

namespace img::store {
namespace {

constexpr int kMaxDepth = 4096;  // of a layer (store/seal.cc)
constexpr long long kSecond = 1000000000;

long long nanoseconds(const statx_timestamp& time) {
  return time.tv_sec * kSecond + time.tv_nsec;
}

// The clock that the kernel stamps inodes with. It stands still for up to 10 ms, and two changes
// within that time look like one.
void waitForLaterStamps(long long latest) {
  for (;;) {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
    const long long stamp = now.tv_sec * kSecond + now.tv_nsec;
    // A clock that was set back is no reason to wait for hours.
    if (stamp > latest || latest - stamp > kSecond) return;
    const timespec pause{0, 1000000};
    ::nanosleep(&pause, nullptr);
  }
}

// A folder of the upper, made when something in it is.
struct UpperFolder {
  UpperFolder* parent;
  std::string name;
  Fd folder;

  int get() {
    if (folder) return folder.get();
    const int above = parent->get();
    sys::mkdirat(above, name, 0700);
    folder = sys::openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    return folder.get();
  }
};

}  // namespace

TreeState::Node TreeState::look(int dir, const std::string& name) {
  struct statx info {};
  sys::check(
      [&] {
        return ::statx(dir, name.c_str(), AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH,
                       STATX_TYPE | STATX_INO | STATX_CTIME | STATX_BTIME, &info);
      },
      "look at {}", name);
  Node node;
  node.inode = info.stx_ino;
  node.changed = nanoseconds(info.stx_ctime);
  if ((info.stx_mask & STATX_BTIME) != 0) node.born = nanoseconds(info.stx_btime);
  node.isFolder = S_ISDIR(info.stx_mode);
  return node;
}

void TreeState::lookBelow(int folder, Node& node, long long& latest) {
  latest = std::max(latest, std::max(node.changed, node.born));
  for (fs::Entry& entry : fs::list(folder)) {
    Node child = look(folder, entry.name);
    if (child.isFolder) {
      const Fd inner = sys::openat(folder, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      lookBelow(inner.get(), child, latest);
    } else {
      latest = std::max(latest, child.changed);
    }
    node.children.emplace(std::move(entry.name), std::move(child));
  }
}

TreeState TreeState::of(int root) {
  TreeState state;
  state.root_ = look(root, "");
  long long latest = 0;
  const Fd top = sys::openDirectory(root, ".");
  lookBelow(top.get(), state.root_, latest);
  waitForLaterStamps(latest);
  return state;
}

class ChangeWriter {
 public:
  ChangeWriter(int upper, const std::optional<timespec>& latest) : upper_(upper), latest_(latest) {}

  using Node = TreeState::Node;

  void run(int root, const Node& before) {
    UpperFolder top{nullptr, "", sys::openDirectory(upper_, ".")};
    compare(root, before, top, 0);
  }

 private:
  void compare(int folder, const Node& before, UpperFolder& upper, int depth) {
    if (depth > kMaxDepth)
      throw Error::make(Kind::unsupported, "the tree is nested over {} folders deep", kMaxDepth);
    std::set<std::string> present;
    const size_t outer = path_.size();
    for (const fs::Entry& entry : fs::list(folder)) {
      present.insert(entry.name);
      const auto known = before.children.find(entry.name);
      if (outer > 0) path_ += '/';
      path_ += entry.name;
      child(folder, entry.name, known == before.children.end() ? nullptr : &known->second, upper,
            depth);
      path_.resize(outer);
    }
    for (const auto& [name, node] : before.children) {
      if (present.count(name) == 0) makeWhiteout(upper.get(), name);
    }
  }

  void child(int folder, const std::string& name, const Node* before, UpperFolder& upper,
             int depth) {
    const Node now = TreeState::look(folder, name);
    if (!now.isFolder) {
      const bool isSame = before != nullptr && !before->isFolder && before->inode == now.inode &&
                          before->changed == now.changed;
      if (!isSame) addObject(folder, name, upper.get());
      return;
    }
    const Fd inner = sys::openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    UpperFolder made{&upper, name, {}};
    const bool isSuccessor = before == nullptr || !before->isFolder || before->inode != now.inode ||
                             before->born != now.born;
    if (isSuccessor) {
      static const Node kNothing;
      compare(inner.get(), kNothing, made, depth + 1);
      if (before != nullptr) markOpaque(made.get());
    } else {
      compare(inner.get(), *before, made, depth + 1);
    }
    if (isSuccessor || made.folder || now.changed != before->changed)
      finishFolder(folder, name, inner.get(), made.get());
  }

  // After everything in it is there.
  void finishFolder(int parent, const std::string& name, int folder, int made) const {
    clamp(parent, name);
    struct stat st = sys::fstat(folder);
    if (recordsOwners_) applyOwner(folder, st);
    copyMetadata(folder, made, st);
  }

  void addObject(int folder, const std::string& name, int upper) {
    clamp(folder, name);
    const struct stat st = sys::fstatat(folder, name);
    if (S_ISSOCK(st.st_mode)) return;  // as the sealer has it
    if (st.st_nlink > 1) {
      const auto [known, isNew] = links_.try_emplace({st.st_dev, st.st_ino}, path_);
      if (!isNew) return sys::linkat(upper_, known->second, upper, name, 0);
    }
    copyObject(folder, name, upper, name);
  }

  void clamp(int folder, const std::string& name) const {
    if (!latest_) return;
    const timespec time = sys::fstatat(folder, name).st_mtim;
    const bool isLater = time.tv_sec > latest_->tv_sec ||
                         (time.tv_sec == latest_->tv_sec && time.tv_nsec > latest_->tv_nsec);
    if (isLater) sys::utimensat(folder, name, {0, UTIME_OMIT}, *latest_);
  }

  int upper_;
  std::optional<timespec> latest_;
  const bool recordsOwners_ = recordsOwners();
  std::string path_;                                      // of what is being looked at
  std::map<std::pair<dev_t, ino_t>, std::string> links_;  // first path of files with several names
};

void TreeState::writeChanges(int root, int upper, const std::optional<timespec>& latest) const {
  const Fd top = sys::openDirectory(root, ".");
  ChangeWriter{upper, latest}.run(top.get(), root_);
}

}  // namespace img::store
