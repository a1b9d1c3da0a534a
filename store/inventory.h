// Where the room of a store goes: every file of it counted once, in the row of what keeps it, so
// that the rows add up to what du(1) says of the store. Nothing is locked; what comes and goes
// meanwhile may be counted or not.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/digest.h"
#include "store/containers.h"
#include "store/layout.h"
#include "store/usage.h"

namespace img::store {

struct InventoryRow {
  size_t total = 0, active = 0;
  Usage size;
  std::uint64_t reclaimable = 0;  // bytes that the matching prune would free
};

struct ImageRoom {
  Usage size;    // its documents, blobs and unpacked layers
  Usage unique;  // what no other image has
  size_t containers = 0;
};
struct NamedRoom {
  std::string name;
  Usage size;
  size_t users = 0;
  bool isActive = false;
};

struct Inventory {
  InventoryRow images;  // and the store's own folders
  InventoryRow containers, volumes;
  InventoryRow cache;  // step records and what only they keep; downloads; logs of builds
  InventoryRow mounts, failedSteps;
  InventoryRow staging;                    // unfinished, being deleted, locks, garbage
  std::map<Digest, ImageRoom> imageRooms;  // by manifest digest, as index.json has it
  std::vector<NamedRoom> containerRooms, volumeRooms, cacheRooms, mountRooms;
  [[nodiscard]] Usage sum() const;
};

// Which containers are kept failed steps; the builder knows.
using IsFailedStep = std::function<bool(const ContainerConfig&)>;
Inventory takeInventory(const Layout& layout, const IsFailedStep& isFailedStep);

}  // namespace img::store
