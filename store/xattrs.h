// Which extended attributes travel in a layer, in either direction (security.md T8): user.* but
// overlayfs' own, file capabilities and POSIX ACLs whose form is right. Everything else stays
// behind.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace img::store {

using Xattrs = std::map<std::string, std::string>;

enum class XattrVerdict { keep, drop, dropAndWarn };
XattrVerdict judgeXattr(std::string_view name, std::string_view value);

// Those of an entry of an archive that are kept. `where` opens the messages.
// Throws Kind::corrupt beyond 128 attributes, 255 bytes of name or 64 KiB of value.
Xattrs keptXattrs(const Xattrs& all, std::string_view where);

// Those of an open file or folder that travel. The common case, none, costs one system call.
Xattrs readXattrs(int fd);
// Whether there is any at all, of those that do not travel too. What cannot be asked has some.
bool hasXattrs(int fd);
// Of something that must not be opened (device, FIFO): by an O_PATH descriptor's name in /proc.
Xattrs readXattrsAt(int dir, const std::string& name);

// Sets them. False when the file system or kernel refused some (no support there; an ACL it finds
// invalid).
bool writeXattrs(int fd, const Xattrs& xattrs);
bool writeXattrsAt(int dir, const std::string& name, const Xattrs& xattrs);

}  // namespace img::store
