#include "store/inventory.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "store/compressed_forms.h"
#include "store/images.h"
#include "store/references.h"
#include "store/volumes.h"

namespace img::store {
namespace {

// Blobs and views below one root.
struct Closure {
  std::set<Digest> blobs, views;
  [[nodiscard]] bool has(bool isView, const Digest& digest) const {
    return (isView ? views : blobs).contains(digest);
  }
};

class Counting {
 public:
  Counting(const Layout& layout, const IsFailedStep& isFailedStep)
      : layout_(layout), isFailedStep_(isFailedStep), documents_(layout), roots_(layout) {}

  Inventory take() {
    roots_.refresh();
    readContainers();
    readImages();
    readCache();
    countOwn();
    countObjects(layout_.blobs(), false);
    countObjects(layout_.layers(), true);
    fillImageRooms();
    countContainers();
    countVolumes();
    countCache();
    countRest();
    return std::move(inventory_);
  }

 private:
  void follow(const Digest& document, Closure& closure);
  void readContainers();
  void readImages();
  void readCache();
  void countOwn();
  void countObjects(int folder, bool isView);
  void creditImages(bool isView, const Digest& digest, const Usage& size);
  void fillImageRooms();
  void countContainers();
  void countVolumes();
  void countCache();
  void countMounts(const Fd& mounts);
  void countRest();

