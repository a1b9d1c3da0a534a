// What --cache-from gives to a build: records that are looked up when the local cache has none, and
// layers that are fetched once their files are needed. Only documents are read at first
// (cli.md 9.4). A cache that cannot be read costs a warning; a layer that cannot be had makes its
// record a miss, with the reason, and the build starts anew without it.
// One per build, all its platforms and attempts; used by the build's one thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "builder/cache.h"
#include "builder/cache_document.h"
#include "builder/cache_origin.h"
#include "builder/events.h"
#include "builder/miss.h"
#include "builder/progress.h"
#include "builder/request.h"

namespace img::builder {

class ImportedCaches final : public LayerSource,
                             public std::enable_shared_from_this<ImportedCaches> {
 public:
  ImportedCaches(const store::Layout& layout, const Request& request, Progress& progress);
  ~ImportedCaches() override;

  // Another attempt of the build: nobody fetches anything any more.
  void restart() { inFlight_.clear(); }
  // Reads the documents of all caches, once, in worker processes side by side.
  Task<> load(Events& events);
  [[nodiscard]] bool isLoaded() const { return isLoaded_; }

  struct Hit {
    StepCache::Hit found;
    std::string from;  // the cache's name
  };
  // A record whose layer can be had as far as is known.
  [[nodiscard]] std::optional<Hit> find(const Digest& key);
  // Why find() gave nothing although a cache knows one of the keys.
  [[nodiscard]] std::optional<Miss> whyAbsent(const std::vector<Digest>& keys) const;
  // Whether the same step was executed over other layers: looking for it by content is worth it.
  [[nodiscard]] bool hasStep(const Digest& own) const { return owns_.count(own) != 0; }

  Task<> fetch(Events& events, std::vector<LayerRef> layers) override;
  // The same for a process that waits for nothing else; false: not all could be had.
  bool fetchNow(const std::vector<LayerRef>& layers);

  // The form in which a cache has the layer, if it is compressed like that.
  [[nodiscard]] std::optional<store::Descriptor> formOf(const Digest& diffId,
                                                        Compression compression) const;
  // Blobs that were not what their name says.
  [[nodiscard]] bool isDamaged(const Digest& blob) const { return damaged_.count(blob) != 0; }

  [[nodiscard]] bool hasMount(const Digest& identity) const { return mounts_.count(identity) != 0; }
  // The content of a cache mount into an empty folder; for worker processes.
  void fillMount(const Digest& identity, int folder) const;

 private:
  struct Cache;
  struct Place {  // of a layer
    size_t cache = 0, image = 0;
    std::uint64_t layer = 0;
  };
  struct Record {
    size_t cache = 0, image = 0, step = 0;
  };

  void take(Cache& cache, const std::vector<CacheOrigin::Document>& documents);
  void addRecords(size_t cache, size_t image);
  [[nodiscard]] const CacheEntry& entryOf(const Record& record) const;
  [[nodiscard]] std::optional<Digest> diffIdOf(const Record& record) const;
  [[nodiscard]] bool isExpired(const CacheEntry& entry) const;
  [[nodiscard]] bool isUsable(const Record& record) const;
  [[nodiscard]] WantedLayer wantedAt(const Place& place) const;
  [[nodiscard]] std::optional<Place> placeOf(const Digest& diffId) const;
  // What nobody is fetching yet, by the cache that is asked for it.
  std::map<size_t, std::vector<Digest>> wantedOf(const std::vector<LayerRef>& layers);
  [[nodiscard]] std::string fetchFrom(size_t cache, const std::vector<Digest>& diffIds) const;
  void note(size_t cache, const std::vector<Digest>& diffIds, const std::string& answer);
  bool settle(const std::vector<LayerRef>& layers) const;

  const store::Layout& layout_;
  const Request& request_;
  Progress& progress_;
  bool isLoaded_ = false;
  std::vector<Cache> caches_;
  std::map<Digest, std::vector<Record>> records_;  // by key; the first cache first
  std::map<Digest, std::vector<Place>> layers_;    // by diff ID
  std::map<Digest, Place> mounts_;                 // by identity
  std::set<Digest> owns_, damaged_, inFlight_;
  std::map<std::pair<size_t, Digest>, Kind> lost_;  // diff IDs that a cache could not give
};

}  // namespace img::builder
