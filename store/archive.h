// save and load: docker-archive, oci-archive and OCI directories, in any of the known compressions
// (cli.md X2, 12). The outer archive is never extracted: members are streamed into ingest/ by exact
// name (security.md M14).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/stream.h"
#include "store/images.h"
#include "store/layout.h"

namespace img::store {

struct LoadedImage {
  Digest id;
  Descriptor manifest;
  std::vector<std::string> names;  // full form; empty: untagged
  // Names that pointed elsewhere before: name and old image id (M16).
  std::vector<std::pair<std::string, Digest>> moved;
};

// All or nothing: every blob verified before the first name is stored.
// `platform`: nothing of an index but what is for it; Kind::notFound, code "platform-missing", for
// an image that has nothing.
std::vector<LoadedImage> loadArchive(const Layout& layout, Source& archive, const std::string& name,
                                     const std::optional<Platform>& platform = {});
std::vector<LoadedImage> loadDirectory(const Layout& layout, int directory, const std::string& name,
                                       const std::optional<Platform>& platform = {});

enum class ArchiveFormat { dockerArchive, ociArchive };
// dockerArchive is at the same time an OCI layout. Deterministic.
struct SaveItem {
  Image image;
  std::vector<std::string> names;  // full form
  // An image of several platforms: `image` is one of them, these are the others, and the index that
  // holds all (its annotations are kept). Not for docker archives, which have no index.
  std::vector<Image> others = {};
  std::optional<Descriptor> index = {};
  std::map<std::string, std::string> annotations = {};  // of the entry in index.json
  std::vector<Digest> documents = {};                   // indexes below the index
};
void saveArchive(const Layout& layout, const std::vector<SaveItem>& items, ArchiveFormat format,
                 Sink& sink);
// `merge`: an OCI layout that is there already keeps what has another name.
enum class Existing { refuse, merge };
void saveDirectory(const Layout& layout, const std::vector<SaveItem>& items,
                   const std::string& path, Existing existing = Existing::refuse);

// A one-layer image from a root file system tar (any known compression): stored uncompressed as it
// is, and unpacked in the same pass. The caller publishes it, under the same StoreUse.
Image importTar(const Layout& layout, Source& tar, const std::string& name, ImageConfig config);

}  // namespace img::store
