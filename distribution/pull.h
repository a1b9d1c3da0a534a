// pull: an image of a registry into the store. Layers are downloaded, verified, decompressed and
// unpacked at the same time; interrupted downloads go on where they stopped (reliability.md 7).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "distribution/access.h"
#include "store/images.h"
#include "store/layout.h"
#include "store/reference.h"

namespace img::distribution {

enum class PullPolicy {
  missing,  // only when the store has no image of the name
  newer,    // one HEAD; downloaded when the tag has moved ("always" of docker and podman)
  never,
};

// What a pull tells while it is under way; called by one thread.
struct PullProgress {
  virtual ~PullProgress() = default;
  virtual void layerStarted(const store::Descriptor& /*layer*/) {}
  virtual void layerBytes(const store::Descriptor& /*layer*/, std::uint64_t /*done*/) {}
  virtual void layerDone(const store::Descriptor& /*layer*/, bool /*wasThere*/) {}
  virtual void notice(const std::string& /*text*/) {}
};

struct PullRequest {
  store::Reference reference;
  std::optional<store::Platform> platform;  // nullopt: this machine
  AccessOptions access;
  PullPolicy policy = PullPolicy::newer;
};

struct Pulled {
  store::Image image;
  bool isNew = false;  // false: the store had it all
};

// Forks; for single-threaded processes that hold a store::StoreUse. The name is published when
// everything it needs is in the store.
Pulled pullImage(const store::Layout& layout, const PullRequest& request, PullProgress& progress);

}  // namespace img::distribution
