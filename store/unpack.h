// A layer tar into an empty folder in overlayfs form (whiteouts as char 0:0, opaque marks as
// trusted.overlay.opaque), and an ADD archive into a folder of a rootfs. Never outside of it:
// security.md 8, T1-T16.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/fd.h"
#include "base/stream.h"
#include "store/layer_tree.h"
#include "store/tar.h"

namespace img::store {

struct UnpackStats {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;  // logical bytes of regular files
};

// `folder` is an empty directory made for this layer. Throws Kind::corrupt on hostile input (the
// folder is then garbage; the caller removes it).
UnpackStats unpackLayer(Source& tar, int folder, const std::string& name);
// The same into whatever `tree` makes of it. `name` opens the messages.
UnpackStats readLayer(TarReader& reader, LayerTree& tree, const std::string& name);

// The same entry by entry, wherever they come from. Both outlive it.
class LayerEntries {
 public:
  LayerEntries(LayerTree& tree, std::string name);
  LayerEntries(const LayerEntries&) = delete;
  LayerEntries& operator=(const LayerEntries&) = delete;
  ~LayerEntries();
  // `putFile` does what the tree does with a file: its bytes are the caller's.
  using PutFile = std::function<void(const std::string& path, const EntryMeta& meta)>;
  void put(const TarEntry& entry, const PutFile& putFile);
  UnpackStats finish();

 private:
  class Limits;
  LayerTree& tree_;
  std::string name_;
  std::unique_ptr<Limits> limits_;
};

struct ArchiveOptions {
  std::optional<std::uint32_t> uid, gid;  // --chown
  std::optional<std::int64_t> clampMtime;
  // A tree of its own, which is no root file system yet: links may lead out of it, because whoever
  // follows them stays inside, and no name deletes anything.
  bool isTree = false;
};
// ADD: merges the archive into `folder` of a rootfs whose root is `root` (symlinked parents are
// followed inside it); dockerfile.md 3.10 "Extraction rules".
UnpackStats unpackArchive(Source& tar, int root, const std::string& folder,
                          const ArchiveOptions& options, const std::string& name);

}  // namespace img::store
