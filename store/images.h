// Images by name: index.json resolved, changed under locks/index, listed. Every change is: lock,
// read, change, write, fsync, rename, fsync folder, unlock (reliability.md S-4). Readers take no
// lock.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "store/blobs.h"
#include "store/layout.h"
#include "store/oci.h"
#include "store/reference.h"

namespace img::store {

// The full name a descriptor carries: annotation io.containerd.image.name, else
// org.opencontainers.image.ref.name if it is more than a bare "latest"; normalised. nullopt:
// nameless (cli.md X2).
std::optional<std::string> imageNameOf(const Descriptor& descriptor);

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
  // `platform`: what an index is read for; nullopt: this machine.
  explicit Images(const Layout& layout, std::optional<Platform> platform = {})
      : layout_(layout), platform_(std::move(platform)) {}

  // cli.md 5, "Lookup of an image argument": exact name, localhost/NAME, id or unique prefix.
  [[nodiscard]] std::optional<Image> find(std::string_view argument) const;
  // Throws Kind::notFound, code "image-not-found".
  [[nodiscard]] Image get(std::string_view argument) const;
  // An index descriptor resolves to the platform; Kind::notFound with code "platform-missing" when
  // it has nothing for it.
  [[nodiscard]] Image load(const Descriptor& manifest) const;
  [[nodiscard]] std::vector<ImageRow> list() const;

  // Points `names` (full form) at the manifest; a former holder that is left without a name
  // disappears, or becomes nameless while a container uses it. No names: stored nameless. All blobs
  // are made durable before the name. When the names already say so nothing is written or synced.
  void publish(const Descriptor& manifest, const std::vector<std::string>& names) const;
  struct Publication {
    Descriptor manifest;
    std::vector<std::string> names;
  };
  void publishAll(const std::vector<Publication>& publications) const;  // one change of index.json

  // For who has just written a container's record: an image that lost its last entry before the
  // record was there gets one without a name. The caller has a StoreUse.
  void keepForContainer(const Descriptor& manifest) const;

  // Removes one name (Kind::notFound if there is none); true when the image is then gone from the
  // index. While a container uses it, it stays there without a name.
  bool untag(const std::string& fullName) const;  // NOLINT(modernize-use-nodiscard): an action
  // Removes every descriptor of the manifest digest; a container that uses the image keeps it,
  // nameless.
  void remove(const Digest& manifest) const;

  // For repairs. Entries that `keeps` refuses go, whoever uses them; one that is broken serves
  // nobody.
  void keepOnly(const std::function<bool(const Descriptor&)>& keeps) const;
  // index.json, which cannot be read, becomes this.
  void reset(const std::vector<Descriptor>& entries) const;

  // Removes all entries of these manifests (`named` false: those without a name), in one change.
  // Images that a container uses, and images that are left with a name, stay. Returns what went.
  // NOLINTNEXTLINE(modernize-use-nodiscard): an action
  std::set<Digest> removeUnused(const std::set<Digest>& manifests, bool named) const;

  // Deletes blobs and layers that neither an index entry, a container record, a cache/steps record
  // nor the lease of a living process needs. See gc.h. With a damaged document, of which nobody
  // knows what it needs, nothing is deleted, and a warning says so.
  struct Freed {
    std::vector<Digest> layers;  // diff IDs
    std::uint64_t bytes = 0;
  };
  Freed collect() const;  // NOLINT(modernize-use-nodiscard): an action

 private:
  [[nodiscard]] Image load(const Descriptor& descriptor, int nesting) const;
  [[nodiscard]] const Descriptor& pickPresent(const Index& index, const Descriptor& self) const;
  [[nodiscard]] std::optional<Image> findOnce(std::string_view argument) const;
  [[nodiscard]] std::optional<Image> findByName(std::string_view argument) const;
  [[nodiscard]] std::optional<Image> findById(std::string_view argument) const;
  [[nodiscard]] bool isUsedByContainer(const Descriptor& descriptor) const;
  const Layout& layout_;
  std::optional<Platform> platform_;
};

// Bytes of a document of the store, re-hashed and of the size the descriptor says (M2, M4).
std::string readDocument(const Layout& layout, const Descriptor& descriptor);
// What containers/*/config.json refer to.
struct ContainerUse {
  std::vector<Digest> imageIds, diffIds;
};
ContainerUse readContainerUse(const Layout& layout);

// Writes config and manifest blobs for layers that are already in the store.
Image writeImage(const Layout& layout, const ImageConfig& config,
                 const std::vector<Descriptor>& layers);
// The same with a manifest that has everything but its config; its media type decides the config's.
Image writeManifest(const Layout& layout, const ImageConfig& config, Manifest manifest,
                    BlobWriter::Durability durability = BlobWriter::Durability::later);

}  // namespace img::store
