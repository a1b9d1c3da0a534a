// Where the entries of a layer go while its tar is read: a folder (TreeWriter) or the index of a
// file system over the tar itself (ErofsTree). Both show the same tree for the same entries, and
// refuse the same ones; what can be judged by an entry alone is judged before (unpack.cc).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <ctime>
#include <string>

#include "store/tar.h"
#include "store/xattrs.h"

namespace img::store {

struct EntryMeta {
  std::uint32_t mode = 0, uid = 0, gid = 0;
  timespec mtime{};
  Xattrs xattrs;
};

class LayerTree {
 public:
  LayerTree() = default;
  LayerTree(const LayerTree&) = delete;
  LayerTree& operator=(const LayerTree&) = delete;
  virtual ~LayerTree() = default;

  // Paths are clean (cleanTarPath), not empty unless it says so. Missing parents are made, also
  // behind links; a name that is there already is replaced (security.md T2, T10).
  virtual void putFolder(const std::string& path, const EntryMeta& meta) = 0;  // "": the root
  virtual void putFile(const std::string& path, const EntryMeta& meta, const TarEntry& entry,
                       TarReader& data) = 0;
  virtual void putSymlink(const std::string& path, const EntryMeta& meta,
                          const std::string& target) = 0;
  virtual void putNode(const std::string& path, const EntryMeta& meta, mode_t type,
                       dev_t device) = 0;
  virtual void putLink(const std::string& path, const std::string& target) = 0;
  // Overlay form. Both speak about the layers below only, whatever the archive has put or will put
  // there.
  virtual void putWhiteout(const std::string& parent, const std::string& name) = 0;
  virtual void putOpaque(const std::string& folder) = 0;
  // What has to wait until everything is in place.
  virtual void finish() = 0;
};

}  // namespace img::store
