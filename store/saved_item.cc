#include "store/saved_item.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/compress.h"
#include "base/text.h"
#include "store/blobs.h"
#include "store/compressed_forms.h"
#include "store/layer_type.h"
#include "store/layers.h"

namespace img::store {
namespace {

constexpr int kMaxNesting = 4;  // security.md M8
constexpr size_t kMaxNodes = 10'000;

class IndexWalk {
 public:
  IndexWalk(const Layout& layout, SaveItem& item) : layout_(layout), item_(item) {}

  void visit(const Descriptor& descriptor, int nesting) {
    if (nesting > kMaxNesting || !seen_.insert(descriptor.digest).second) return;
    if (seen_.size() > kMaxNodes || !hasBlob(layout_, descriptor.digest)) return;
    if (isManifestType(descriptor.mediaType)) return addManifest(descriptor);
    if (!isIndexType(descriptor.mediaType)) return;
    if (nesting > 0) item_.documents.push_back(descriptor.digest);
    const Index index = parseIndex(readDocument(layout_, descriptor), descriptor.digest.str());
    for (const Descriptor& child : index.manifests) visit(child, nesting + 1);
  }

 private:
  // A manifest without its layers is one that was fetched for its name only.
  void addManifest(const Descriptor& descriptor) {
    const Manifest manifest =
        parseManifest(readDocument(layout_, descriptor), descriptor.digest.str());
    const bool isWhole =
        isConfigType(manifest.config.mediaType) && hasBlob(layout_, manifest.config.digest) &&
        std::all_of(manifest.layers.begin(), manifest.layers.end(),
                    [&](const Descriptor& layer) { return hasBlob(layout_, layer.digest); });
    if (!isWhole) return;
    item_.others.push_back(Images{layout_}.load(descriptor));
  }

  const Layout& layout_;
  SaveItem& item_;
  std::set<Digest> seen_;
};

Descriptor compressLayer(const Layout& layout, const Descriptor& layer, const Digest& diffId,
                         bool isDocker) {
  const CompressedForm form{diffId, Compression::gzip, 0};
  auto packed = findCompressed(layout, form);
  if (!packed) {
    FdSource plain{openBlob(layout, layer.digest), layer.digest.str()};
    BlobWriter blob{layout};
    const auto packer = compressTo(blob, Compression::gzip);
    packer->takeAll(plain);
    packer->finish();
    packed = blob.commit(media::kLayerGzip, {}, BlobWriter::Durability::later);
    syncBlobs(layout);
    rememberCompressed(layout, form, *packed);
  }
  Descriptor result = layer;
  result.mediaType = layerType(Compression::gzip, isDocker);
  result.digest = packed->digest;
  result.size = packed->size;
  return result;
}

// The old digest of every document that changed, and the new descriptor.
using Changes = std::map<Digest, Descriptor>;

void replace(const Changes& changes, Descriptor& descriptor) {
  const auto change = changes.find(descriptor.digest);
  if (change == changes.end()) return;
  descriptor.digest = change->second.digest;
  descriptor.size = change->second.size;
}

void compressImage(const Layout& layout, Image& image, Changes& changes) {
  bool isChanged = false;
  Manifest manifest = image.manifest;
  for (size_t i = 0; i < manifest.layers.size() && i < image.config.diffIds.size(); ++i) {
    Descriptor& layer = manifest.layers[i];
    const bool isPlain = layer.mediaType == media::kLayer || layer.mediaType == media::kDockerLayer;
    if (!isPlain) continue;
    layer = compressLayer(layout, layer, image.config.diffIds[i],
                          layer.mediaType == media::kDockerLayer);
    isChanged = true;
  }
  if (!isChanged) return;
  const Descriptor old = image.manifestDescriptor;
  image.manifestDescriptor =
      putBlob(layout, toJson(manifest), old.mediaType, BlobWriter::Durability::later);
  image.manifestDescriptor.platform = old.platform;
  image.manifestDescriptor.annotations = old.annotations;
  image.manifest = std::move(manifest);
  changes.emplace(old.digest, image.manifestDescriptor);
}

Descriptor rewriteIndex(const Layout& layout, const Descriptor& old, const Changes& changes) {
  Index index = parseIndex(readDocument(layout, old), old.digest.str());
  for (Descriptor& entry : index.manifests) replace(changes, entry);
  const Descriptor written =
      putBlob(layout, toJson(index), old.mediaType, BlobWriter::Durability::later);
  Descriptor result = old;
  result.digest = written.digest;
  result.size = written.size;
  return result;
}

}  // namespace

void addIndex(const Layout& layout, const Descriptor& index, SaveItem& item) {
  item.index = index;
  item.index->annotations.clear();
  item.annotations = index.annotations;
  item.annotations.erase(kRefName);
  item.annotations.erase("io.containerd.image.name");
  IndexWalk{layout, item}.visit(index, 0);
  if (item.others.empty()) {
    throw Error::make(Kind::notFound, "nothing of the index {} is in the store",
                      index.digest.str());
  }
  auto own = std::find_if(item.others.begin(), item.others.end(), [](const Image& image) {
    return image.config.platform.architecture == Platform::host().architecture;
  });
  if (own == item.others.end()) own = item.others.begin();
  item.image = std::move(*own);
  item.others.erase(own);
}

void compressItem(const Layout& layout, SaveItem& item) {
  Changes changes;
  compressImage(layout, item.image, changes);
  for (Image& other : item.others) compressImage(layout, other, changes);
  if (!item.index || changes.empty()) return;
  if (!item.documents.empty()) {
    throw Error{Kind::unsupported, "an index of indexes cannot be compressed on the way out"}.hint(
        "save it without --compress");
  }
  item.index = rewriteIndex(layout, *item.index, changes);
}

}  // namespace img::store
