#include "store/owners.h"

#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>

#include "base/error.h"
#include "base/own_namespace.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::store {
namespace {

constexpr char kOwner[] = "user.img.owner";
constexpr char kOwners[] = "user.img.owners";
constexpr size_t kMaxValue = size_t{64} << 10;  // XATTR_SIZE_MAX

struct Owner {
  uid_t uid;
  gid_t gid;
};

std::string formOf(uid_t uid, gid_t gid) {
  return fmt::format("{}:{}", uid, gid);
}

std::optional<Owner> parseOwner(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto uid = text::parseUnsigned(text.substr(0, colon));
  const auto gid = text::parseUnsigned(text.substr(colon + 1));
  if (!uid || !gid) return std::nullopt;
  return Owner{static_cast<uid_t>(*uid), static_cast<gid_t>(*gid)};
}

// fgetxattr(2) takes no O_PATH descriptor; its name in /proc stands for the same file.
ssize_t getAttribute(int fd, const char* name, char* buffer, size_t size) {
  const ssize_t got = ::fgetxattr(fd, name, buffer, size);
  if (got >= 0 || errno != EBADF) return got;
  return ::getxattr(sys::procPath(fd).c_str(), name, buffer, size);
}

// The usual answer is "none", so a small buffer comes first.
std::string readAttribute(int fd, const char* name) {
  std::array<char, 64> small;
  ssize_t size = getAttribute(fd, name, small.data(), small.size());
  if (size >= 0) return {small.data(), static_cast<size_t>(size)};
  if (errno != ERANGE) return {};  // none, or a file system without attributes
  std::string large(kMaxValue, '\0');
  size = getAttribute(fd, name, large.data(), large.size());
  large.resize(size < 0 ? 0 : static_cast<size_t>(size));
  return large;
}

void writeAttribute(int fd, const char* name, const std::string& value, uid_t uid, gid_t gid) {
  if (::fsetxattr(fd, name, value.data(), value.size(), 0) == 0) return;
  throw Error::fromErrno(errno, fmt::format("record the owner {}:{} of a file", uid, gid))
      .code("idmap")
      .why("this user namespace has no such id")
      .hint("give the user more ids in /etc/subuid and /etc/subgid");
}

// Links and nodes: the folder's list, without the line of `inode`.
std::string otherLines(const std::string& list, ino_t inode) {
  const std::string prefix = std::to_string(inode) + ":";
  std::string kept;
  for (const std::string& line : text::split(list, '\n')) {
    if (!line.empty() && !line.starts_with(prefix)) kept += line + "\n";
  }
  return kept;
}

std::optional<Owner> findLine(const std::string& list, ino_t inode) {
  const std::string prefix = std::to_string(inode) + ":";
  for (const std::string& line : text::split(list, '\n')) {
    if (line.starts_with(prefix)) return parseOwner(std::string_view{line}.substr(prefix.size()));
  }
  return std::nullopt;
}

bool canHoldAttributes(const struct stat& st) {
  return S_ISREG(st.st_mode) || S_ISDIR(st.st_mode);
}

Fd openPlain(int dir, const std::string& name) {
  return sys::openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
}

bool tryChown(int dir, const char* name, uid_t uid, gid_t gid, int flags) {
  if (::fchownat(dir, name, uid, gid, flags) == 0) return true;
  if (errno == EINVAL && recordsOwners()) return false;
  throw Error::fromErrno(errno, fmt::format("change the owner of a file to {}:{}", uid, gid));
}

}  // namespace

bool recordsOwners() {
  return !isInMachineNamespace();
}

void giveFile(int fd, uid_t uid, gid_t gid) {
  if (!tryChown(fd, "", uid, gid, AT_EMPTY_PATH)) {
    return writeAttribute(fd, kOwner, formOf(uid, gid), uid, gid);
  }
  // An error means that there is none.
  if (recordsOwners() && ::fremovexattr(fd, kOwner) != 0) return;
}

void giveEntry(int dir, const std::string& name, uid_t uid, gid_t gid) {
  const bool isSet = tryChown(dir, name.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW);
  if (isSet && !recordsOwners()) return;
  const struct stat st = sys::fstatat(dir, name);
  if (canHoldAttributes(st)) {
    const Fd file = openPlain(dir, name);
    if (!isSet) writeAttribute(file.get(), kOwner, formOf(uid, gid), uid, gid);
    if (isSet && ::fremovexattr(file.get(), kOwner) != 0) return;
    return;
  }
  const Fd folder = sys::openDirectory(dir, ".");
  const std::string list = readAttribute(folder.get(), kOwners);
  std::string wanted = otherLines(list, st.st_ino);
  if (!isSet) wanted += fmt::format("{}:{}\n", st.st_ino, formOf(uid, gid));
  if (wanted != list) writeAttribute(folder.get(), kOwners, wanted, uid, gid);
}

void applyOwner(int fd, struct stat& st) {
  const std::string value = readAttribute(fd, kOwner);
  if (value.empty()) return;
  if (const auto owner = parseOwner(value)) {
    st.st_uid = owner->uid;
    st.st_gid = owner->gid;
  }
}

void applyOwnerAt(int dir, const std::string& name, struct stat& st) {
  if (canHoldAttributes(st)) {
    return applyOwner(sys::openat(dir, name, O_PATH | O_NOFOLLOW).get(), st);
  }
  const std::string list = readAttribute(sys::openDirectory(dir, ".").get(), kOwners);
  if (list.empty()) return;
  if (const auto owner = findLine(list, st.st_ino)) {
    st.st_uid = owner->uid;
    st.st_gid = owner->gid;
  }
}

bool isOwnerXattr(std::string_view name) {
  return name == kOwner || name == kOwners;
}

}  // namespace img::store
