#include "cli/shifted_rootfs.h"

#include <fcntl.h>

#include <ctime>

#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "store/overlay.h"
#include "store/owner_shift.h"
#include "store/tree_copy.h"

namespace img::cli {
namespace {

constexpr char kCopy[] = "shifted";
constexpr char kPart[] = "shifted.part";
constexpr char kMark[] = "shift";
// Beside the mark while files are being moved, there or back: whom they belong to in the end if
// that is broken off. Without it all of them are moved.
constexpr char kPlan[] = "shift.owners";
constexpr size_t kMaxPlan = size_t{4} << 30;

void keep(int folder, const char* name, const std::string& text) {
  // A power cut may find some files moved, so what says how they come back is on the disk first.
  fs::replaceFile(folder, name, text, 0600, store::fullSync());
}

// The caller has the container's lock.
void moveBack(int folder) {
  const auto mark = fs::tryReadFile(folder, kMark);
  if (!mark) return;
  const Fd upper = sys::openDirectory(folder, "upper");
  auto plan = fs::tryReadFile(folder, kPlan, kMaxPlan);
  if (!plan) {
    const store::OwnerShift shift = store::OwnerShift::parse(*mark).inverse();
    plan = store::ownersBelow(upper.get()).shifted(shift).text();
    keep(folder, kPlan, *plan);
  }
  store::setOwners(upper.get(), store::OwnerPlan::parse(*plan));
  sys::tryUnlinkat(folder, kMark, 0);
  sys::tryUnlinkat(folder, kPlan, 0);
}

std::vector<store::OwnerRange> rangesOf(const std::vector<runtime::IdRange>& map) {
  std::vector<store::OwnerRange> ranges;
  ranges.reserve(map.size());
  for (const runtime::IdRange& range : map) {
    ranges.push_back({range.inside, range.outside, range.count});
  }
  return ranges;
}

// Once for each container: a start after that finds it.
Fd copyOfImage(int folder, const store::RootfsSpec& rootfs, const store::OwnerShift& shift) {
  if (auto known = sys::tryOpenat(folder, kCopy, O_RDONLY | O_DIRECTORY)) return std::move(*known);
  fs::removeTree(folder, kPart);
  sys::mkdirat(folder, kPart, 0755);
  Fd copy = sys::openDirectory(folder, kPart);
  if (!rootfs.layers.empty()) {
    store::OverlaySpec spec;
    spec.lowers = rootfs.layers;
    const Fd image = store::mountOverlay(spec);
    store::copyTree(sys::openDirectory(image.get(), ".").get(), copy.get());
  }
  store::setOwners(copy.get(), store::ownersBelow(copy.get()).shifted(shift));
  sys::renameat(folder, kPart, folder, kCopy);
  return copy;
}

}  // namespace

Fd mountShifted(const store::Layout& layout, const store::ContainerConfig& config,
                const store::RootfsSpec& rootfs, const runtime::UserNamespace& user) {
  const Fd folder = store::Containers{layout}.folder(config.id);
  moveBack(folder.get());  // its keeper was killed
  const store::OwnerShift shift{rangesOf(user.uids), rangesOf(user.gids)};
  const Fd copy = copyOfImage(folder.get(), rootfs, shift);
  const Fd upper = sys::openDirectory(folder.get(), "upper");
  const store::OwnerPlan before = store::ownersBelow(upper.get());
  const store::OwnerPlan after = before.shifted(shift);
  // Before the mark, which says that something may have been moved.
  keep(folder.get(), kPlan, before.text());
  keep(folder.get(), kMark, shift.text());
  store::setOwners(upper.get(), after);
  sys::tryUnlinkat(folder.get(), kPlan, 0);
  store::RootfsSpec spec = rootfs;
  spec.layers = {copy.get()};
  return store::mountRootfs(spec);
}

void shiftBackQuietly(const store::Layout& layout, const store::ContainerConfig& config) {
  const store::NamespaceRecord& names = config.namespaces;
  if (names.user.empty() && names.uidMap.empty() && names.gidMap.empty()) return;
  try {
    moveBack(store::Containers{layout}.folder(config.id).get());
  } catch (const Error& error) {
    log::warn("the files of container {}: {}", config.name, error.cause());
  }
}

void requireOwnIds(const store::Layout& layout, const store::ContainerRecord& record) {
  const store::Containers containers{layout};
  const Fd folder = containers.folder(record.config.id);
  constexpr int kTries = 50;
  for (int tries = 0; sys::tryFstatat(folder.get(), kMark); ++tries) {
    // Whoever has the lock runs it, starts it, or is doing this very thing.
    if (const auto lock = containers.tryHold(record.config.id)) return moveBack(folder.get());
    if (tries == kTries || containers.get(record.config.id).state.isAlive()) {
      throw Error::make(Kind::busy,
                        "the files of container {} have the ids of its own map while it runs",
                        record.config.name)
          .hint(fmt::format("stop it first: img stop {}", record.config.name));
    }
    const timespec pause{0, 10'000'000};
    ::nanosleep(&pause, nullptr);
  }
}

}  // namespace img::cli
