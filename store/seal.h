// An overlay upper directory to a layer tar, its diff ID and its blob in one pass: entries sorted,
// whiteouts turned into .wh.NAME and .wh..wh..opq, overlay's own xattrs dropped, hard links kept,
// holes kept. Same upper, same bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/stream.h"
#include "store/blobs.h"
#include "store/tar.h"

namespace img::store {

struct SealOptions {
  std::optional<std::int64_t> clampMtime;  // SOURCE_DATE_EPOCH: later times become this one
  std::optional<std::int64_t> setMtime;    // all times become this one
  // Open folders of the layers below, topmost first. A copied-up file or folder that is the same
  // there (type, mode, owner, size, mtime, xattrs, content) is left out, and so is a
  // whiteout or opaque mark that hides nothing. Empty: nothing is compared.
  std::vector<int> lowers;
  // `lowers` is all there is below, also when it is empty: a mark that hides nothing is left out.
  bool isBottom = false;
  // The tree is in use and no layer is made of it: what vanishes is left out, a file that becomes
  // shorter is filled up with zeros, every name is allowed, and the kernel's own file systems
  // (/proc of a running container) count as empty.
  bool isLive = false;
  // Sees every regular file's bytes as they are hashed (the secret guard). May be empty.
  std::function<void(const std::string& path, std::span<const std::byte>)> inspect;
  // Sees every entry before it is written, but for folders that did not change. May be empty.
  std::function<void(const TarEntry& entry)> inspectEntry;
};

struct SealResult {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;  // logical bytes of regular files
};

// Writes the tar of the change set in `upper` (an overlay upper directory, unmounted) to `sink`.
// The upper's root itself has no entry: a layer changes what is in "/", never "/" itself. Larger
// layers use a second thread for the sink. Throws Kind::unsupported for names that a layer cannot
// hold (".wh." at the begin), Kind::failed when a file changes while it is read.
SealResult writeLayerTar(int upper, Sink& sink, const SealOptions& options);
// Several upper directories, topmost first, as the one layer that has the same effect: what an
// upper one deletes of a lower one is gone. With all layers of an image and `isBottom` that is the
// tar of its root file system.
SealResult writeLayerTar(const std::vector<int>& uppers, Sink& sink, const SealOptions& options);
// Whole file trees side by side in one tar, each the union of `folders` in a folder `name`.
struct TarTree {
  std::string name;  // one component
  std::vector<int> folders;
};
SealResult writeTreesTar(const std::vector<TarTree>& trees, Sink& sink, const SealOptions& options);

// One file, link or node that may be in use (isLive): `handle` is an O_PATH descriptor of it.
SealResult writeObjectTar(int handle, const std::string& name, Sink& sink);

// The same straight into a blob: the descriptor's digest is the diff ID (layers are stored
// uncompressed).
struct SealedLayer {
  Descriptor descriptor;
  SealResult stats;
};
SealedLayer sealLayer(const Layout& layout, int upper, const SealOptions& options,
                      BlobWriter::Durability durability = BlobWriter::Durability::later,
                      BlobWriter::Caching caching = BlobWriter::Caching::kept);
SealedLayer sealLayer(const Layout& layout, const std::vector<int>& uppers,
                      const SealOptions& options,
                      BlobWriter::Durability durability = BlobWriter::Durability::later,
                      BlobWriter::Caching caching = BlobWriter::Caching::kept);

}  // namespace img::store
