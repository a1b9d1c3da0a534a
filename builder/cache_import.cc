#include "builder/cache_import.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/process.h"
#include "base/text.h"
#include "builder/layer_step.h"
#include "store/blobs.h"
#include "store/layer_type.h"
#include "store/layers.h"
#include "store/unpack.h"

namespace img::builder {
namespace {

std::string encodeDocuments(const std::vector<CacheOrigin::Document>& documents) {
  Json json = Json::array();
  for (const CacheOrigin::Document& document : documents)
    json.push_back({document.manifest, document.config});
  return dumpJson(json);
}

std::string encodeResults(const std::vector<FetchedLayer>& results) {
  Json json = Json::array();
  for (const FetchedLayer& result : results) {
    if (result.error) {
      json.push_back({{"error", result.error->toJson()}});
    } else {
      json.push_back({{"size", result.size}});
    }
  }
  return dumpJson(json);
}

// The cache does not concern what the build does: only a warning.
Error cacheWarning(const std::string& name, const Error& error) {
  Error warning = error;
  warning.prefixCause(fmt::format("cache {}: ", text::escape(name)));
  return warning;
}

}  // namespace

struct ImportedCaches::Cache {
  std::unique_ptr<CacheOrigin> origin;
  std::vector<CacheImage> images;
  bool isUnreachable = false;
};

ImportedCaches::ImportedCaches(const store::Layout& layout, const Request& request,
                               Progress& progress)
    : layout_(layout), request_(request), progress_(progress) {
  for (const CachePlace& place : request.cacheFrom) {
    for (auto& origin : originsOf(layout, place, request.registry))
      caches_.push_back({std::move(origin), {}, false});
  }
  isLoaded_ = caches_.empty();
}

ImportedCaches::~ImportedCaches() = default;

Task<> ImportedCaches::load(Events& events) {
  isLoaded_ = true;
  std::vector<Child> readers;
  for (const Cache& cache : caches_)
    readers.push_back(
        Child::fork([origin = cache.origin.get()] { return encodeDocuments(origin->read()); }));
  for (size_t i = 0; i < caches_.size(); ++i) {
    co_await events.readable(readers[i].pidfd());
    try {
      std::vector<CacheOrigin::Document> documents;
      for (const Json& item : parseJson(readers[i].finish(), "documents of a cache"))
        documents.push_back({item.at(0), item.at(1)});
      take(caches_[i], documents);
    } catch (const Error& error) {
      progress_.warning(cacheWarning(caches_[i].origin->name(), error));
    }
  }
}

void ImportedCaches::take(Cache& cache, const std::vector<CacheOrigin::Document>& documents) {
  const std::string name = cache.origin->name();
  size_t steps = 0;
  for (const CacheOrigin::Document& document : documents) {
    auto image = parseCacheImage(document.manifest, document.config, name);
    if (!image) continue;
    steps += image->document.steps.size();
    cache.images.push_back(std::move(*image));
  }
  const auto number = static_cast<size_t>(&cache - caches_.data());
  for (size_t i = 0; i < cache.images.size(); ++i) addRecords(number, i);
  progress_.notice(fmt::format("importing cache {}: {} steps", text::escape(name), steps));
}

void ImportedCaches::addRecords(size_t cache, size_t image) {
  const CacheImage& from = caches_[cache].images[image];
  for (size_t i = 0; i < from.document.steps.size(); ++i) {
    const CacheEntry& step = from.document.steps[i];
    for (const Digest& key : step.keys) records_[key].push_back({cache, image, i});
    if (step.content) records_[*step.content].push_back({cache, image, i});
    if (step.own) owns_.insert(*step.own);
  }
  for (std::uint64_t i = 0; i < from.diffIds.size(); ++i)
    layers_[from.diffIds[i]].push_back({cache, image, i});
  for (const CacheMountEntry& mount : from.document.mounts)
    mounts_.try_emplace(mount.identity, Place{cache, image, mount.layer});
}

const CacheEntry& ImportedCaches::entryOf(const Record& record) const {
  return caches_[record.cache].images[record.image].document.steps[record.step];
}

std::optional<Digest> ImportedCaches::diffIdOf(const Record& record) const {
  const auto layer = entryOf(record).layer;
  if (!layer) return std::nullopt;
  return caches_[record.cache].images[record.image].diffIds[*layer];
}

WantedLayer ImportedCaches::wantedAt(const Place& place) const {
  const CacheImage& image = caches_[place.cache].images[place.image];
  return {image.layers[place.layer], image.diffIds[place.layer]};
}

// Where the layer can still be had.
std::optional<ImportedCaches::Place> ImportedCaches::placeOf(const Digest& diffId) const {
  const auto found = layers_.find(diffId);
  if (found == layers_.end()) return std::nullopt;
  for (const Place& place : found->second) {
    const Cache& cache = caches_[place.cache];
    if (cache.isUnreachable || lost_.count({place.cache, diffId}) != 0) continue;
    if (cache.origin->mayHave(wantedAt(place).blob)) return place;
  }
  return std::nullopt;
}

bool ImportedCaches::isUsable(const Record& record) const {
  const auto diffId = diffIdOf(record);
  return diffId && (store::hasBlob(layout_, *diffId) || placeOf(*diffId));
}

std::optional<ImportedCaches::Hit> ImportedCaches::find(const Digest& key) {
  const auto found = records_.find(key);
  if (found == records_.end()) return std::nullopt;
  for (const Record& record : found->second) {
    if (!isUsable(record)) continue;
    const CacheEntry& entry = entryOf(record);
    if (isExpired(entry)) continue;
    auto layer = std::make_shared<Layer>();
    layer->diffId = diffIdOf(record);
    layer->bytes = entry.bytes;
    layer->created = entry.created;
    layer->source = shared_from_this();
    settle({layer});
    StepCache::Hit hit{std::move(layer), entry.state, {entry.keys, entry.own}, entry.instruction};
    return Hit{std::move(hit), caches_[record.cache].origin->name()};
  }
  return std::nullopt;
}

bool ImportedCaches::isExpired(const CacheEntry& entry) const {
  if (!request_.cacheTtl) return false;
  const auto made = text::parseTimeSeconds(entry.created);
  return !made || *made <= ::time(nullptr) - *request_.cacheTtl;
}

std::optional<Miss> ImportedCaches::whyAbsent(const std::vector<Digest>& keys) const {
  for (const Digest& key : keys) {
    const auto found = records_.find(key);
    if (found == records_.end()) continue;
    const Record& record = found->second.front();
    const std::string name = caches_[record.cache].origin->name();
    const auto diffId = diffIdOf(record);
    Miss miss;
    const auto lost = diffId ? lost_.find({record.cache, *diffId}) : lost_.end();
    miss.reason = "not-exported";
    if (isExpired(entryOf(record))) {
      miss.reason = "ttl";
      miss.text = "older than --cache-ttl";
    } else if (diffId && caches_[record.cache].isUnreachable) {
      miss.text = fmt::format("cache {} cannot be reached", name);
    } else if (lost == lost_.end()) {
      miss.text = "layer not exported to cache " + name;
    } else if (lost->second == Kind::corrupt) {
      miss.reason = "damaged";
      miss.text = "layer damaged in cache " + name;
    } else {
      miss.text = "layer gone from cache " + name;
    }
    return miss;
  }
  return std::nullopt;
}

// Gives what is in the store its descriptor; false: some are missing still.
bool ImportedCaches::settle(const std::vector<LayerRef>& layers) const {
  bool isComplete = true;
  for (const LayerRef& layer : layers) {
    if (!layer->source) continue;
    if (!store::hasBlob(layout_, *layer->diffId)) {
      isComplete = false;
      continue;
    }
    store::Descriptor descriptor;
    descriptor.mediaType = store::media::kLayer;
    descriptor.digest = *layer->diffId;
    descriptor.size = store::blobSize(layout_, *layer->diffId);
    layer->descriptor = std::move(descriptor);
    layer->source = nullptr;
  }
  return isComplete;
}

std::map<size_t, std::vector<Digest>> ImportedCaches::wantedOf(
    const std::vector<LayerRef>& layers) {
  std::map<size_t, std::vector<Digest>> wanted;
  std::set<Digest> seen;
  for (const LayerRef& layer : layers) {
    if (!layer->source || inFlight_.count(*layer->diffId) != 0) continue;
    if (!seen.insert(*layer->diffId).second) continue;
    if (const auto place = placeOf(*layer->diffId)) wanted[place->cache].push_back(*layer->diffId);
  }
  return wanted;
}

std::string ImportedCaches::fetchFrom(size_t cache, const std::vector<Digest>& diffIds) const {
  std::vector<WantedLayer> wanted;
  for (const Digest& diffId : diffIds) {
    const auto& places = layers_.at(diffId);
    const auto place = std::find_if(places.begin(), places.end(),
                                    [&](const Place& item) { return item.cache == cache; });
    wanted.push_back(wantedAt(*place));
  }
  return encodeResults(fetchLayers(layout_, *caches_[cache].origin, wanted));
}

void ImportedCaches::note(size_t cache, const std::vector<Digest>& diffIds,
                          const std::string& answer) {
  const Json results = parseJson(answer, "result of fetching layers");
  for (size_t i = 0; i < diffIds.size(); ++i) {
    const auto problem = results.at(i).find("error");
    if (problem == results.at(i).end()) continue;
    const Error error = Error::fromJson(problem->get<std::string>());
    // Only what is wrong with this very blob leaves the others alone.
    const bool isItsOwn = error.kind() == Kind::corrupt || error.kind() == Kind::notFound;
    if (!isItsOwn) caches_[cache].isUnreachable = true;
    lost_.emplace(std::pair{cache, diffIds[i]}, error.kind());
    if (error.kind() == Kind::corrupt) {
      for (const Place& place : layers_.at(diffIds[i])) {
        if (place.cache == cache) damaged_.insert(wantedAt(place).blob.digest);
      }
    }
    Error warning = cacheWarning(caches_[cache].origin->name(), error);
    warning.during("fetching the layer {}", diffIds[i].str());
    progress_.warning(warning);
  }
}

Task<> ImportedCaches::fetch(Events& events, std::vector<LayerRef> layers) {
  while (!settle(layers)) {
    const auto wanted = wantedOf(layers);
    for (const auto& [cache, diffIds] : wanted) {
      inFlight_.insert(diffIds.begin(), diffIds.end());
      const size_t number = cache;
      const std::vector<Digest>& list = diffIds;
      Child child = Child::fork([&] { return fetchFrom(number, list); });
      co_await events.readable(child.pidfd());
      for (const Digest& diffId : diffIds) inFlight_.erase(diffId);
      note(cache, diffIds, child.finish());
    }
    if (!wanted.empty()) continue;
    const auto isUnderWay = [&](const LayerRef& layer) {
      return layer->source && inFlight_.count(*layer->diffId) != 0;
    };
    if (std::none_of(layers.begin(), layers.end(), isUnderWay)) throw LayersLost{};
    co_await events.until([&] { return std::none_of(layers.begin(), layers.end(), isUnderWay); });
  }
}

bool ImportedCaches::fetchNow(const std::vector<LayerRef>& layers) {
  while (!settle(layers)) {
    const auto wanted = wantedOf(layers);
    if (wanted.empty()) return false;
    for (const auto& [cache, diffIds] : wanted) note(cache, diffIds, fetchFrom(cache, diffIds));
  }
  return true;
}

std::optional<store::Descriptor> ImportedCaches::formOf(const Digest& diffId,
                                                        Compression compression) const {
  const auto found = layers_.find(diffId);
  if (found == layers_.end()) return std::nullopt;
  for (const Place& place : found->second) {
    const store::Descriptor& blob = wantedAt(place).blob;
    if (store::promisedCompression(blob) == compression && damaged_.count(blob.digest) == 0)
      return blob;
  }
  return std::nullopt;
}

void ImportedCaches::fillMount(const Digest& identity, int folder) const {
  const Place& place = mounts_.at(identity);
  const WantedLayer wanted = wantedAt(place);
  if (!store::hasBlob(layout_, wanted.diffId)) {
    const std::vector<FetchedLayer> results =
        fetchLayers(layout_, *caches_[place.cache].origin, {wanted});
    if (results.front().error) throw *results.front().error;
  }
  FdSource tar{store::openBlob(layout_, wanted.diffId), wanted.diffId.str()};
  store::unpackLayer(tar, folder, "cache mount");
}

}  // namespace img::builder
