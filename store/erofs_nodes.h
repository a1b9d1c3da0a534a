// The tree of one layer in memory, as compact as it goes: about 120 bytes and its name for each
// entry, so that 200,000 entries take 30 MB. Names of one folder are found by a hash over (folder,
// name); siblings are a list, sorted only when the index is written.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/xattrs.h"

namespace img::store {

using NodeId = std::uint32_t;  // of an inode
using NameId = std::uint32_t;  // of a directory entry
inline constexpr std::uint32_t kNone = 0xffffffff;

struct ErofsNode {
  std::uint32_t mode = 0;  // type and permissions
  std::uint32_t uid = 0, gid = 0;
  std::uint32_t links = 0;  // names that lead here; the root has one without a name
  std::uint64_t size = 0;
  std::int64_t mtimeSeconds = 0;
  std::uint32_t mtimeNanoseconds = 0;
  std::uint32_t xattrs = 0;  // of ErofsNodes::xattrs(), 0: none
  // File: byte offset in the archive, or number of its chunk table. Link: of ErofsNodes::text().
  // Node: device as EROFS writes it.
  std::uint64_t data = 0;
  NameId firstName = kNone;  // folders
  NodeId parent = 0;         // folders
  // Where the image writer has put it: the inode's slot of 32 bytes, and its own blocks.
  std::uint32_t slot = kNone, block = 0;
  bool hasChunks = false;
  bool isInline = false;  // the last, partial block lies behind the inode
};

// What a sparse file consists of, chunk by chunk.
struct ErofsChunks {
  enum class Place : std::uint8_t { hole, archive, image };
  struct Chunk {
    Place place = Place::hole;
    std::uint64_t block = 0;  // of the archive, or of the image
  };
  unsigned bits = 0;  // a chunk has 2^bits blocks
  std::vector<Chunk> chunks;
};

class ErofsNodes {
 public:
  explicit ErofsNodes(std::string archive);

  static constexpr NodeId kRoot = 0;
  ErofsNode& node(NodeId id) { return nodes_[id]; }
  [[nodiscard]] const ErofsNode& node(NodeId id) const { return nodes_[id]; }
  [[nodiscard]] size_t count() const { return nodes_.size(); }

  // Throws an ordinary error beyond IMG_LIMIT_LAYER_ENTRIES: parents without an entry count here.
  NodeId add(std::uint32_t mode);
  [[nodiscard]] std::optional<NodeId> find(NodeId folder, std::string_view name) const;
  void link(NodeId folder, std::string_view name, NodeId target);
  // The name and, when it is a folder's, everything below it.
  void unlink(NodeId folder, std::string_view name);

  struct Name {
    std::string_view text;
    NodeId node;
  };
  // Sorted bytewise; valid until something is linked.
  [[nodiscard]] std::vector<Name> sortedNames(NodeId folder) const;
  [[nodiscard]] std::vector<Name> namesOf(NodeId folder) const;  // in no order

  std::uint64_t addText(std::string_view text);
  [[nodiscard]] std::string_view text(std::uint64_t offset, std::uint64_t size) const;

  // Equal sets are kept once.
  [[nodiscard]] const Xattrs& xattrs(std::uint32_t id) const { return *xattrs_[id]; }
  void setXattrs(NodeId id, Xattrs xattrs);

  std::deque<ErofsChunks> chunkTables;

 private:
  struct Entry {
    NodeId folder, node;
    NameId next, previous;
    std::uint32_t hash, textOffset;
    std::uint16_t textSize;
  };

  [[nodiscard]] std::uint32_t hashOf(NodeId folder, std::string_view name) const;
  [[nodiscard]] size_t slotOf(NodeId folder, std::string_view name, std::uint32_t hash) const;
  [[nodiscard]] std::string_view textOf(const Entry& entry) const;
  void grow();
  void emptySlot(size_t slot);
  void dropEntry(size_t slot);
  void dropBelow(NodeId folder);

  std::string archive_;
  std::uint64_t maxNodes_;
  std::uint64_t hashKey_;
  std::deque<ErofsNode> nodes_;
  std::deque<Entry> entries_;
  NameId freeEntry_ = kNone;  // a list through Entry::next
  std::vector<NameId> slots_;
  size_t usedSlots_ = 0;
  std::string text_;
  std::map<Xattrs, std::uint32_t> xattrIds_;
  std::vector<const Xattrs*> xattrs_;
  size_t xattrBytes_ = 0;
};

}  // namespace img::store
