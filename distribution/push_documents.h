// The documents of an image that is pushed, and what becomes of them when layers get another form:
// manifests and indexes are edited as JSON, so that whatever we do not know stays in them, and one
// in which nothing changes keeps its bytes and its digest.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "distribution/push.h"
#include "store/oci.h"

namespace img::distribution {

// What a layer is to be compressed to.
struct LayerForm {
  Compression kind = Compression::gzip;
  std::optional<int> level;
};

struct PushedBlob {
  store::Descriptor stored;       // as the manifest has it
  std::optional<Digest> diffId;   // of an image's layer
  std::optional<LayerForm> form;  // nullopt: as it is
};

// A manifest or index, those below it first.
struct PushedDocument {
  store::Descriptor descriptor;
  std::string bytes;
  bool isIndex = false;
  bool isImage = false;           // its config is an image's; false: an artifact, left as it is
  bool isDocker = false;          // wanted form
  std::vector<PushedBlob> blobs;  // layers, then the config
};

// Reads `source` and all below it, children before parents. Throws Kind::notFound for a document
// that the store does not have.
std::vector<PushedDocument> readDocuments(const store::Layout& layout,
                                          const store::Descriptor& source, const PushForm& form);
// Whether the store has all of them, with all their blobs.
bool isWhole(const store::Layout& layout, const store::Descriptor& source);

// By the digest that documents had before: what they are now.
using Replacements = std::map<Digest, store::Descriptor>;
// The document with other layers or children; its descriptor is the new one.
PushedDocument convertDocument(const PushedDocument& document, const Replacements& replacements);

}  // namespace img::distribution
