// Views of a layer by diff ID: "a folder that can be an overlay lowerdir". Today the unpacked
// directory layers/<hex>/fs beside layers/<hex>/meta; the EROFS view comes behind the same face.
// Derived from the blob, rebuilt at any time; a folder without a complete meta is garbage
// (reliability.md S-2).
#pragma once

#include <string>
#include <vector>

#include "base/digest.h"
#include "base/fd.h"
#include "store/layout.h"
#include "store/oci.h"

namespace img::store {

class Layers {
 public:
  explicit Layers(const Layout& layout) : layout_(layout) {}

  bool has(const Digest& diffId) const;
  // O_PATH descriptor of the lowerdir. Throws Kind::notFound.
  Fd open(const Digest& diffId) const;
  // Makes sure the layer is unpacked: blob -> decompress -> check diff ID -> layers/<hex>. Two
  // processes that want the same layer do it once (locks/obj). Throws Kind::corrupt, code
  // "digest-mismatch".
  void ensure(const Digest& diffId, const Descriptor& blob) const;
  // Several layers of one image, in parallel, with one syncfs.
  void ensureAll(const std::vector<Digest>& diffIds, const std::vector<Descriptor>& blobs) const;
  // Publishes a finished folder (relative to layout.fd(), e.g. "ingest/x/fs", on the same file
  // system) as the view of diffId by rename; when the layer is already there the folder is left to
  // the caller.
  void adopt(const std::string& folder, const Digest& diffId, std::uint64_t entries,
             std::uint64_t bytes) const;
  // Logical bytes recorded in meta.
  std::uint64_t sizeOf(const Digest& diffId) const;

 private:
  const Layout& layout_;
};

}  // namespace img::store
