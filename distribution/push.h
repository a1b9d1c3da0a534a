// push: an image of the store to a registry. Blobs that are there are not sent, blobs of another
// repository of the same registry are mounted, the rest is compressed and sent in parallel.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/stream.h"
#include "distribution/access.h"
#include "store/images.h"
#include "store/layout.h"
#include "store/reference.h"

namespace img::distribution {

struct PushForm {
  std::optional<Compression> compression;  // none, gzip or zstd; nullopt: gzip for plain layers
  std::optional<int> level;
  bool isForced = false;         // layers that are compressed otherwise as well
  std::optional<bool> isDocker;  // docker's schema 2 media types; nullopt: as stored
};

struct PushProgress {
  virtual ~PushProgress() = default;
  virtual void blobStarted(const store::Descriptor& /*blob*/) {}
  virtual void blobDone(const store::Descriptor& /*blob*/, std::string_view /*how*/) {}
  virtual void notice(const std::string& /*text*/) {}
};

struct PushRequest {
  store::Descriptor source;  // manifest or index of the store
  store::Reference destination;
  AccessOptions access;
  PushForm form;
};

// What the registry now has under the name. Forks; for single-threaded processes that hold a
// store::StoreUse.
store::Descriptor pushImage(const store::Layout& layout, const PushRequest& request,
                            PushProgress& progress);

// The repository of a registry that a blob or a manifest came from or went to: where a mount can be
// tried from, and where a repair asks for what is damaged. Kept beside the store's objects
// (cache/), and never needed.
void rememberPlace(const store::Layout& layout, const Digest& blob,
                   const store::Reference& repository);
std::vector<store::Reference> placesOf(const store::Layout& layout, const Digest& blob);

}  // namespace img::distribution
