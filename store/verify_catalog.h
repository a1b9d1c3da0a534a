// What the names of a store need, found by following the documents from index.json down: which
// blobs, in which size, for whom, and which layers they make. What cannot be read is noted and not
// followed. An image index needs at least one of its images: others may have stayed where it came
// from.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "store/images.h"
#include "store/layout.h"
#include "store/oci.h"

namespace img::store {

struct BlobNeed {
  Descriptor descriptor;
  std::set<std::string> users;  // "image app:latest"
  std::string problem;          // of a document; empty: it is well, or nobody has looked yet
};

// A layer as some image has it.
struct LayerNeed {
  Descriptor blob;
  Digest diffId;
  std::set<std::vector<Digest>> below;  // diff IDs, bottom first; at most kMaxStacks
  static constexpr size_t kMaxStacks = 4;
};

struct Catalog {
  struct Entry {
    ImageRow row;
    std::string label;       // "image app:latest"
    std::set<Digest> needs;  // blobs
    std::string problem;     // of its own: no image of its index is here, ...
  };
  std::vector<Entry> entries;
  std::map<Digest, BlobNeed> blobs;
  std::map<std::pair<Digest, Digest>, LayerNeed> layers;  // by blob and diff ID
  std::map<Digest, std::vector<Digest>> images;           // image id -> diff IDs

  // A blob that gives the layer; nullptr: none is known.
  [[nodiscard]] const Descriptor* blobOf(const Digest& diffId) const;
};

Catalog readCatalog(const Layout& layout, const std::vector<ImageRow>& rows);

}  // namespace img::store
