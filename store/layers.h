// Views of a layer by diff ID: "a folder that can be an overlay lowerdir". Beside layers/<hex>/meta
// there is either the unpacked directory fs, or index, an EROFS image over the layer's tar: the
// blob itself where that is not compressed, else layers/<hex>/tar (layer_view.h says which).
// Derived from the blob, rebuilt at any time; a folder without a complete meta is garbage
// (reliability.md S-2). Layer folders are never fsynced: meta carries the boot id, and a folder of
// another boot is not trusted, as a power cut may have emptied files in it. has() then says no, and
// the next ensure() rebuilds it from its blob, which was fsynced.
// meta is {boot_id, bytes, diff_id, entries, version}, for an index also archive ("blob" or "tar"),
// and in a user namespace user_marks and id_maps: with other ids than it was made with, a view is
// made again.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/fd.h"
#include "base/stream.h"
#include "store/layer_view.h"
#include "store/layout.h"
#include "store/oci.h"
#include "store/unpack.h"

namespace img::store {

struct OpenedLayer {
  Fd folder;
  bool isMount = false;  // of its own, detached: it goes with the descriptor
};

class Layers {
 public:
  // Of an index in a view's folder.
  static constexpr char kIndexName[] = "index";
  explicit Layers(const Layout& layout) : layout_(layout) {}

  [[nodiscard]] bool has(const Digest& diffId) const;
  // Descriptor of the lowerdir, O_PATH or for reading; of a mount that goes with it where the view
  // is an index. Throws Kind::notFound.
  Fd open(const Digest& diffId) const;
  // The same for who starts a container: nullopt when it is not there. What is opened need not be
  // asked for by has().
  [[nodiscard]] std::optional<OpenedLayer> tryOpen(const Digest& diffId) const;
  // Makes sure the layer is unpacked: blob -> decompress -> check diff ID -> layers/<hex>. Two
  // processes that want the same layer do it once (locks/obj). Throws Kind::corrupt, code
  // "digest-mismatch".
  void ensure(const Digest& diffId, const Descriptor& blob) const;
  // The same for a layer whose blob is its tar, as it is, and was written or verified by this
  // process: nothing is hashed, and for an index only the headers are read.
  void ensureFromVerified(const Digest& diffId) const;
  // The same from uncompressed tar bytes that come from anywhere, to their end (a download, an
  // archive): the view of diffId, if they are what it says. False: the view was there already, and
  // `plain` was not read. `blob`: the same bytes are, or are about to be, the blob with this
  // digest, so that an index needs no copy of them; until the blob is there, has() says no. What no
  // index has room for is read and left: ensure() unpacks it when the blob is there.
  enum class Archive { view, blob };
  bool makeFrom(const Digest& diffId, Source& plain,  // NOLINT(modernize-use-nodiscard)
                Archive archive = Archive::view) const;
  // Several layers of one image, in parallel by forked children: for single-threaded processes
  // only.
  void ensureAll(const std::vector<Digest>& diffIds, const std::vector<Descriptor>& blobs) const;
  // Publishes a finished folder (relative to layout.fd(), e.g. "ingest/x/fs", on the same file
  // system) as the view of diffId by rename; when the layer is already there, and trusted, the
  // folder is left to the caller.
  void adopt(const std::string& folder, const Digest& diffId, std::uint64_t entries,
             std::uint64_t bytes) const;
  // Where the view lies, relative to layout.fd(): the folder, or the index.
  [[nodiscard]] std::string pathOf(const Digest& diffId) const;
  // Logical bytes recorded in meta.
  [[nodiscard]] std::uint64_t sizeOf(const Digest& diffId) const;

  // For a layer whose diff ID is known only at its end (import): makes the view of a tar, which is
  // a file that is right as it is, in `folder`, for adopt() once its blob is in the store. `name`
  // opens the messages.
  [[nodiscard]] UnpackStats fill(const IngestDir& folder, int tar, const std::string& name) const;
  // A finished IngestDir (the folder "fs" is in it, or fill() or a LayerIndexer has filled it)
  // becomes the view; `folder` keeps nothing when it was published.
  void adopt(IngestDir& folder, const Digest& diffId, std::uint64_t entries,
             std::uint64_t bytes) const;

 private:
  using MakeView = std::function<void(LayerView)>;
  void ensureBy(const Digest& diffId, const Digest& blob, const MakeView& make) const;
  void makeFromBlob(const Digest& diffId, const Descriptor& blob, LayerView view) const;
  void makeFromVerified(const Digest& diffId, LayerView view) const;
  void publishFilled(IngestDir& folder, const Digest& diffId, const UnpackStats& stats,
                     Archive archive) const;
  const Layout& layout_;
};

// The compression that a layer's media type promises (M6). Throws Kind::corrupt when `head`, the
// first bytes of the blob, says otherwise.
void checkLayerCompression(const Descriptor& blob, std::string_view head);
// A blob's uncompressed bytes; `raw` outlives the result.
std::unique_ptr<Source> openLayerStream(const Descriptor& blob, Source& raw);

// Runs the tasks in forked children, at most one per CPU at a time. The first error ends all and is
// rethrown.
void runInChildren(const std::vector<std::function<void()>>& tasks);

}  // namespace img::store
