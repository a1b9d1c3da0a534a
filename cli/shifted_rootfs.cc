#include "cli/shifted_rootfs.h"

#include <fcntl.h>

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
  store::shiftOwners(copy.get(), shift);
  sys::renameat(folder, kPart, folder, kCopy);
  return copy;
}

}  // namespace

Fd mountShifted(const store::Layout& layout, const store::ContainerConfig& config,
                const store::RootfsSpec& rootfs, const runtime::UserNamespace& user) {
  const Fd folder = store::Containers{layout}.folder(config.id);
  shiftBack(layout, config.id);  // its keeper was killed
  const store::OwnerShift shift{rangesOf(user.uids), rangesOf(user.gids)};
  const Fd copy = copyOfImage(folder.get(), rootfs, shift);
  // The mark first: who finds it moves back what has been moved.
  fs::replaceFile(folder.get(), kMark, shift.text(), 0600, fs::Sync::none);
  store::shiftOwners(sys::openDirectory(folder.get(), "upper").get(), shift);
  store::RootfsSpec spec = rootfs;
  spec.layers = {copy.get()};
  return store::mountRootfs(spec);
}

void shiftBack(const store::Layout& layout, const std::string& id) {
  const Fd folder = store::Containers{layout}.folder(id);
  const auto text = fs::tryReadFile(folder.get(), kMark);
  if (!text) return;
  const store::OwnerShift shift = store::OwnerShift::parse(*text).inverse();
  store::shiftOwners(sys::openDirectory(folder.get(), "upper").get(), shift);
  sys::tryUnlinkat(folder.get(), kMark, 0);
}

void shiftBackQuietly(const store::Layout& layout, const store::ContainerConfig& config) {
  const store::NamespaceRecord& names = config.namespaces;
  if (names.user.empty() && names.uidMap.empty() && names.gidMap.empty()) return;
  try {
    shiftBack(layout, config.id);
  } catch (const Error& error) {
    log::warn("the files of container {}: {}", config.name, error.cause());
  }
}

void requireOwnIds(const store::Layout& layout, const store::ContainerRecord& record) {
  const Fd folder = store::Containers{layout}.folder(record.config.id);
  if (!sys::tryFstatat(folder.get(), kMark)) return;
  if (!record.state.isAlive()) return shiftBack(layout, record.config.id);
  throw Error::make(Kind::busy,
                    "the files of container {} have the ids of its own map while it runs",
                    record.config.name)
      .hint(fmt::format("stop it first: img stop {}", record.config.name));
}

}  // namespace img::cli
