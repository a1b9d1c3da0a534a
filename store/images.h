// Images by name: index.json resolved, changed under locks/index, listed. Every change is: lock,
// read, change, write, fsync, rename, fsync folder, unlock (reliability.md S-4). Readers take no
// lock.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/blobs.h"
#include "store/layout.h"
#include "store/oci.h"
#include "store/reference.h"

namespace img::store {

struct Image {
  Descriptor manifestDescriptor;
  Manifest manifest;
  ImageConfig config;
  Digest id;  // digest of the config blob
};

struct ImageRow {
  std::optional<std::string> name;  // full normalised name; nullopt for a nameless image
  Descriptor descriptor;
};

class Images {
 public:
  explicit Images(const Layout& layout) : layout_(layout) {}

  // cli.md 5, "Lookup of an image argument": exact name, localhost/NAME, id or unique prefix.
  std::optional<Image> find(std::string_view argument) const;
  Image get(std::string_view argument) const;  // throws Kind::notFound, code "image-not-found"
  Image load(
      const Descriptor& manifest) const;  // an index descriptor resolves to the host's platform
  std::vector<ImageRow> list() const;

  // Points `names` (full form) at the manifest; a former holder that is left without a name
  // disappears (or becomes nameless while a container uses it: `keep` says so). No names: stored
  // nameless.
  void publish(const Descriptor& manifest, const std::vector<std::string>& names) const;

  // Removes one name; true when it was the image's last.
  bool untag(const std::string& fullName) const;
  // Removes every descriptor of the manifest digest.
  void remove(const Digest& manifest) const;

  // Deletes blobs and layers that no index entry, container record or live ingest needs. Returns
  // what went.
  struct Freed {
    std::vector<Digest> layers;
    std::uint64_t bytes = 0;
  };
  Freed collect() const;

 private:
  const Layout& layout_;
};

// Writes config and manifest blobs for layers that are already in the store.
Image writeImage(const Layout& layout, const ImageConfig& config,
                 const std::vector<Descriptor>& layers);

}  // namespace img::store
