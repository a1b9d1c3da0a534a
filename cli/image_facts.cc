#include "cli/image_facts.h"

#include <numeric>

#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/containers.h"
#include "store/layers.h"

namespace img::cli {

std::vector<std::uint64_t> layerSizes(const store::Layout& layout, const store::Image& image) {
  const store::Layers layers{layout};
  std::vector<std::uint64_t> sizes;
  for (size_t i = 0; i < image.manifest.layers.size(); ++i) {
    const Digest& diffId = image.config.diffIds[i];  // as many as layers: checked when loaded
    sizes.push_back(layers.has(diffId) ? layers.sizeOf(diffId) : image.manifest.layers[i].size);
  }
  return sizes;
}

std::uint64_t imageSize(const store::Layout& layout, const store::Image& image) {
  const std::vector<std::uint64_t> sizes = layerSizes(layout, image);
  return std::accumulate(sizes.begin(), sizes.end(), std::uint64_t{0});
}

std::string createdTime(const store::Layout& layout, const store::Image& image) {
  return createdTime(layout, image.config.created, image.manifestDescriptor.digest);
}

std::string createdTime(const store::Layout& layout, const std::string& created,
                        const Digest& manifest) {
  const auto seconds = text::parseTimeSeconds(created);
  if (seconds && *seconds != 0) return created;
  const auto stat = sys::tryFstatat(layout.fd(), layout.blobPath(manifest));
  return stat ? text::formatTime(stat->st_mtim.tv_sec, stat->st_mtim.tv_nsec) : "";
}

bool resolvesTo(const store::Layout& layout, const store::ImageRow& row,
                const store::Image& image) {
  store::Documents documents{layout};
  return resolvesTo(layout, documents, row, image);
}

bool resolvesTo(const store::Layout& layout, store::Documents& documents,
                const store::ImageRow& row, const store::Image& image) {
  const store::Descriptor& entry = row.descriptor;
  if (entry.digest == image.manifestDescriptor.digest) return true;
  try {  // another manifest of the same config, or an index
    // Most are neither, and the manifest alone says so: in a large store this is asked for each.
    const store::Targets* targets = documents.find(entry.digest);
    if (targets != nullptr && targets->config && *targets->config != image.id) return false;
    return store::Images{layout}.load(entry).id == image.id;
  } catch (const Error& error) {
    log::info("{}: {}", entry.digest.str(), error.cause());
    return false;
  }
}

std::vector<std::string> namesOf(const store::Layout& layout, const store::Image& image) {
  store::Documents documents{layout};
  return namesOf(layout, documents, image);
}

std::vector<std::string> namesOf(const store::Layout& layout, store::Documents& documents,
                                 const store::Image& image) {
  const std::vector<store::ImageRow> rows = store::Images{layout}.list();
  std::vector<Digest> manifests;
  manifests.reserve(rows.size());
  for (const store::ImageRow& row : rows) manifests.push_back(row.descriptor.digest);
  documents.prefetch(manifests);
  std::vector<std::string> names;
  for (const store::ImageRow& row : rows) {
    if (row.name && resolvesTo(layout, documents, row, image)) names.push_back(*row.name);
  }
  return names;
}

std::string familiarName(const std::string& fullName) {
  try {
    return store::Reference::parse(fullName).familiar();
  } catch (const Error&) {
    return fullName;
  }
}

std::vector<std::string> namesMeantBy(const std::string& argument) {
  std::vector<std::string> names;
  try {
    const store::Reference given = store::Reference::parse(argument);
    if (given.digest) return {};
    names.push_back(given.full());
    names.push_back(store::Reference::parse("localhost/" + argument).full());
  } catch (const Error&) {
    // An id with its algorithm, or a full one.
  }
  return names;
}

std::vector<ContainerUser> usersOf(const store::Layout& layout, const store::Image& image) {
  std::vector<ContainerUser> users;
  for (const store::ContainerRecord& record : store::Containers{layout}.list()) {
    if (record.config.imageId != image.id) continue;
    users.push_back({record.config.id, record.config.name, record.state.isAlive()});
  }
  return users;
}

}  // namespace img::cli
