// Where an imported cache lies: a folder that is an OCI layout, an image of this store, or a
// registry. Reading blocks, so all of it is for worker processes.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "builder/cache_place.h"
#include "distribution/access.h"
#include "store/layout.h"
#include "store/oci.h"

namespace img::builder {

class CacheOrigin {
 public:
  CacheOrigin() = default;
  CacheOrigin(const CacheOrigin&) = delete;
  CacheOrigin& operator=(const CacheOrigin&) = delete;
  virtual ~CacheOrigin() = default;

  [[nodiscard]] virtual std::string name() const = 0;
  // An image that may hold records; those of an index are several.
  struct Document {
    std::string manifest, config;
  };
  [[nodiscard]] virtual std::vector<Document> read() = 0;

  // The bytes of a blob on their way.
  struct Stream {
    Fd bytes;
    std::function<void()> finish;  // once `bytes` were read or closed: throws why they ended early
  };
  // `isAgain`: what came before was wrong.
  [[nodiscard]] virtual Stream open(const store::Descriptor& blob, bool isAgain) = 0;
  // Cheap: whether it is worth asking for the blob. True when only the transfer can tell.
  [[nodiscard]] virtual bool mayHave(const store::Descriptor& blob) const = 0;
};

// In the order in which they are asked.
std::vector<std::unique_ptr<CacheOrigin>> originsOf(const store::Layout& layout,
                                                    const CachePlace& place,
                                                    const distribution::AccessOptions& access);

// The manifests below `top` together with their configs; `read` gives the bytes of a document.
using ReadDocument = std::function<std::string(const store::Descriptor& descriptor)>;
std::vector<CacheOrigin::Document> readDocuments(const store::Descriptor& top,
                                                 const ReadDocument& read, const std::string& name);

// The one image of an index.json that `place` means.
store::Descriptor chooseCache(const store::Index& index, const CachePlace& place);

struct WantedLayer {
  store::Descriptor blob;  // as the origin has it
  Digest diffId;
};
struct FetchedLayer {
  std::uint64_t size = 0;  // of the tar
  std::optional<Error> error;
};
// Puts the layers into the store as plain tars, verified, several at a time. What fails concerns
// its own layer only. Forks.
std::vector<FetchedLayer> fetchLayers(const store::Layout& layout, CacheOrigin& origin,
                                      const std::vector<WantedLayer>& wanted);

}  // namespace img::builder
