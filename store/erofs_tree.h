// The tree of a layer's tar, kept in memory while the tar is read, without its data: what
// TreeWriter does to a folder, in the same order and with the same outcome, refusals included. The
// image writer (erofs_image.h) then makes the index of it.
// Data stays in the archive. Only blocks of sparse files that do not lie there as a file system
// needs them (whole, at a multiple of the block size) are copied, into `image`.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "store/erofs_nodes.h"
#include "store/layer_tree.h"

namespace img::store {

// As small as a tar's, so that every file's data begins with a block. erofs-utils 1.5 can check
// images only with blocks of 4096 bytes: for that alone another one may be asked for.
struct ErofsFormat {
  unsigned blockBits = 9;
  [[nodiscard]] std::uint64_t block() const { return std::uint64_t{1} << blockBits; }
};

class ErofsTree final : public LayerTree {
 public:
  // `image`: the file that becomes the index; from block `firstBlock` on it takes copied data.
  // `name` opens messages.
  ErofsTree(std::string name, int image, std::uint64_t firstBlock, ErofsFormat format = {});

  void putFolder(const std::string& path, const EntryMeta& meta) override;
  void putFile(const std::string& path, const EntryMeta& meta, const TarEntry& entry,
               TarReader& data) override;
  // One that is not sparse, of which only the place in the archive is known.
  void putFileAt(const std::string& path, const EntryMeta& meta, std::uint64_t size,
                 std::uint64_t dataOffset);
  void putSymlink(const std::string& path, const EntryMeta& meta,
                  const std::string& target) override;
  void putNode(const std::string& path, const EntryMeta& meta, mode_t type, dev_t device) override;
  void putLink(const std::string& path, const std::string& target) override;
  void putWhiteout(const std::string& parent, const std::string& name) override;
  void putOpaque(const std::string& folder) override;
  void finish() override;

  ErofsNodes& nodes() { return nodes_; }
  // The first block of the image that nothing was copied to.
  [[nodiscard]] std::uint64_t nextBlock() const { return nextBlock_; }

 private:
  [[noreturn]] void refuse(const std::string& path, std::string_view what) const;

  // A walk over a path with links followed inside the tree, by the kernel's rules.
  [[nodiscard]] std::optional<NodeId> findFolder(const std::string& path) const;
  using Missing = std::function<NodeId(NodeId folder, const std::string& name)>;
  [[nodiscard]] std::optional<NodeId> walk(const std::string& path, const Missing& missing) const;
  NodeId makeFolder(NodeId folder, const std::string& name);
  NodeId enter(const std::string& parent);

  // Removes what has the name. True when it was a whiteout, which has to stay in force.
  bool clear(NodeId folder, const std::string& name);
  // A new inode under a name of its own.
  NodeId put(const std::string& path, const EntryMeta& meta, std::uint32_t type);
  void setMeta(NodeId id, const EntryMeta& meta, std::uint32_t mode);
  void setXattrs(NodeId id, const Xattrs& wanted);
  void setAcl(NodeId id, Xattrs& kept, const std::string& name, const std::string& value);
  void noteXattrs();
  void markOpaque(NodeId id);

  void copySparse(ErofsNode& file, const TarEntry& entry, TarReader& data);

  std::string name_;
  int image_;
  std::uint64_t nextBlock_;
  ErofsFormat format_;
  ErofsNodes nodes_;

  std::string current_;  // the folder that entries are put into right now
  NodeId currentNode_ = kNone;
  std::vector<std::pair<std::string, std::string>> defaultAcls_;
  size_t defaultAclBytes_ = 0;
  bool warnedXattrs_ = false;
};

}  // namespace img::store
