#include "store/erofs_image.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <span>

#include "base/error.h"
#include "base/sys.h"
#include "store/erofs_bytes.h"

namespace img::store {
namespace {

// fs/erofs/erofs_fs.h
constexpr std::uint32_t kMagic = 0xE0F5E1E2;
constexpr std::uint64_t kSuperOffset = 1024;
constexpr std::uint64_t kSlotOffset = kSuperOffset + 128, kSlotSize = 128;
constexpr std::uint32_t kCompatMtime = 2;
constexpr std::uint32_t kIncompatChunks = 4, kIncompatDevices = 8;
constexpr std::uint64_t kInodeSize = 64, kInodeSlot = 32;
constexpr unsigned kFlatPlain = 0, kFlatInline = 2, kChunkBased = 4;
constexpr std::uint32_t kChunkIndexes = 0x20;
constexpr std::uint32_t kNullAddress = 0xffffffff;
constexpr std::uint64_t kMaxRootSlot = 0xffff;

constexpr std::uint64_t kRootSlot = 4;  // any but 0

std::uint64_t roundUp(std::uint64_t value, std::uint64_t to) {
  return (value + to - 1) / to * to;
}

std::uint8_t fileTypeOf(std::uint32_t mode) {
  switch (mode & S_IFMT) {  // include/linux/fs_types.h
    case S_IFREG: return 1;
    case S_IFDIR: return 2;
    case S_IFCHR: return 3;
    case S_IFBLK: return 4;
    case S_IFIFO: return 5;
    case S_IFSOCK: return 6;
    default: return 7;
  }
}

// Bytes at ascending places of a new file. What lies in a gap is zero, as it would be unwritten.
class Output {
 public:
  explicit Output(int file) : file_(file) { buffer_.reserve(kSize); }

  void put(std::uint64_t offset, std::string_view bytes) {
    const std::uint64_t end = start_ + buffer_.size();
    const bool fits = offset >= end && offset + bytes.size() - start_ <= kSize;
    if (!fits) flush(offset);
    // Alignment leaves gaps everywhere: a call for each piece would cost more than all bytes.
    if (fits) buffer_.append(offset - end, '\0');
    buffer_.append(bytes);
  }
  void flush(std::uint64_t next) {
    for (std::string_view left = buffer_; !left.empty();) {
      const auto count = sys::check(
          [&] { return ::pwrite(file_, left.data(), left.size(), static_cast<off_t>(start_)); },
          "write the index of a layer");
      start_ += static_cast<std::uint64_t>(count);
      left.remove_prefix(static_cast<size_t>(count));
    }
    buffer_.clear();
    start_ = next;
  }

 private:
  static constexpr size_t kSize = size_t{1} << 20;
  int file_;
  std::uint64_t start_ = 0;
  std::string buffer_;
};

class ImageWriter {
 public:
  ImageWriter(ErofsTree& tree, int image, std::uint64_t archiveBytes, ErofsFormat format)
      : nodes_(tree.nodes()),
        out_(image),
        block_(format.block()),
        blockBits_(format.blockBits),
        metaBlock_(tree.nextBlock()),
        cursor_(kRootSlot * kInodeSlot),
        archiveBlocks_(std::max<std::uint64_t>(1, roundUp(archiveBytes, block_) / block_)) {}

  std::uint64_t write() {
    place();
    imageBlocks_ = metaBlock_ + roundUp(cursor_, block_) / block_;
    if (imageBlocks_ + archiveBlocks_ >= kNullAddress)
      throw Error{Kind::unsupported, "the layer is too large for an EROFS index"}.hint(
          "IMG_LAYER_VIEW=directory unpacks it");
    writeSuperblock();
    out_.flush(metaBlock_ * block_);  // what was copied lies between
    for (const NodeId id : order_) writeNode(id);
    out_.flush(0);
    return imageBlocks_ * block_;
  }

