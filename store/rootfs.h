// The root file system of a container: image layers, the init layer where stubs are missing, and an
// upper. The init layer is a lower folder with only those mount points that the image lacks (/proc,
// /sys, /dev, /etc/hosts, /etc/hostname, /etc/resolv.conf), so neither a build step nor a commit
// ever records them; folders that the image has get the image's own metadata there.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "store/id_mapping.h"

namespace img::store {

// A place that something is mounted on, besides those that every container has.
struct MountPoint {
  std::string path;
  bool isFolder = true;
};

struct RootfsSpec {
  std::vector<int> layers;  // topmost first
  int upper = -1, work = -1;
  bool isVolatile = false;
  bool userXattr = false;  // rootless, see overlay.h
  // An empty (or formerly filled) folder that becomes the init layer if one is needed.
  int init = -1;
  // Made in the init layer where the image lacks them; links of the image are followed inside it.
  std::vector<MountPoint> mountPoints = {};
  IdMapping mapping = {};  // of the union; stubs are made with the ids of the disk
};

// Where a path leads when its links are followed inside the tree, as a path without links (and no
// leading slash); also when the end of it is not there.
std::string pathInTree(int root, std::string_view path);

// A detached mount (see overlay.h) in which every stub exists.
Fd mountRootfs(const RootfsSpec& spec);

}  // namespace img::store
