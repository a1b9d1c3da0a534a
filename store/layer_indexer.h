// The index of a layer (erofs_image.h) made while its tar is written, of the entries that go into
// it: byte for byte what indexLayerFile() makes of the finished tar, which need not be read again.
// What only the tar can tell (which blocks of a sparse file have to be copied, why an entry is
// refused), and a layer of very many files, ends the attempt: the index is then made of the tar.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "store/layout.h"
#include "store/tar.h"

namespace img::store {

class LayerIndexer {
 public:
  LayerIndexer();
  LayerIndexer(const LayerIndexer&) = delete;
  LayerIndexer& operator=(const LayerIndexer&) = delete;
  ~LayerIndexer();

  // The entries in their order, as TarWriter tells of them.
  void add(const TarEntry& entry, std::uint64_t dataOffset) noexcept;
  // When there are no more: whether an index is wanted and can be made.
  [[nodiscard]] bool finish() noexcept;
  // Then puts it into an empty folder, for Layers::adopt(). False: it has no room for something,
  // and the folder is still empty.
  bool write(const IngestDir& folder, std::uint64_t archiveBytes);

 private:
  struct Tree;
  void giveUp(std::string_view why) noexcept;

  std::unique_ptr<Tree> tree_;  // null: given up
};

}  // namespace img::store