 private:
  // --- Where everything goes; offsets count from the first metadata block ---

  void place() {
    placeNode(ErofsNodes::kRoot);
    for (size_t i = 0; i < order_.size(); ++i) {
      if (!S_ISDIR(nodes_.node(order_[i]).mode)) continue;
      for (const ErofsNodes::Name& name : nodes_.sortedNames(order_[i])) {
        if (nodes_.node(name.node).slot == kNone) placeNode(name.node);
      }
    }
  }

  void placeNode(NodeId id) {
    ErofsNode& node = nodes_.node(id);
    order_.push_back(id);
    const std::uint64_t head = kInodeSize + xattrBytes(node);
    if (S_ISDIR(node.mode)) node.size = forEachBlock(id, [](const auto&) {});
    const bool hasOwnData = S_ISDIR(node.mode) || S_ISLNK(node.mode);
    if (id == ErofsNodes::kRoot) {
      takeSlot(node, head);
      takeBlocks(node, roundUp(node.size, block_));
      return;
    }
    const std::uint64_t tail = hasOwnData ? node.size % block_ : 0;
    node.isInline = tail > 0 && head % block_ + tail <= block_;
    if (hasOwnData) takeBlocks(node, node.isInline ? node.size - tail : roundUp(node.size, block_));
    if (node.isInline) return takeInlineSlot(node, head, tail);
    takeSlot(node, head + (node.hasChunks ? chunkBytes(node, head) : 0));
  }

  void takeBlocks(ErofsNode& node, std::uint64_t bytes) {
    if (bytes == 0) return;
    cursor_ = roundUp(cursor_, block_);
    node.block = static_cast<std::uint32_t>(metaBlock_ + cursor_ / block_);
    cursor_ += bytes;
  }

  void takeSlot(ErofsNode& node, std::uint64_t bytes) {
    cursor_ = roundUp(cursor_, kInodeSlot);
    const std::uint64_t slot = cursor_ / kInodeSlot;
    if (slot >= kNone) throw Error{Kind::unsupported, "the layer has too many files for EROFS"};
    node.slot = static_cast<std::uint32_t>(slot);
    cursor_ += bytes;
  }

  // A tail has to lie in one block (erofs_map_blocks(), fs/erofs/data.c).
  void takeInlineSlot(ErofsNode& node, std::uint64_t head, std::uint64_t tail) {
    const std::uint64_t at = roundUp(cursor_, kInodeSlot) + head;
    if (at % block_ + tail > block_) cursor_ = roundUp(cursor_, block_);
    takeSlot(node, head + tail);
  }

  [[nodiscard]] std::uint64_t xattrBytes(const ErofsNode& node) const {
    return node.xattrs == 0 ? 0 : erofsXattrSize(nodes_.xattrs(node.xattrs));
  }

  // With the padding in front of them: indexes are aligned to their size.
  [[nodiscard]] std::uint64_t chunkBytes(const ErofsNode& node, std::uint64_t head) const {
    return roundUp(head, 8) - head + 8 * nodes_.chunkTables[node.data].chunks.size();
  }

  // --- Folders ---

  // The blocks of a folder, as lists of names; returns its size. "." and ".." are sorted in.
  using Names = std::vector<ErofsNodes::Name>;
  std::uint64_t forEachBlock(
      NodeId id, const std::function<void(std::span<const ErofsNodes::Name>)>& use) const {
    Names names = nodes_.sortedNames(id);
    for (const ErofsNodes::Name& dots :
         {ErofsNodes::Name{".", id}, ErofsNodes::Name{"..", nodes_.node(id).parent}}) {
      const auto at =
          std::lower_bound(names.begin(), names.end(), dots,
                           [](const auto& a, const auto& b) { return a.text < b.text; });
      names.insert(at, dots);
    }
    size_t begin = 0, used = 0;
    std::uint64_t full = 0;
    for (size_t i = 0; i < names.size(); ++i) {
      const size_t need = kErofsDirent + names[i].text.size();
      if (used + need > block_) {
        use(std::span{names}.subspan(begin, i - begin));
        full += block_;
        begin = i;
        used = 0;
      }
      used += need;
    }
    use(std::span{names}.subspan(begin));
    return full + used;
  }

