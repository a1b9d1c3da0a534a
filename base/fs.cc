#include "base/fs.h"

#include <dirent.h>
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

void removeChildren(int dir, dev_t device);

// Empties and removes one folder. A folder of another file system is a mount point: left alone, and
// the rmdir of its parent then reports it.
void removeFolder(int dir, const std::string& name, dev_t device) {
  std::optional<Fd> sub = sys::tryOpenat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (sub && sys::fstat(sub->get()).st_dev == device) removeChildren(sub->get(), device);
  sys::tryUnlinkat(dir, name, AT_REMOVEDIR);
}

void removeChildren(int dir, dev_t device) {
  for (const Entry& entry : list(dir)) {
    if (entry.type != DT_DIR && ::unlinkat(dir, entry.name.c_str(), 0) == 0) continue;
    if (entry.type != DT_DIR && errno != EISDIR && errno != ENOENT) {
      throw Error::fromErrno(errno, fmt::format("remove {}", entry.name));
    }
    removeFolder(dir, entry.name, device);
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
  const auto st = sys::tryFstatat(dir, name);
  if (st) removeFolder(dir, name, st->st_dev);
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