  const Layout& layout_;
  const IsFailedStep& isFailedStep_;
  Documents documents_;
  Roots roots_;
  UsageCounter counter_;
  Inventory inventory_;
  std::vector<ContainerRecord> containers_;
  std::map<Digest, Closure> images_;  // by manifest
  Closure active_;                    // below images that containers were made from
  std::set<Digest> containerLayers_;
  std::unordered_map<Digest, size_t> imageCount_[2];  // objects -> images; blobs, views
  std::unordered_map<Digest, Usage> sizes_[2];        // likewise
  Closure cached_;
  std::set<std::string> seenTop_;
};

bool isLocked(int dir, const std::string& name) {
  const auto fd = sys::tryOpenat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  return fd && !sys::tryFlock(fd->get(), true);
}

void Counting::follow(const Digest& digest, Closure& closure) {
  if (!closure.blobs.insert(digest).second) return;
  const Targets* found = documents_.tryFind(digest);
  if (found == nullptr) return;
  const Targets targets = *found;  // the table of documents may move while we go on
  closure.blobs.insert(targets.layers.begin(), targets.layers.end());
  closure.views.insert(targets.diffIds.begin(), targets.diffIds.end());
  for (const Digest& document : targets.documents) follow(document, closure);
}

void Counting::readContainers() {
  containers_ = Containers{layout_}.list();
  for (const ContainerRecord& record : containers_)
    containerLayers_.insert(record.config.diffIds.begin(), record.config.diffIds.end());
}

void Counting::readImages() {
  for (const Digest& manifest : roots_.manifests()) {
    Closure& closure = images_[manifest];
    follow(manifest, closure);
    ImageRoom& room = inventory_.imageRooms[manifest];
    for (const ContainerRecord& record : containers_) {
      if (closure.blobs.contains(record.config.imageId)) ++room.containers;
    }
    if (room.containers > 0) {
      ++inventory_.images.active;
      active_.blobs.insert(closure.blobs.begin(), closure.blobs.end());
      active_.views.insert(closure.views.begin(), closure.views.end());
    }
    for (const Digest& blob : closure.blobs) ++imageCount_[0][blob];
    for (const Digest& view : closure.views) ++imageCount_[1][view];
  }
  inventory_.images.total = images_.size();
}

void Counting::readCache() {
  for (const auto& [key, step] : roots_.steps()) {
    if (step.blob) cached_.blobs.insert(*step.blob);
    if (step.diffId) cached_.views.insert(*step.diffId);
    ++inventory_.cache.total;
    if (step.blob && imageCount_[0].contains(*step.blob)) ++inventory_.cache.active;
  }
  for (const auto& [diffId, blob] : compressedForms(layout_)) cached_.blobs.insert(blob);
}

// The root and the folders themselves, index.json and the like belong to what the store is for.
void Counting::countOwn() {
  Usage& own = inventory_.images.size;
  own += counter_.countOne(layout_.fd(), ".");
  for (const char* name : {"oci-layout", "index.json", "version"}) {
    own += counter_.countOne(layout_.fd(), name);
    seenTop_.insert(name);
  }
  for (const char* name : {"blobs", "blobs/sha256", "layers"}) {
    own += counter_.countOne(layout_.fd(), name);
    seenTop_.insert(name);
  }
}

void Counting::creditImages(bool isView, const Digest& digest, const Usage& size) {
  sizes_[isView ? 1 : 0].emplace(digest, size);
  inventory_.images.size += size;
  const bool isKept = active_.has(isView, digest) || containerLayers_.contains(digest) ||
                      cached_.has(isView, digest);
  if (!isKept) inventory_.images.reclaimable += size.bytes;
}

void Counting::fillImageRooms() {
  for (const auto& [manifest, closure] : images_) {
    ImageRoom& room = inventory_.imageRooms[manifest];
    for (const int kind : {0, 1}) {
      for (const Digest& digest : kind == 0 ? closure.blobs : closure.views) {
        const auto size = sizes_[kind].find(digest);
        if (size == sizes_[kind].end()) continue;
        room.size += size->second;
        if (imageCount_[kind][digest] == 1) room.unique += size->second;
      }
    }
  }
}

void Counting::countObjects(int folder, bool isView) {
  for (const fs::Entry& entry : fs::list(folder)) {
    const Usage size = counter_.count(folder, entry.name);
    const auto digest = Digest::tryParseHex(entry.name);
    if (digest && imageCount_[isView ? 1 : 0].contains(*digest)) {
      creditImages(isView, *digest, size);
    } else if (digest && containerLayers_.contains(*digest)) {
      inventory_.containers.size += size;
    } else if (digest && cached_.has(isView, *digest)) {
      inventory_.cache.size += size;
      inventory_.cache.reclaimable += size.bytes;
    } else {
      inventory_.staging.size += size;  // garbage, or what a living process has just made
      inventory_.staging.reclaimable += size.bytes;
      ++inventory_.staging.total;
    }
  }
}

void Counting::countContainers() {
  seenTop_.insert("containers");
  inventory_.containers.size += counter_.countOne(layout_.fd(), "containers");
  const Fd folder = sys::openDirectory(layout_.fd(), "containers");
  for (const ContainerRecord& record : containers_) {
    const Usage size = counter_.count(folder.get(), record.config.id);
    const bool isFailed = isFailedStep_(record.config);
    InventoryRow& row = isFailed ? inventory_.failedSteps : inventory_.containers;
    const bool isAlive = record.state.isAlive();
    ++row.total;
    row.active += isAlive ? 1 : 0;
    row.size += size;
    if (!isAlive) row.reclaimable += size.bytes;
    inventory_.containerRooms.push_back({record.config.id, size, 0, isAlive});
  }
  // Half-made records, and the folders of names.
  for (const fs::Entry& entry : fs::list(folder.get())) {
    const bool isKnown =
        std::any_of(containers_.begin(), containers_.end(),
                    [&](const auto& record) { return record.config.id == entry.name; });
    if (!isKnown) inventory_.containers.size += counter_.count(folder.get(), entry.name);
  }
}

void Counting::countVolumes() {
  seenTop_.insert("volumes");
  InventoryRow& row = inventory_.volumes;
  row.size += counter_.countOne(layout_.fd(), "volumes");
  const Fd folder = sys::openDirectory(layout_.fd(), "volumes");
  for (const fs::Entry& entry : fs::list(folder.get())) {
    NamedRoom room{entry.name, counter_.count(folder.get(), entry.name), 0, false};
    for (const ContainerRecord& record : containers_) {
      const auto& mounts = record.config.mounts;
      room.users += std::any_of(mounts.begin(), mounts.end(), [&](const MountRecord& mount) {
        return mount.type == "volume" && mount.name == entry.name;
      });
    }
    room.isActive = room.users > 0;
    ++row.total;
    row.active += room.isActive ? 1 : 0;
    row.size += room.size;
    if (!room.isActive) row.reclaimable += room.size.bytes;
    inventory_.volumeRooms.push_back(std::move(room));
  }
}

void Counting::countMounts(const Fd& mounts) {
  InventoryRow& row = inventory_.mounts;
  for (const fs::Entry& identity : fs::list(mounts.get())) {
    row.size += counter_.countOne(mounts.get(), identity.name);
    const auto folder = sys::tryOpenat(mounts.get(), identity.name, O_RDONLY | O_DIRECTORY);
    if (!folder) continue;
    for (const fs::Entry& entry : fs::list(folder->get())) {
      const Usage size = counter_.count(folder->get(), entry.name);
      row.size += size;
      if (entry.name.ends_with(".lock")) continue;
      NamedRoom room{identity.name + "/" + entry.name, size, 0, false};
      room.isActive = isLocked(folder->get(), entry.name + ".lock");
      ++row.total;
      row.active += room.isActive ? 1 : 0;
      if (!room.isActive) row.reclaimable += size.bytes;
      inventory_.mountRooms.push_back(std::move(room));
    }
  }
}

void Counting::countCache() {
  seenTop_.insert({"cache", "builds"});
  InventoryRow& row = inventory_.cache;
  row.size += counter_.countOne(layout_.fd(), "cache");
  const Fd folder = sys::openDirectory(layout_.fd(), "cache");
  for (const fs::Entry& entry : fs::list(folder.get())) {
    if (entry.name == "mounts") {
      inventory_.mounts.size += counter_.countOne(folder.get(), entry.name);
      countMounts(sys::openDirectory(folder.get(), entry.name));
      continue;
    }
    const Usage size = counter_.count(folder.get(), entry.name);
    inventory_.cacheRooms.push_back({entry.name, size, 0, false});
    row.size += size;
    row.reclaimable += size.bytes;
  }
  const Usage logs = counter_.count(layout_.fd(), "builds");
  row.size += logs;
  row.reclaimable += logs.bytes;
}

void Counting::countRest() {
  InventoryRow& row = inventory_.staging;
  for (const fs::Entry& top : fs::list(layout_.fd())) {
    if (seenTop_.contains(top.name)) continue;
    const bool isWork = top.name == "ingest" || top.name == "trash" || top.name == "leases";
    const auto folder = sys::tryOpenat(layout_.fd(), top.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!isWork || !folder) {
      row.size += counter_.count(layout_.fd(), top.name);
      continue;
    }
    row.size += counter_.countOne(layout_.fd(), top.name);
    for (const fs::Entry& entry : fs::list(folder->get())) {
      const Usage size = counter_.count(folder->get(), entry.name);
      const bool isActive = isLocked(folder->get(), entry.name);
      row.size += size;
      ++row.total;
      row.active += isActive ? 1 : 0;
      if (!isActive) row.reclaimable += size.bytes;
    }
  }
}

}  // namespace

Usage Inventory::sum() const {
  Usage usage;
  for (const InventoryRow* row :
       {&images, &containers, &volumes, &cache, &mounts, &failedSteps, &staging})
    usage += row->size;
  return usage;
}

Inventory takeInventory(const Layout& layout, const IsFailedStep& isFailedStep) {
  return Counting{layout, isFailedStep}.take();
}

}  // namespace img::store
