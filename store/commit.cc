#include "store/commit.h"

#include <algorithm>
#include <ctime>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/layers.h"
#include "store/seal.h"

namespace img::store {
namespace {

struct Times {
  std::string created;
  std::optional<std::int64_t> clampMtime;
};

Times timesOf(const CommitRequest& request) {
  if (!request.epoch) return {timestampNow(), std::nullopt};
  return {text::formatTime(*request.epoch), request.epoch};
}

std::string shellJoin(const std::vector<std::string>& argv) {
  return text::join(argv, " ");
}

// The container's changes, or with `squash` all it sees: {upper, image layers from the top}.
// nullopt: there are no changes.
std::optional<SealedLayer> sealChanges(const Layout& layout, const ContainerConfig& from,
                                       const CommitRequest& request,
                                       std::optional<std::int64_t> clampMtime) {
  const Fd folder = Containers{layout}.folder(from.id);
  const Fd upper = sys::openDirectory(folder.get(), "upper");
  if (!request.squash && fs::list(upper.get()).empty()) return std::nullopt;
  const Layers layers{layout};
  std::vector<Fd> open;
  std::vector<int> lowers;
  for (auto diffId = from.diffIds.rbegin(); diffId != from.diffIds.rend(); ++diffId) {
    open.push_back(layers.open(*diffId));
    lowers.push_back(open.back().get());
  }
  SealOptions options;
  options.clampMtime = clampMtime;
  if (request.squash) {
    options.isBottom = true;
    lowers.insert(lowers.begin(), upper.get());
    return sealLayer(layout, lowers, options, BlobWriter::Durability::now);
  }
  options.lowers = std::move(lowers);
  SealedLayer sealed = sealLayer(layout, upper.get(), options, BlobWriter::Durability::now);
  if (sealed.stats.entries == 0) return std::nullopt;
  return sealed;
}

}  // namespace

Image commitContainer(const Layout& layout, const ContainerRecord& container,
                      const CommitRequest& request) try {
  const ContainerConfig& from = container.config;
  const Times times = timesOf(request);
  const Image parent = Images{layout}.get(from.imageId.str());
  ImageConfig config = request.config;
  std::vector<Descriptor> blobs = parent.manifest.layers;
  const auto sealed = sealChanges(layout, from, request, times.clampMtime);
  if (request.squash) {
    config.diffIds.clear();
    config.history.clear();
    blobs.clear();
  }
  if (sealed) {
    config.diffIds.push_back(sealed->descriptor.digest);
    blobs.push_back(sealed->descriptor);
  }
  config.created = times.created;
  config.author = request.author;
  config.history.push_back(
      {times.created, shellJoin(from.argv), request.author, request.message, !sealed});

  // From here on everything the image needs is durable; the name makes it visible.
  Image image = writeImage(layout, config, blobs);
  Images{layout}.publish(image.manifestDescriptor, request.names);
  return image;
} catch (Error& error) {
  error.during("committing container {}", container.config.id.substr(0, 12));
  throw;
}

}  // namespace img::store