  [[nodiscard]] std::string folderBlock(std::span<const ErofsNodes::Name> names) const {
    ErofsBytes block;
    size_t textOffset = names.size() * kErofsDirent;
    for (const ErofsNodes::Name& name : names) {
      const ErofsNode& node = nodes_.node(name.node);
      block.u64(node.slot).u16(textOffset).u8(fileTypeOf(node.mode)).u8(0);
      textOffset += name.text.size();
    }
    for (const ErofsNodes::Name& name : names) block.text(name.text);
    return block.take();
  }

  // --- Writing ---

  void writeSuperblock() {
    const std::uint64_t rootSlot = nodes_.node(ErofsNodes::kRoot).slot;
    if (rootSlot > kMaxRootSlot) throw Error{Kind::internal, "the root's inode lies too far away"};
    ErofsBytes super;
    super.u32(kMagic).u32(0).u32(kCompatMtime).u8(blockBits_).u8(0).u16(rootSlot);
    super.u64(order_.size()).u64(0).u32(0);
    super.u32(imageBlocks_).u32(metaBlock_).u32(0).zeros(16 + 16);
    super.u32(kIncompatChunks | kIncompatDevices).u16(0).u16(1).u16(kSlotOffset / kSlotSize);
    out_.put(kSuperOffset, super.padTo(128).take());
    ErofsBytes device;
    device.zeros(64).u32(archiveBlocks_).u32(imageBlocks_);
    // The whole first block: the kernel reads it at once.
    out_.put(kSlotOffset, device.padTo(kSlotSize).take());
  }

  [[nodiscard]] std::uint64_t offsetOf(const ErofsNode& node) const {
    return metaBlock_ * block_ + node.slot * kInodeSlot;
  }

  void writeNode(NodeId id) {
    const ErofsNode& node = nodes_.node(id);
    if (id == ErofsNodes::kRoot) {
      writeHead(id, std::string{});
      writeFolder(id);
    } else if (S_ISDIR(node.mode)) {
      writeHead(id, writeFolder(id));
    } else if (S_ISLNK(node.mode)) {
      writeHead(id, writeText(node));
    } else {
      writeHead(id, node.hasChunks ? chunkIndexes(node) : std::string{});
    }
  }

  // Returns what has to lie behind the inode.
  std::string writeFolder(NodeId id) {
    const ErofsNode& node = nodes_.node(id);
    std::uint64_t at = std::uint64_t{node.block} * block_;
    std::uint64_t left = node.size;
    std::string tail;
    forEachBlock(id, [&](std::span<const ErofsNodes::Name> names) {
      std::string bytes = folderBlock(names);
      if (node.isInline && left < block_) {
        tail = std::move(bytes);
        return;
      }
      bytes.resize(block_);
      out_.put(at, bytes);
      at += block_;
      left -= std::min(left, block_);
    });
    return tail;
  }

  std::string writeText(const ErofsNode& link) {
    std::string text{nodes_.text(link.data, link.size)};
    const size_t full = link.isInline ? text.size() - text.size() % block_ : text.size();
    if (full > 0) {
      std::string blocks = text.substr(0, full);
      blocks.resize(roundUp(full, block_));
      out_.put(std::uint64_t{link.block} * block_, blocks);
    }
    return text.substr(full);
  }

