// POSIX access control lists as extended attributes have them (linux/posix_acl_xattr.h): what the
// kernel makes of one that is set on a file, so that an index which no kernel has written says the
// same as a folder. All values are those of system.posix_acl_access and system.posix_acl_default.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace img::store {

// posix_acl_valid(), fs/posix_acl.c: the order of the entries, a mask where it is needed. A list
// without entries means "none" and is valid.
bool isValidAcl(std::string_view value);
bool isEmptyAcl(std::string_view value);

// Setting an access list sets the permission bits with it; one that says no more than they do is
// not kept (posix_acl_equiv_mode).
struct AclMode {
  std::uint32_t mode = 0;  // the old one with the list's bits
  bool isKept = false;
};
AclMode applyAcl(std::string_view value, std::uint32_t mode);

// chmod(2) of what has an access list (posix_acl_chmod).
std::string changeAclMode(std::string_view value, std::uint32_t mode);

}  // namespace img::store
