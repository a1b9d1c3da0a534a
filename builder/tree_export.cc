#include "builder/tree_export.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/fs.h"
#include "base/interruption.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/tree_copy.h"
#include "store/xattrs.h"

namespace img::builder {
namespace {

constexpr int kMaxDepth = 4096;
// Up to here one read and one write are cheaper than asking for holes.
constexpr off_t kSmallFile = 64 << 10;
constexpr timespec kKeepTime{0, UTIME_OMIT};

void copySmall(int from, int to, size_t size, const std::string& name) {
  std::array<std::byte, kSmallFile> buffer;
  const size_t count = readFull(from, std::span{buffer}.first(size), name);
  if (count != size)
    throw Error::make(Kind::failed, "{} changed while it was read", text::quote(name));
  writeAll(to, std::span<const std::byte>{buffer}.first(count), name);
}

}  // namespace

TreeExporter::TreeExporter(int folder, std::string shown, const TreeExportOptions& options)
    : folder_(folder), shown_(std::move(shown)), options_(options) {}

std::string TreeExporter::shownPath() const {
  return path_.empty() ? shown_ : shown_ + "/" + path_;
}

void TreeExporter::add(const std::vector<int>& layers, const std::string& subfolder) try {
  links_.clear();
  path_ = subfolder;
  Fd to = sys::openDirectory(folder_, ".");
  if (!subfolder.empty()) to = makeFolder(folder_, subfolder);
  if (layers.empty()) {
    if (options_.deletesOthers) removeOthers(to.get(), {});
    return;
  }
  folder(store::ChangeFolder::root(layers), to.get(), 0);
} catch (Error& error) {
  error.during("writing {}", text::quote(shownPath()));
  throw;
}

void TreeExporter::folder(const store::ChangeFolder& from, int to, int depth) {
  if (depth > kMaxDepth) {
    throw Error::make(Kind::unsupported, "{} is nested over {} folders deep", text::quote(path_),
                      kMaxDepth);
  }
  std::vector<Item> items = from.list();
  std::erase_if(items, [](const Item& item) { return item.isWhiteout; });
  // Which of several hard links is the file and which the link must not depend on the disk.
  std::sort(items.begin(), items.end(),
            [](const Item& a, const Item& b) { return a.name < b.name; });
  const size_t parent = path_.size();
  for (const Item& item : items) {
    if (!path_.empty()) path_ += '/';
    path_ += item.name;
    entry(from, item, to, depth);
    path_.resize(parent);
  }
  if (!options_.deletesOthers) return;
  std::set<std::string> wanted;
  for (Item& item : items) wanted.insert(std::move(item.name));
  removeOthers(to, wanted);
}

void TreeExporter::entry(const store::ChangeFolder& from, const Item& item, int to, int depth) {
  const int dir = from.dirOf(item);
  if (item.type == DT_DIR) return subfolder(from, item, to, depth);
  if (item.type == DT_REG) return file(dir, item.name, to);
  const struct stat st = sys::fstatat(dir, item.name);
  if (S_ISDIR(st.st_mode)) return subfolder(from, item, to, depth);
  if (S_ISREG(st.st_mode)) return file(dir, item.name, to);
  other(dir, st, item.name, to);
}

Fd TreeExporter::makeFolder(int to, const std::string& name) {
  constexpr mode_t kUntilFilled = 0700;
  if (!sys::tryMkdirat(to, name, kUntilFilled)) {
    // A link is replaced like any other file: what it points to is somebody else's.
    if (!S_ISDIR(sys::fstatat(to, name).st_mode)) {
      claim();
      sys::unlinkat(to, name, 0);
      sys::mkdirat(to, name, kUntilFilled);
    }
  }
  return sys::openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

void TreeExporter::subfolder(const store::ChangeFolder& parent, const Item& item, int to,
                             int depth) {
  const store::ChangeFolder from = parent.descend(item);
  const struct stat st = sys::fstat(from.top());
  const Fd made = makeFolder(to, item.name);
  folder(from, made.get(), depth + 1);
  // Mode and time at the end: the folder may be read-only, and filling it changes the time.
  finishFile(made.get(), st, from.top());
}

timespec TreeExporter::timeOf(const struct stat& st) const {
  return options_.epoch ? timespec{*options_.epoch, 0} : st.st_mtim;
}

void TreeExporter::finishFile(int fd, const struct stat& st, int source) const {
  sys::fchmod(fd, st.st_mode & 07777);
  // What the folder's file system or the caller's rights do not allow is left out.
  if (const store::Xattrs xattrs = store::readXattrs(source); !xattrs.empty())
    static_cast<void>(store::writeXattrs(fd, xattrs));
  sys::futimens(fd, kKeepTime, timeOf(st));
}

// Several platforms in one folder: which of two files would stay is nobody's wish.
void TreeExporter::claim() {
  if (!options_.refusesConflicts || claimed_.insert(path_).second) return;
  throw Error::make(Kind::failed, "{} comes from more than one platform", text::quote(path_))
      .hint("leave out platform-split=false: each platform then gets a folder of its own");
}

template <class Make>
void TreeExporter::replace(int to, const std::string& name, Make&& make) {
  claim();
  if (make(name)) return;
  const struct stat old = sys::fstatat(to, name);
  if (S_ISDIR(old.st_mode)) {
    if (options_.deletesOthers) {
      fs::removeTree(to, name);
    } else if (::unlinkat(to, name.c_str(), AT_REMOVEDIR) != 0) {
      throw Error::make(Kind::exists, "{} is a folder with content, the result has a {} there",
                        text::quote(shownPath()), "file")
          .hint("remove the folder, or let mode=delete do it");
    }
    if (make(name)) return;
  }
  // Under another name first: the old file stays whole until the new one is.
  const std::string part = ".img-" + fs::randomHex(12);
  try {
    if (!make(part)) throw Error::make(Kind::failed, "{} exists", part);
    sys::renameat(to, part, to, name);
  } catch (...) {
    ::unlinkat(to, part.c_str(), 0);
    throw;
  }
}

void TreeExporter::fill(Fd target, int source, const struct stat& st) const {
  if (st.st_size <= kSmallFile) {
    copySmall(source, target.get(), static_cast<size_t>(st.st_size), path_);
  } else {
    store::copyFileData(source, target.get(), st.st_size);
  }
  finishFile(target.get(), st, source);
  target.close(path_);  // some file systems report a full disk only here
}

void TreeExporter::file(int from, const std::string& name, int to) {
  throwIfInterrupted();
  const Fd source = store::openForReading(from, name, 0);
  const struct stat st = sys::fstat(source.get());
  if (st.st_nlink > 1) {
    const auto [known, isFirst] = links_.try_emplace({st.st_dev, st.st_ino}, path_);
    if (!isFirst) {
      const Fd first = sys::openBeneath(folder_, known->second, O_PATH | O_NOFOLLOW);
      return replace(to, name, [&](const std::string& made) {
        // linkat(2): by the descriptor without the capability that AT_EMPTY_PATH wants.
        if (::linkat(AT_FDCWD, sys::procPath(first.get()).c_str(), to, made.c_str(),
                     AT_SYMLINK_FOLLOW) == 0)
          return true;
        if (errno != EEXIST) throw Error::fromErrno(errno, "link " + text::quote(path_));
        return false;
      });
    }
  }
  replace(to, name, [&](const std::string& made) {
    const int fd =
        ::openat(to, made.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST) return false;
    if (fd < 0) throw Error::fromErrno(errno, "create " + text::quote(path_));
    try {
      fill(Fd{fd}, source.get(), st);
    } catch (...) {
      // Half a file under its final name would look like a result.
      ::unlinkat(to, made.c_str(), 0);
      throw;
    }
    return true;
  });
}

void TreeExporter::other(int from, const struct stat& st, const std::string& name, int to) {
  if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
    skipped_.push_back(path_);
    return;
  }
  // Nothing listens on it any more, and no layer has it either (store/seal.cc).
  if (S_ISSOCK(st.st_mode)) return;
  const std::string target = S_ISLNK(st.st_mode) ? sys::readlinkat(from, name) : std::string{};
  replace(to, name, [&](const std::string& made) {
    const int status = S_ISLNK(st.st_mode) ? ::symlinkat(target.c_str(), to, made.c_str())
                                           : ::mkfifoat(to, made.c_str(), 0600);
    if (status != 0 && errno == EEXIST) return false;
    if (status != 0) throw Error::fromErrno(errno, "create " + text::quote(path_));
    if (S_ISFIFO(st.st_mode)) {
      // By a descriptor: the name could be a link by now. It is not opened, which would wait.
      const Fd fifo = sys::openat(to, made, O_PATH | O_NOFOLLOW);
      if (S_ISFIFO(sys::fstat(fifo.get()).st_mode))
        sys::fchmodat(AT_FDCWD, sys::procPath(fifo.get()), st.st_mode & 07777);
    }
    sys::utimensat(to, made, kKeepTime, timeOf(st));
    return true;
  });
}

void TreeExporter::keepOnly(const std::set<std::string>& names) {
  removeOthers(sys::openDirectory(folder_, ".").get(), names);
}

void TreeExporter::removeOthers(int to, const std::set<std::string>& wanted) {
  for (const fs::Entry& found : fs::list(to)) {
    if (!wanted.contains(found.name)) fs::removeTree(to, found.name);
  }
}

}  // namespace img::builder