  [[nodiscard]] std::string chunkIndexes(const ErofsNode& file) const {
    ErofsBytes indexes;
    const std::uint64_t head = kInodeSize + xattrBytes(file);
    indexes.zeros(roundUp(head, 8) - head);
    for (const ErofsChunks::Chunk& chunk : nodes_.chunkTables[file.data].chunks) {
      const bool isHole = chunk.place == ErofsChunks::Place::hole;
      const bool isArchive = chunk.place == ErofsChunks::Place::archive;
      indexes.u16(0).u16(isArchive ? 1 : 0).u32(isHole ? kNullAddress : chunk.block);
    }
    return indexes.take();
  }

  [[nodiscard]] std::uint64_t linksOf(NodeId id) const {
    const ErofsNode& node = nodes_.node(id);
    if (!S_ISDIR(node.mode)) return node.links;
    std::uint64_t links = 2;
    for (const ErofsNodes::Name& name : nodes_.namesOf(id))
      links += S_ISDIR(nodes_.node(name.node).mode) ? 1 : 0;
    return links;
  }

  // erofs_inode.i_u
  [[nodiscard]] std::uint64_t addressOf(const ErofsNode& node) const {
    switch (node.mode & S_IFMT) {
      case S_IFDIR:
      case S_IFLNK: return node.block;
      case S_IFREG: break;
      default: return node.data;  // the device
    }
    if (node.hasChunks) return nodes_.chunkTables[node.data].bits | kChunkIndexes;
    return node.size == 0 ? 0 : imageBlocks_ + node.data / block_;
  }

  void writeHead(NodeId id, const std::string& behind) {
    const ErofsNode& node = nodes_.node(id);
    const std::uint64_t xattrs = xattrBytes(node);
    unsigned layout = node.isInline ? kFlatInline : kFlatPlain;
    if (node.hasChunks) layout = kChunkBased;
    ErofsBytes inode;
    inode.u16(1 | layout << 1).u16(xattrs == 0 ? 0 : (xattrs - 12) / 4 + 1).u16(node.mode).u16(0);
    inode.u64(node.size).u32(addressOf(node)).u32(++inodeNumber_);
    inode.u32(node.uid).u32(node.gid);
    inode.u64(static_cast<std::uint64_t>(node.mtimeSeconds)).u32(node.mtimeNanoseconds);
    inode.u32(linksOf(id)).padTo(kInodeSize);
    if (xattrs > 0) appendErofsXattrs(inode, nodes_.xattrs(node.xattrs));
    inode.text(behind);
    out_.put(offsetOf(node), inode.take());
  }

  ErofsNodes& nodes_;
  Output out_;
  std::uint64_t block_;
  unsigned blockBits_;
  std::uint64_t metaBlock_;
  std::uint64_t cursor_;  // of metadata, in bytes
  std::uint64_t archiveBlocks_;
  std::uint64_t imageBlocks_ = 0;
  std::uint32_t inodeNumber_ = 0;
  std::vector<NodeId> order_;
};

}  // namespace

std::uint64_t firstErofsBlock(ErofsFormat format) {
  return roundUp(kSlotOffset + kSlotSize, format.block()) / format.block();
}

void writeErofs(ErofsTree& tree, int image, std::uint64_t archiveBytes, ErofsFormat format) {
  ImageWriter writer{tree, image, archiveBytes, format};
  sys::ftruncate(image, static_cast<off_t>(writer.write()));
}

namespace {

UnpackStats indexEntries(TarReader& reader, int image, const std::string& name,
                         ErofsFormat format) {
  ErofsTree tree{name, image, firstErofsBlock(format), format};
  const UnpackStats stats = readLayer(reader, tree, name);
  writeErofs(tree, image, reader.dataOffset(), format);
  return stats;
}

}  // namespace

UnpackStats indexLayer(Source& tar, int image, const std::string& name, ErofsFormat format) {
  TarReader reader{tar, name};
  return indexEntries(reader, image, name, format);
}

UnpackStats indexLayerFile(int tar, int image, const std::string& name, ErofsFormat format) {
  TarReader reader{tar, name};
  return indexEntries(reader, image, name, format);
}

}  // namespace img::store
