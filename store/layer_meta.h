// What lies beside the view of a layer and says what it is: layers/<hex>/meta, a JSON object. It is
// written last, so that a view with one is whole.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/digest.h"
#include "store/layout.h"
#include "store/union_copy.h"

namespace img::store {

// The id maps of the user namespace that this process is in; empty outside of one.
std::string presentIdMaps();

struct LayerMeta {
  Digest diffId;
  std::uint64_t entries = 0, bytes = 0;
  std::string bootId;
  // Made in a user namespace, or where the others are out of reach: its marks are user.overlay.*,
  // which root's unions do not look at, and the other way round.
  bool hasUserMarks = usesUserMarks();
  // The id maps of the user namespace it was made in: with others its files have other owners, or
  // recorded ones. Empty outside of one.
  std::string idMaps = presentIdMaps();
  // Where the tar lies that the index is over, "blob" or "tar"; empty: the view is a folder.
  std::string archive = {};
};

// nullopt: there is none, or it is not of that layer, or of another version of the program.
std::optional<LayerMeta> readLayerMeta(const Layout& layout, const Digest& diffId);
// `folder`: of the view.
void writeLayerMeta(int folder, const LayerMeta& meta);

}  // namespace img::store
