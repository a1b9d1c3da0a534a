#include "builder/layer_form.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <string_view>

#include "base/compress.h"
#include "builder/cache.h"
#include "store/blobs.h"
#include "store/layer_type.h"
#include "store/layers.h"
#include "store/seal.h"

namespace img::builder {
namespace {

void addDiffIds(Hasher& hasher, const std::vector<LayerRef>& layers) {
  hasher.field(static_cast<std::uint64_t>(layers.size()));
  for (const LayerRef& layer : layers) hasher.field(layer->diffId->str());
}

void addTime(Hasher& hasher, const std::optional<std::int64_t>& time) {
  hasher.field(std::uint64_t{time ? 1U : 0U});
  hasher.field(static_cast<std::uint64_t>(time.value_or(0)));
}

// Topmost first, unpacked when they are not yet.
std::vector<int> foldersOf(const store::Layout& layout, const std::vector<LayerRef>& layers) {
  Snapshot snapshot;
  snapshot.layers = layers;
  return openFolders(layout, snapshot);
}

LayerRef recordOf(const StepCache& cache, const Digest& key, const LayerRef& model) {
  auto hit = cache.find(key);
  if (!hit) return nullptr;
  // Times and origin are facts about this build, not about the bytes.
  hit->layer->created = model->created;
  hit->layer->isNew = model->isNew;
  return hit->layer;
}

LayerRef layerOf(const store::SealedLayer& sealed, const LayerRef& model) {
  auto layer = std::make_shared<Layer>();
  layer->descriptor = sealed.descriptor;
  layer->diffId = sealed.descriptor.digest;
  layer->bytes = sealed.stats.bytes;
  layer->created = model->created;
  layer->isNew = model->isNew;
  return layer;
}

store::SealOptions sealOptions(const TimeRule& times, std::vector<int> lowers) {
  store::SealOptions options;
  options.clampMtime = times.clamp;
  options.setMtime = times.set;
  options.lowers = std::move(lowers);
  options.isBottom = true;
  return options;
}

struct CompressionJob {
  Digest key;
  unsigned threads = 1;
};

void compressBlob(const store::Layout& layout, const Layer& layer, const LayerCompression& wanted,
                  const CompressionJob& job) {
  const store::Descriptor& from = *layer.descriptor;
  FdSource raw{store::openBlob(layout, from.digest), from.digest.str()};
  const std::unique_ptr<Source> plain = store::openLayerStream(from, raw);
  store::BlobWriter blob{layout};
  if (wanted.kind == Compression::none) {
    copyAll(*plain, blob);
  } else {
    const auto packer = compressTo(blob, wanted.kind, wanted.level, job.threads);
    packer->takeAll(*plain);
    packer->finish();
  }
  Layer result;
  result.descriptor =
      blob.commit(store::layerType(wanted.kind), {}, store::BlobWriter::Durability::later);
  result.diffId = layer.diffId;
  result.bytes = layer.bytes;
  result.created = layer.created;
  StepCache{layout}.remember(job.key, result, job.key, "compressed layer");
}

Digest compressionKey(const Layer& layer, const LayerCompression& wanted) {
  Hasher hasher = startKey("compressed", Digest{});
  hasher.field(layer.diffId->str());
  hasher.field(compressionName(wanted.kind));
  hasher.field(static_cast<std::uint64_t>(wanted.level.value_or(0)));
  return hasher.finish();
}

}  // namespace

LayerRef squashLayers(const store::Layout& layout, const std::vector<LayerRef>& below,
                      const std::vector<LayerRef>& layers, const TimeRule& times) {
  Hasher hasher = startKey("squash", Digest{});
  addDiffIds(hasher, below);
  addDiffIds(hasher, layers);
  addTime(hasher, times.clamp);
  addTime(hasher, times.set);
  const Digest key = hasher.finish();
  const StepCache cache{layout};
  const LayerRef& model = layers.back();
  if (LayerRef known = recordOf(cache, key, model)) return known;
  const store::SealedLayer sealed = store::sealLayer(layout, foldersOf(layout, layers),
                                                     sealOptions(times, foldersOf(layout, below)));
  LayerRef layer = layerOf(sealed, model);
  cache.remember(key, *layer, key, "squashed layers");
  return layer;
}

std::vector<LayerRef> rewriteTimes(const store::Layout& layout, const std::vector<LayerRef>& layers,
                                   size_t baseCount, const TimeRule& times) {
  const StepCache cache{layout};
  std::vector<LayerRef> result{layers.begin(),
                               layers.begin() + static_cast<std::ptrdiff_t>(baseCount)};
  for (size_t i = baseCount; i < layers.size(); ++i) {
    const std::vector<LayerRef> below{layers.begin(),
                                      layers.begin() + static_cast<std::ptrdiff_t>(i)};
    Hasher hasher = startKey("rewritten", Digest{});
    addDiffIds(hasher, below);
    hasher.field(layers[i]->diffId->str());
    addTime(hasher, times.clamp);
    addTime(hasher, times.set);
    const Digest key = hasher.finish();
    LayerRef layer = recordOf(cache, key, layers[i]);
    if (!layer) {
      layer = layerOf(store::sealLayer(layout, foldersOf(layout, {layers[i]}),
                                       sealOptions(times, foldersOf(layout, below))),
                      layers[i]);
      cache.remember(key, *layer, key, "layer with other times");
    }
    result.push_back(std::move(layer));
  }
  return result;
}

std::vector<LayerRef> compressLayers(const store::Layout& layout,
                                     const std::vector<LayerRef>& layers, size_t baseCount,
                                     const LayerCompression& wanted) {
  const StepCache cache{layout};
  std::vector<LayerRef> result = layers;
  std::vector<std::function<void()>> tasks;
  std::vector<std::pair<size_t, Digest>> made;
  unsigned threads = 1;  // set before a task runs
  for (size_t i = wanted.isForced ? 0 : baseCount; i < layers.size(); ++i) {
    const bool hasLevel = wanted.isForced && wanted.level;
    if (store::promisedCompression(*layers[i]->descriptor) == wanted.kind && !hasLevel) continue;
    const Digest key = compressionKey(*layers[i], wanted);
    made.emplace_back(i, key);
    if (cache.find(key)) continue;
    tasks.emplace_back([&layout, &wanted, &threads, layer = layers[i].get(), key] {
      compressBlob(layout, *layer, wanted, {key, threads});
    });
  }
  threads = compressionThreads(tasks.size());
  if (tasks.size() == 1) {
    tasks.front()();
  } else {
    store::runInChildren(tasks);
  }
  for (const auto& [i, key] : made) {
    result[i] = recordOf(cache, key, layers[i]);
    if (!result[i])
      throw Error::make(Kind::failed, "the compressed layer {} is gone", layers[i]->diffId->str());
  }
  return result;
}

}  // namespace img::builder
