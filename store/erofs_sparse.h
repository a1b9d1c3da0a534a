// A sparse file as chunks of an EROFS inode: holes, pieces of the archive that lie there as the
// file system needs them, and copies of all else. The number of chunks stays in proportion to the
// number of extents, whatever size the file claims to have.
#pragma once

#include <vector>

#include "store/erofs_nodes.h"
#include "store/erofs_tree.h"
#include "store/tar.h"

namespace img::store {

class ErofsSparse {
 public:
  // `archiveOffset`: where the data of the first extent lies.
  ErofsSparse(const TarEntry& entry, std::uint64_t archiveOffset, ErofsFormat format);

  // Gives the chunks that need a copy their blocks, from `block` on. Returns the next free one.
  std::uint64_t placeCopies(std::uint64_t block);
  // Reads all data of the file, and writes what belongs into the copies.
  void copy(TarReader& data, int image) const;
  ErofsChunks takeChunks() { return std::move(table_); }

 private:
  struct Run {  // extents that touch each other
    std::uint64_t offset, length, archiveOffset;
  };

  [[nodiscard]] std::uint64_t chunkSize() const { return format_.block() << table_.bits; }
  [[nodiscard]] std::uint64_t endOfChunk(std::uint64_t offset) const;
  void chooseSize();
  void fillChunks();
  void write(int image, std::uint64_t offset, std::span<const std::byte> bytes) const;

  std::uint64_t size_;
  ErofsFormat format_;
  std::vector<Run> runs_;
  ErofsChunks table_;
};

}  // namespace img::store
