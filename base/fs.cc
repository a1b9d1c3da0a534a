#include "base/fs.h"

#include <dirent.h>
#include <linux/openat2.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/sys.h"

namespace img::fs {
namespace {

// Folder content without one stdio buffer per folder; getdents64(2).
struct LinuxDirent {
  ino64_t ino;
  off64_t off;
  unsigned short length;
  unsigned char type;
  char name[1];
};

bool isDots(const char* name) {
  return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

// The folder `name` of `dir`; nullopt when it is missing or a mount point, bind mounts included
// (openat2(2), RESOLVE_NO_XDEV), for which the device number would not tell.
std::optional<Fd> tryOpenSameMount(int dir, const std::string& name) {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS;
  for (;;) {
    const long fd = ::syscall(SYS_openat2, dir, name.c_str(), &how, sizeof how);
    if (fd >= 0) return Fd{static_cast<int>(fd)};
    if (errno == ENOENT || errno == ENOTDIR || errno == EXDEV) return std::nullopt;
    if (errno != EINTR) throw Error::fromErrno(errno, fmt::format("open {}", name));
  }
}

// A tree may be deeper than a process may hold descriptors, so what lies below this many levels is
// first moved up to the top of the tree.
constexpr int kMaxDepth = 128;

// One removal: `top` is the outermost folder, already open.
struct Removal {
  int top;
  bool isDeferred = false;  // something was moved to `top` since it was last listed
};

void removeChildren(Removal& removal, int dir, int depth);

// Empties and removes one folder. A mount point is not entered, for below it lie the files of
// somebody else: its rmdir reports EBUSY.
void removeFolder(Removal& removal, int dir, const std::string& name, int depth) {
  if (depth > kMaxDepth) {
    sys::renameat(dir, name, removal.top, ".removing-" + randomHex(16));
    removal.isDeferred = true;
    return;
  }
  if (const auto sub = tryOpenSameMount(dir, name)) {
    removeChildren(removal, sub->get(), depth + 1);
  }
  sys::tryUnlinkat(dir, name, AT_REMOVEDIR);
}

void removeChildren(Removal& removal, int dir, int depth) {
  for (const Entry& entry : list(dir)) {
    if (entry.type != DT_DIR && ::unlinkat(dir, entry.name.c_str(), 0) == 0) continue;
    if (entry.type != DT_DIR && errno != EISDIR && errno != ENOENT) {
      throw Error::fromErrno(errno, fmt::format("remove {}", entry.name));
    }
    removeFolder(removal, dir, entry.name, depth);
  }
}

}  // namespace

std::vector<Entry> list(int dir) {
  std::vector<Entry> entries;
  alignas(LinuxDirent) char buffer[32768];
  sys::check([&] { return ::lseek(dir, 0, SEEK_SET); }, "rewind a folder");
  for (;;) {
    const auto size = sys::check(
        [&] { return ::syscall(SYS_getdents64, dir, buffer, sizeof buffer); }, "read a folder");
    if (size == 0) return entries;
    for (long at = 0; at < size;) {
      const auto* raw = reinterpret_cast<const LinuxDirent*>(buffer + at);
      if (!isDots(raw->name)) entries.push_back({raw->name, raw->type});
      at += raw->length;
    }
  }
}

std::vector<Entry> listSorted(int dir) {
  std::vector<Entry> entries = list(dir);
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return entries;
}

Fd makeDirs(int dir, const std::string& path, mode_t mode) {
  Fd current = sys::openDirectory(dir, path.starts_with('/') ? "/" : ".");
  size_t begin = 0;
  while (begin < path.size()) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string name = path.substr(begin, end - begin);
    begin = end + 1;
    if (name.empty() || name == ".") continue;
    sys::tryMkdirat(current.get(), name, mode);
    current = sys::openDirectory(current.get(), name);
  }
  return current;
}

void removeTree(int dir, const std::string& name) {
  if (::unlinkat(dir, name.c_str(), 0) == 0 || errno == ENOENT) return;
  if (errno != EISDIR && errno != EPERM)
    throw Error::fromErrno(errno, fmt::format("remove {}", name));
  // The parent first: the path to it may well cross mount points.
  const size_t slash = name.rfind('/');
  const bool isPlain = slash == std::string::npos;
  const Fd parent =
      isPlain ? Fd{} : sys::openat(dir, name.substr(0, slash + 1), O_PATH | O_DIRECTORY);
  const int parentFd = isPlain ? dir : parent.get();
  const std::string last = isPlain ? name : name.substr(slash + 1);
  if (const auto top = tryOpenSameMount(parentFd, last)) {
    Removal removal{top->get()};
    do {
      removal.isDeferred = false;
      removeChildren(removal, top->get(), 0);
    } while (removal.isDeferred);
  }
  sys::tryUnlinkat(parentFd, last, AT_REMOVEDIR);
}

std::string readFile(int dir, const std::string& path, size_t limit) {
  return img::readAll(sys::openat(dir, path, O_RDONLY).get(), path, limit);
}

std::optional<std::string> tryReadFile(int dir, const std::string& path, size_t limit) {
  const std::optional<Fd> fd = sys::tryOpenat(dir, path, O_RDONLY);
  if (!fd) return std::nullopt;
  return img::readAll(fd->get(), path, limit);
}

void replaceFile(int dir, const std::string& path, std::string_view content, mode_t mode,
                 Sync sync) {
  const std::string temporary = path + ".tmp-" + randomHex(12);
  Fd fd = sys::openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
  try {
    writeAll(fd.get(), content, path);
    if (sync != Sync::none) sys::fdatasync(fd.get(), path);
    fd.close(path);
    sys::renameat(dir, temporary, dir, path);
  } catch (...) {
    ::unlinkat(dir, temporary.c_str(), 0);
    throw;
  }
  if (sync != Sync::full) return;
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  sys::fsync(sys::openDirectory(dir, folder).get(), folder);
}

std::string randomHex(size_t count) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string raw((count + 1) / 2, '\0');
  size_t done = 0;
  while (done < raw.size()) {
    done += static_cast<size_t>(sys::check(
        [&] { return ::getrandom(raw.data() + done, raw.size() - done, 0); }, "read random bytes"));
  }
  std::string text;
  for (const char c : raw) {
    const auto byte = static_cast<unsigned char>(c);
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  text.resize(count);
  return text;
}

TempDir::TempDir(const std::string& parent) : path_(parent + "/img-" + randomHex(12)) {
  sys::mkdirat(AT_FDCWD, path_, 0700);
  fd_ = sys::openDirectory(AT_FDCWD, path_);
}

TempDir::TempDir(TempDir&& other) noexcept
    : path_(std::exchange(other.path_, {})), fd_(std::move(other.fd_)) {}

TempDir::~TempDir() {
  if (path_.empty()) return;
  try {
    removeTree(AT_FDCWD, path_);
  } catch (const std::exception&) {
    // Litter below the temporary folder is all that is left; a destructor must not throw.
  }
}

}  // namespace img::fs
