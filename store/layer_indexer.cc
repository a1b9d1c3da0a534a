#include "store/layer_indexer.h"

#include <fcntl.h>

#include <exception>

#include "base/error.h"
#include "base/log.h"
#include "base/sys.h"
#include "store/erofs_image.h"
#include "store/erofs_tree.h"
#include "store/layers.h"
#include "store/small_layer.h"
#include "store/unpack.h"

namespace img::store {

namespace {

// 35 MB: whoever writes the tar has a plan of it in memory as well, and 64 MB for all.
constexpr size_t kMaxNodes = 250'000;

}  // namespace

struct LayerIndexer::Tree {
  // No file: nothing is copied into it but data of sparse files, and those end the attempt.
  Tree() : nodes(kName, -1, firstErofsBlock()), entries(nodes, kName) {}

  static constexpr char kName[] = "a layer";  // opens messages for the log
  ErofsTree nodes;
  LayerEntries entries;
};

LayerIndexer::LayerIndexer() : tree_(std::make_unique<Tree>()) {}

LayerIndexer::~LayerIndexer() = default;

void LayerIndexer::giveUp(std::string_view why) noexcept {
  tree_.reset();
  try {
    log::info("the view of a layer is made of its tar: {}", why);
  } catch (const std::exception&) {  // it was for the log alone
  }
}

void LayerIndexer::add(const TarEntry& entry, std::uint64_t dataOffset) noexcept {
  if (!tree_) return;
  try {
    if (tree_->nodes.nodes().count() > kMaxNodes) return giveUp("it has too many files");
    if (entry.sparse) return giveUp("it has sparse files");
    tree_->entries.put(entry, [&](const std::string& path, const EntryMeta& meta) {
      tree_->nodes.putFileAt(path, meta, entry.size, dataOffset);
    });
  } catch (const std::exception& error) {
    giveUp(error.what());
  }
}

bool LayerIndexer::finish() noexcept {
  if (!tree_) return false;
  try {
    if (isBetterUnpacked(tree_->entries.finish())) giveUp("it is small");
  } catch (const std::exception& error) {
    giveUp(error.what());
  }
  return tree_ != nullptr;
}

bool LayerIndexer::write(const IngestDir& folder, std::uint64_t archiveBytes) try {
  const Fd image =
      sys::openat(folder.fd(), Layers::kIndexName, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
  writeErofs(tree_->nodes, image.get(), archiveBytes);
  tree_.reset();
  return true;
} catch (const Error& error) {
  giveUp(error.what());
  sys::tryUnlinkat(folder.fd(), Layers::kIndexName, 0);
  return false;
}

}  // namespace img::store
