#include "store/xattrs.h"

#include <sys/xattr.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/owners.h"

namespace img::store {
namespace {

constexpr size_t kMaxName = 255;
constexpr size_t kMaxValue = size_t{64} << 10;
constexpr size_t kMaxCount = 128;

std::uint32_t little32(std::string_view bytes, size_t at) {
  std::uint32_t value = 0;
  for (size_t i = 4; i-- > 0;) value = value << 8 | static_cast<std::uint8_t>(bytes[at + i]);
  return value;
}

std::uint32_t little16(std::string_view bytes, size_t at) {
  return little32(bytes, at) & 0xffff;
}

// linux/capability.h, vfs_cap_data: version 2 has 20 bytes, version 3 a root id behind them.
bool isFileCapability(std::string_view value) {
  if (value.size() != 20 && value.size() != 24) return false;
  const std::uint32_t revision = little32(value, 0) & 0xff000000;
  return revision == (value.size() == 20 ? 0x02000000U : 0x03000000U);
}

// linux/posix_acl_xattr.h: version 2, then entries of tag (16 bits), permissions (16) and id (32).
bool isPosixAcl(std::string_view value) {
  if (value.size() < 4 || (value.size() - 4) % 8 != 0 || little32(value, 0) != 2) return false;
  for (size_t at = 4; at < value.size(); at += 8) {
    const std::uint32_t tag = little16(value, at);
    const bool isKnown = tag == 1 || tag == 2 || tag == 4 || tag == 8 || tag == 0x10 || tag == 0x20;
    if (!isKnown || little16(value, at + 2) > 7) return false;
  }
  return true;
}

// Attribute names of a file, with the buffer grown as needed. A file system without them has none.
template <class List>
std::vector<std::string> listNames(List&& list) {
  std::array<char, 1024> small;
  std::vector<char> large;
  char* buffer = small.data();
  ssize_t size = list(buffer, small.size());
  while (size < 0 && errno == ERANGE) {
    large.resize(large.empty() ? size_t{64} << 10 : large.size() * 2);
    buffer = large.data();
    size = list(buffer, large.size());
  }
  if (size < 0 && errno == ENOTSUP) return {};
  if (size < 0) throw Error::fromErrno(errno, "list extended attributes");
  std::vector<std::string> names;
  for (const char* at = buffer; at < buffer + size; at += names.back().size() + 1)
    names.emplace_back(at);
  return names;
}

template <class Get>
std::string getValue(const std::string& name, Get&& get) {
  std::string value(256, '\0');
  ssize_t size = get(name.c_str(), value.data(), value.size());
  if (size < 0 && errno == ERANGE) {
    value.resize(kMaxValue);  // XATTR_SIZE_MAX
    size = get(name.c_str(), value.data(), value.size());
  }
  if (size < 0) throw Error::fromErrno(errno, "read extended attribute " + name);
  value.resize(static_cast<size_t>(size));
  return value;
}

template <class List, class Get>
Xattrs collect(List&& list, Get&& get) {
  Xattrs xattrs;
  for (std::string& name : listNames(list)) {
    // Asked by name first: values that stay behind anyway are not read.
    if (!name.starts_with("user.") && !name.starts_with("security.capability") &&
        !name.starts_with("system.posix_acl_")) {
      continue;
    }
    if (name.find('=') != std::string::npos) {
      log::warn("extended attribute {} is left out: a tar cannot hold a name with '='",
                text::quote(name));
      continue;
    }
    std::string value = getValue(name, get);
    if (judgeXattr(name, value) == XattrVerdict::keep)
      xattrs.emplace(std::move(name), std::move(value));
  }
  return xattrs;
}

template <class Set>
bool writeAllXattrs(const Xattrs& xattrs, Set&& set) {
  bool complete = true;
  for (const auto& [name, value] : xattrs) {
    if (set(name.c_str(), value.data(), value.size()) == 0) continue;
    const bool isUnsupported = errno == ENOTSUP || errno == EPERM;
    const bool isBadAcl = errno == EINVAL && name.starts_with("system.posix_acl_");
    if (!isUnsupported && !isBadAcl)
      throw Error::fromErrno(errno, "set extended attribute " + text::quote(name));
    complete = false;
  }
  return complete;
}

// "/proc/self/fd/N/NAME" never follows a link in NAME with the l*xattr calls, and N is a folder we
// hold.
std::string procPath(int dir, const std::string& name) {
  return fmt::format("/proc/self/fd/{}/{}", dir, name);
}

}  // namespace

XattrVerdict judgeXattr(std::string_view name, std::string_view value) {
  if (name.starts_with("user.overlay.") || isOwnerXattr(name)) return XattrVerdict::dropAndWarn;
  if (name.starts_with("user.") && name.size() > 5) return XattrVerdict::keep;
  if (name == "security.capability") {
    return isFileCapability(value) ? XattrVerdict::keep : XattrVerdict::dropAndWarn;
  }
  if (name == "system.posix_acl_access" || name == "system.posix_acl_default") {
    return isPosixAcl(value) ? XattrVerdict::keep : XattrVerdict::dropAndWarn;
  }
  return name.starts_with("trusted.") ? XattrVerdict::dropAndWarn : XattrVerdict::drop;
}

Xattrs keptXattrs(const Xattrs& all, std::string_view where) {
  if (all.empty()) return {};
  if (all.size() > kMaxCount)
    throw Error::make(Kind::corrupt, "{}: over 128 extended attributes", where);
  Xattrs kept;
  for (const auto& [name, value] : all) {
    if (name.empty() || name.size() > kMaxName || value.size() > kMaxValue) {
      throw Error::make(Kind::corrupt, "{}: extended attribute {} is too long", where,
                        text::quote(name));
    }
    const XattrVerdict verdict = judgeXattr(name, value);
    if (verdict == XattrVerdict::keep) kept.emplace(name, value);
    if (verdict == XattrVerdict::dropAndWarn) {
      log::warn("{}: extended attribute {} is left out", where, text::quote(name));
    }
  }
  return kept;
}

Xattrs readXattrs(int fd) {
  return collect([fd](char* buffer, size_t size) { return ::flistxattr(fd, buffer, size); },
                 [fd](const char* name, char* buffer, size_t size) {
                   return ::fgetxattr(fd, name, buffer, size);
                 });
}

bool hasXattrs(int fd) {
  return ::flistxattr(fd, nullptr, 0) != 0;
}

Xattrs readXattrsAt(int dir, const std::string& name) {
  const std::string path = procPath(dir, name);
  return collect(
      [&](char* buffer, size_t size) { return ::llistxattr(path.c_str(), buffer, size); },
      [&](const char* key, char* buffer, size_t size) {
        return ::lgetxattr(path.c_str(), key, buffer, size);
      });
}

bool writeXattrs(int fd, const Xattrs& xattrs) {
  return writeAllXattrs(xattrs, [fd](const char* name, const char* value, size_t size) {
    return ::fsetxattr(fd, name, value, size, 0);
  });
}

bool writeXattrsAt(int dir, const std::string& name, const Xattrs& xattrs) {
  if (xattrs.empty()) return true;
  const std::string path = procPath(dir, name);
  return writeAllXattrs(xattrs, [&](const char* key, const char* value, size_t size) {
    return ::lsetxattr(path.c_str(), key, value, size, 0);
  });
}

}  // namespace img::store
