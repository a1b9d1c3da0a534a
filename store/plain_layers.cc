#include "store/plain_layers.h"

#include <functional>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/stream.h"
#include "store/blobs.h"
#include "store/layer_view.h"
#include "store/layers.h"

namespace img::store {
namespace {

constexpr std::uint64_t kWorthForking = std::uint64_t{16} << 20;

// An index of a layer that lies in the store uncompressed, as verified, so that the first run need
// not make it: its tar is read once more, which is in memory, but not hashed. What has no index
// (or no tar worth the name) is Layers::ensure()'s business, which says what is wrong with it.
void indexStored(const Layout& layout, const Digest& diffId) try {
  const Layers layers{layout};
  if (layers.has(diffId)) return;
  IngestDir folder{layout};
  FdSource tar{openBlob(layout, diffId), diffId.str()};
  const UnpackStats stats = layers.fill(folder, tar, diffId.str());
  layers.adopt(folder, diffId, stats.entries, stats.bytes);
} catch (const Error& error) {
  if (error.kind() != Kind::corrupt) throw;
  log::info("layer {}: {}", diffId.str(), error.what());
}

}  // namespace

// Unpacking one would cost inodes, and time, for an image that may never run.
void indexPlainLayers(const Layout& layout, const std::set<Digest>& diffIds) {
  if (diffIds.empty() || chooseLayerView(layout).view != LayerView::erofs) return;
  std::vector<std::function<void()>> tasks;
  std::uint64_t bytes = 0;
  for (const Digest& diffId : diffIds) {
    bytes += blobSize(layout, diffId);
    tasks.emplace_back([&layout, diffId] { indexStored(layout, diffId); });
  }
  if (tasks.size() > 1 && bytes > kWorthForking) return runInChildren(tasks);
  for (const auto& task : tasks) task();
}

}  // namespace img::store
