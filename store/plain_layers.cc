#include "store/plain_layers.h"

#include <functional>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "store/blobs.h"
#include "store/layer_view.h"
#include "store/layers.h"

namespace img::store {
namespace {

constexpr std::uint64_t kWorthForking = std::uint64_t{16} << 20;

// What has no index is unpacked when it is first used, which also says what is wrong with it.
void indexStored(const Layout& layout, const Digest& diffId) try {
  Layers{layout}.ensureFromVerified(diffId);
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
