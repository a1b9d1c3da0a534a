// Deletions, in both of their forms. In a layer tar: ".wh.NAME" hides NAME of the layers below,
// ".wh..wh..opq" hides everything its folder has there (OCI image-spec layer.md, "Whiteouts"). In
// an overlay directory: a character device 0:0 or a file with the xattr overlay.whiteout, and the
// xattr overlay.opaque=y on a folder (overlayfs.rst, "whiteouts and opaque directories").
#pragma once

#include <sys/stat.h>

#include <string>
#include <string_view>

namespace img::store {

inline constexpr std::string_view kWhiteoutPrefix = ".wh.";
inline constexpr std::string_view kWhiteoutMetaPrefix = ".wh..wh.";
inline constexpr std::string_view kOpaqueName = ".wh..wh..opq";

enum class WhiteoutKind {
  none,      // an ordinary name
  name,      // hides the rest of the name
  opaque,    // hides the folder's content below
  metadata,  // of aufs, to be ignored with its children
  invalid,   // ".wh.", ".wh.." or ".wh...": would delete the folder itself or its parent
};
WhiteoutKind whiteoutKind(std::string_view component);

// The overlay forms. Both the trusted.* and (mounts with userxattr) the user.* names are
// understood.
bool isWhiteoutDevice(const struct stat& st);
bool hasWhiteoutXattr(int fd);
// What a folder's overlay.opaque says: y hides the content below; x announces files with
// overlay.whiteout in it (kernel 6.7 and newer).
enum class OpaqueMark { none, opaque, hasXattrWhiteouts };
OpaqueMark opaqueMark(int folder);

void makeWhiteout(int dir, const std::string& name);
// trusted.overlay.opaque=y; user.overlay.opaque where trusted attributes are not allowed (user
// namespaces).
void markOpaque(int fd);

}  // namespace img::store
