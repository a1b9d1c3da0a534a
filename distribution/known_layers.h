// Which blob is which layer: that a blob and the view of a diff ID are both in the store does not
// make them the same layer, whatever a manifest and its config say (security.md M10). Images that
// have a name were checked when they came, so what they say is known.
#pragma once

#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "store/images.h"

namespace img::distribution {

class KnownLayers {
 public:
  explicit KnownLayers(const store::Images& images) : images_(images) {}
  // Reads as many images as it takes. False: it has to be found out.
  bool has(const store::Descriptor& blob, const Digest& diffId);

 private:
  using Layer = std::tuple<Digest, std::string, Digest>;  // blob, media type, diff ID
  bool readNext();

  const store::Images& images_;
  std::vector<store::ImageRow> unread_;
  bool isListed_ = false;
  std::set<Layer> layers_;
};

}  // namespace img::distribution
