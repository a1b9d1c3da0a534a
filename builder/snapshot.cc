#include "builder/snapshot.h"

#include <linux/mount.h>

#include <algorithm>

#include "base/sys.h"
#include "runtime/mounts.h"
#include "store/layers.h"
#include "store/overlay.h"

namespace img::builder {

Task<> fetchMissing(Events& events, const Snapshot& snapshot) {
  std::vector<LayerRef> missing;
  for (const LayerRef& layer : snapshot.layers) {
    if (layer->source) missing.push_back(layer);
  }
  if (missing.empty()) co_return;
  const std::shared_ptr<LayerSource> source = missing.front()->source;  // one per build
  co_await source->fetch(events, missing);
}

std::vector<int> openFolders(const store::Layout& layout, const Snapshot& snapshot) {
  const store::Layers views{layout};
  std::vector<Digest> missing;
  std::vector<store::Descriptor> blobs;
  for (const LayerRef& layer : snapshot.layers) {
    if (layer->folder || views.has(*layer->diffId)) continue;
    missing.push_back(*layer->diffId);
    blobs.push_back(*layer->descriptor);
  }
  if (!missing.empty()) views.ensureAll(missing, blobs);
  std::vector<int> folders;
  folders.reserve(snapshot.layers.size());
  for (auto layer = snapshot.layers.rbegin(); layer != snapshot.layers.rend(); ++layer) {
    if (!(*layer)->folder) (*layer)->folder = views.open(*(*layer)->diffId);
    folders.push_back((*layer)->folder.get());
  }
  return folders;
}

bool isUnpackingNeeded(const store::Layout& layout, const Snapshot& snapshot) {
  const store::Layers views{layout};
  return std::any_of(snapshot.layers.begin(), snapshot.layers.end(), [&](const LayerRef& layer) {
    return !layer->folder && !views.has(*layer->diffId);
  });
}

Fd mountReadOnly(const store::Layout& layout, const Snapshot& snapshot) {
  // A stage from scratch that made no file; a union of nothing is refused.
  if (snapshot.layers.empty())
    return runtime::makeMount("tmpfs", MOUNT_ATTR_RDONLY, {{"source", "img"}, {"mode", "0755"}});
  store::OverlaySpec spec;
  spec.lowers = openFolders(layout, snapshot);
  return store::mountOverlay(spec);
}

LayerRef newLayer(const store::Layout& layout) {
  auto layer = std::make_shared<Layer>();
  layer->isNew = true;
  layer->work = std::make_unique<store::IngestDir>(layout);
  for (const char* name : {"fs", "work"}) sys::mkdirat(layer->work->fd(), name, 0755);
  layer->folder = sys::openDirectory(layer->work->fd(), "fs");
  return layer;
}

}  // namespace img::builder
