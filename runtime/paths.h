// Paths inside a container's root file system, always by descriptor (security.md R1-R3): looked up
// as if chrooted there, created component by component, never written through a symbolic link that
// leads out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"

namespace img::runtime {

// The parts of `path` after lexical cleaning: no empty ones, no ".", ".." undone (and dropped at
// the top).
std::vector<std::string> pathParts(std::string_view path);
// "/a/b" of "a//./b/", always absolute.
std::string cleanPath(std::string_view path);

// mkdir -p as the container sees it; existing links are followed inside the root, a dangling one is
// an error. Returns an O_PATH descriptor of the last folder.
Fd makeDirsInRoot(int root, std::string_view path, mode_t mode = 0755);

// A real folder directly below `root` for a pseudo file system: created when missing, a symbolic
// link is refused
// ("/proc in the image is a symbolic link", security.md N4, N7).
Fd openRealFolder(int root, const std::string& name);

// Where a mount goes: an O_PATH descriptor of the folder or file, created (with its parents) when
// missing. Refuses "/" and anything that is on a proc or sysfs instance, whatever the spelling
// (security.md N8).
Fd openMountTarget(int root, std::string_view path, bool isFolder);

// True for objects of a proc or sysfs instance.
bool isOnProcOrSys(int fd);

}  // namespace img::runtime
