#include "cli/container_size.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "store/layers.h"

namespace img::cli {
namespace {

// A running container may remove what we are about to look at.
std::uint64_t bytesBelow(int dir) {
  std::uint64_t bytes = 0;
  for (const fs::Entry& entry : fs::list(dir)) {
    const auto st = sys::tryFstatat(dir, entry.name);
    if (!st) continue;
    if (S_ISREG(st->st_mode)) bytes += static_cast<std::uint64_t>(st->st_size);
    if (!S_ISDIR(st->st_mode)) continue;
    const auto child = sys::tryOpenat(dir, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (child) bytes += bytesBelow(child->get());
  }
  return bytes;
}

}  // namespace

ContainerSize containerSize(const store::Layout& layout, const store::ContainerConfig& config) {
  ContainerSize size;
  const Fd folder = store::Containers{layout}.folder(config.id);
  size.own = bytesBelow(sys::openDirectory(folder.get(), "upper").get());
  const store::Layers layers{layout};
  for (const Digest& diffId : config.diffIds) {
    if (layers.has(diffId)) size.image += layers.sizeOf(diffId);
  }
  return size;
}

}  // namespace img::cli
