#include "distribution/known_layers.h"

#include <utility>

#include "base/error.h"
#include "base/log.h"

namespace img::distribution {

bool KnownLayers::has(const store::Descriptor& blob, const Digest& diffId) {
  const Layer wanted{blob.digest, blob.mediaType, diffId};
  while (!layers_.contains(wanted)) {
    if (!readNext()) return false;
  }
  return true;
}

// The newest first: who pulls often pulls what is alike.
bool KnownLayers::readNext() {
  if (!std::exchange(isListed_, true)) unread_ = images_.list();
  if (unread_.empty()) return false;
  const store::ImageRow row = std::move(unread_.back());
  unread_.pop_back();
  try {
    const store::Image image = images_.load(row.descriptor);
    for (size_t i = 0; i < image.manifest.layers.size(); ++i) {
      const store::Descriptor& layer = image.manifest.layers[i];
      layers_.emplace(layer.digest, layer.mediaType, image.config.diffIds[i]);
    }
  } catch (const Error& error) {
    log::info("{}: {}", row.descriptor.digest.str(), error.cause());  // it says nothing
  }
  return true;
}

}  // namespace img::distribution
