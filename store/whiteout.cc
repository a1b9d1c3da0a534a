#include "store/whiteout.h"

#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <array>
#include <cerrno>
#include <initializer_list>

#include "base/error.h"
#include "base/sys.h"

namespace img::store {
namespace {

// The attribute's one-letter value, '\0' when there is none.
char overlayXattr(int fd, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    std::array<char, 16> value;
    const ssize_t size = ::fgetxattr(fd, name, value.data(), value.size());
    if (size >= 0) return size == 1 ? value[0] : 'y';  // overlay.whiteout is empty
    if (errno == ENODATA || errno == ENOTSUP || errno == EPERM) continue;
    if (errno == ERANGE) return 'y';
    throw Error::fromErrno(errno, std::string{"read extended attribute "} + name);
  }
  return '\0';
}

}  // namespace

WhiteoutKind whiteoutKind(std::string_view component) {
  if (!component.starts_with(kWhiteoutPrefix)) return WhiteoutKind::none;
  if (component == kOpaqueName) return WhiteoutKind::opaque;
  if (component.starts_with(kWhiteoutMetaPrefix)) return WhiteoutKind::metadata;
  const std::string_view name = component.substr(kWhiteoutPrefix.size());
  const bool isInvalid = name.empty() || name == "." || name == "..";
  return isInvalid ? WhiteoutKind::invalid : WhiteoutKind::name;
}

bool isWhiteoutDevice(const struct stat& st) {
  return S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0);
}

bool hasWhiteoutXattr(int fd) {
  return overlayXattr(fd, {"trusted.overlay.whiteout", "user.overlay.whiteout"}) != '\0';
}

OpaqueMark opaqueMark(int folder) {
  const char value = overlayXattr(folder, {"trusted.overlay.opaque", "user.overlay.opaque"});
  if (value == 'y') return OpaqueMark::opaque;
  return value == 'x' ? OpaqueMark::hasXattrWhiteouts : OpaqueMark::none;
}

void makeWhiteout(int dir, const std::string& name) {
  // Needs no privilege since kernel 5.8: a whiteout is not a device.
  sys::mknodat(dir, name, S_IFCHR, makedev(0, 0));
}

void markOpaque(int fd) {
  if (::fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0) == 0) return;
  if (errno != EPERM) throw Error::fromErrno(errno, "mark a folder as opaque");
  sys::fsetxattr(fd, "user.overlay.opaque", "y");
}

}  // namespace img::store
