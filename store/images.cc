#include "store/images.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/failpoint.h"
#include "store/gc.h"
#include "store/index_text.h"
#include "store/json_reader.h"
#include "store/lease.h"
#include "store/platform_choice.h"
#include "store/unsynced.h"

namespace img::store {
namespace {

constexpr size_t kMaxIndexBytes = size_t{256} << 20;
constexpr int kMaxNesting = 4;  // M8
constexpr char kContainerdName[] = "io.containerd.image.name";
constexpr char kNewIndex[] = "index.json.new";

Index readIndex(const Layout& layout) {
  return *parseIndexOnce(fs::readFile(layout.fd(), "index.json", kMaxIndexBytes),
                         layout.root() + "/index.json");
}

// reliability.md S-4; the caller holds locks/index, so one fixed temporary name is enough and a
// crash leaves nothing that the next change does not overwrite.
void writeIndex(const Layout& layout, const Index& index) try {
  if (!isDurable()) noteUnsynced(layout, Unsynced::names);
  failpoint("images.beforeWrite");
  Fd fd = sys::openat(layout.fd(), kNewIndex, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644);
  writeAll(fd.get(), toJson(index), kNewIndex);
  if (isDurable()) sys::fsync(fd.get(), kNewIndex);
  fd.close(kNewIndex);
  failpoint("images.beforeRename");
  sys::renameat(layout.fd(), kNewIndex, layout.fd(), "index.json");
  failpoint("images.afterRename");
  if (isDurable()) sys::fsync(layout.fd(), layout.root());
} catch (Error& error) {
  addSpaceHint(error, layout);
  throw error.during("storing the name in index.json");
}

// As durable as this process wants them. A name that was synced leads to blobs that were.
bool areNamesDurable(const Layout& layout) {
  if (!isDurable()) return true;
  const auto mark = readUnsyncedMark(layout);
  return !mark || mark->what == Unsynced::blobs;
}

bool hasDigest(const Index& index, const Digest& digest) {
  return std::any_of(index.manifests.begin(), index.manifests.end(),
                     [&](const Descriptor& entry) { return entry.digest == digest; });
}

bool isEntry(const Descriptor& entry, const Digest& digest,
             const std::optional<std::string>& name) {
  return entry.digest == digest && imageNameOf(entry) == name;
}

bool hasEntry(const Index& index, const Digest& digest, const std::string& name) {
  return std::any_of(index.manifests.begin(), index.manifests.end(),
                     [&](const Descriptor& entry) { return isEntry(entry, digest, name); });
}

bool isPublished(const Index& index, const Images::Publication& wanted) {
  if (wanted.names.empty()) return hasDigest(index, wanted.manifest.digest);
  const bool hasNameless =
      std::any_of(index.manifests.begin(), index.manifests.end(), [&](const Descriptor& entry) {
        return isEntry(entry, wanted.manifest.digest, std::nullopt);
      });
  return !hasNameless &&
         std::all_of(wanted.names.begin(), wanted.names.end(), [&](const std::string& name) {
           return hasEntry(index, wanted.manifest.digest, name);
         });
}

Descriptor withName(Descriptor descriptor, const std::string& name) {
  descriptor.annotations.erase(kContainerdName);
  descriptor.annotations[kRefName] = name;
  return descriptor;
}

Descriptor withoutName(Descriptor descriptor) {
  descriptor.annotations.erase(kContainerdName);
  descriptor.annotations.erase(kRefName);
  return descriptor;
}

// Drops the entries that `isGoing` picks; those of them whose image is then in no entry are
// returned, once each.
template <class Predicate>
std::vector<Descriptor> dropEntries(Index& index, Predicate&& isGoing) {
  std::vector<Descriptor> dropped;
  std::erase_if(index.manifests, [&](const Descriptor& entry) {
    if (!isGoing(entry)) return false;
    dropped.push_back(entry);
    return true;
  });
  std::set<Digest> seen;
  std::erase_if(dropped, [&](const Descriptor& entry) {
    return hasDigest(index, entry.digest) || !seen.insert(entry.digest).second;
  });
  return dropped;
}

bool isHex(std::string_view text) {
  return !text.empty() && text.size() <= 64 &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

void checkImageConfig(const Manifest& manifest, const ImageConfig& config, const Digest& digest) {
  if (config.diffIds.size() != manifest.layers.size()) {
    throw Error::make(Kind::corrupt, "image {}: the manifest has {} layers, the config {} diff_ids",
                      digest.str(), manifest.layers.size(), config.diffIds.size());
  }
  if (!config.platform.os.empty() && config.platform.os != "linux") {
    throw Error::make(Kind::unsupported, "image {} is for the operating system {}, not for linux",
                      digest.str(), text::quote(config.platform.os));
  }
}

}  // namespace

std::optional<std::string> imageNameOf(const Descriptor& descriptor) {
  for (const char* key : {kContainerdName, kRefName}) {
    const auto found = descriptor.annotations.find(key);
    if (found == descriptor.annotations.end() || found->second.empty() || found->second == "latest")
      continue;
    try {
      const Reference reference = Reference::parse(found->second);
      if (!reference.tag.empty()) return reference.repository() + ":" + reference.tag;
    } catch (const Error&) {
      // A ref.name is free text by its specification: what is no name of ours leaves the image
      // nameless.
    }
  }
  return std::nullopt;
}

std::string readDocument(const Layout& layout, const Descriptor& descriptor) {
  std::string bytes = readBlob(layout, descriptor.digest);
  if (bytes.size() == descriptor.size) return bytes;
  throw Error::make(Kind::corrupt, "blob {} has {} bytes, its descriptor says {}",
                    descriptor.digest.str(), bytes.size(), descriptor.size)
      .code("digest-mismatch");
}

ContainerUse readContainerUse(const Layout& layout) {
  ContainerUse use;
  const Fd folder = sys::openDirectory(layout.fd(), "containers");
  for (const fs::Entry& entry : fs::list(folder.get())) {
    if (entry.name.starts_with('.')) continue;
    const std::string path = entry.name + "/config.json";
    try {
      const auto text = fs::tryReadFile(folder.get(), path);
      if (!text) continue;
      const Json document = parseJson(*text, path);
      const JsonReader config{document, path};
      use.imageIds.push_back(config.get("imageId").digest());
      for (const JsonReader& diffId : config.arrayOf("diffIds"))
        use.diffIds.push_back(diffId.digest());
      // Images that are mounted into it.
      for (const Json& mount : document.value("mounts", Json::array())) {
        const std::string image = mount.value("image", "");
        if (!image.empty()) use.imageIds.push_back(Digest::parse(image));
      }
    } catch (const Error& error) {
      log::info("containers/{}", error.cause());
    }
  }
  return use;
}

Image Images::load(const Descriptor& descriptor) const {
  pin(layout_, descriptor.digest);  // and so all below it
  return load(descriptor, 0);
}

// A pull brings one platform of an index. Where none is asked for and this machine's is not here,
// it is the one that is.
const Descriptor& Images::pickPresent(const Index& index, const Descriptor& self) const {
  const auto present = [this](const Descriptor& entry) { return hasBlob(layout_, entry.digest); };
  if (platform_) return pickPlatform(index, self, *platform_);
  const auto any = std::find_if(index.manifests.begin(), index.manifests.end(), present);
  const bool hasAny = any != index.manifests.end();
  try {
    const Descriptor& own = pickPlatform(index, self, Platform::host());
    return hasAny && !present(own) ? *any : own;
  } catch (const Error& error) {
    if (!hasAny || error.code() != "platform-missing") throw;
    return *any;
  }
}

Image Images::load(const Descriptor& descriptor, int nesting) const try {
  const std::string bytes = readDocument(layout_, descriptor);
  if (isIndexType(descriptor.mediaType)) {
    if (nesting >= kMaxNesting) throw Error{Kind::corrupt, "the image index is nested too deeply"};
    const Index index = parseIndex(bytes, descriptor.digest.str());
    return load(pickPresent(index, descriptor), nesting + 1);
  }
  Image image;
  image.manifestDescriptor = descriptor;
  image.manifest = parseManifest(bytes, descriptor.digest.str());
  if (!descriptor.mediaType.empty() && image.manifest.mediaType != descriptor.mediaType) {
    throw Error::make(Kind::corrupt, "the manifest's media type is not the {} of its descriptor",
                      text::quote(descriptor.mediaType));
  }
  if (!isConfigType(image.manifest.config.mediaType)) {
    throw Error::make(Kind::unsupported, "this is an artifact of type {}, not an image",
                      text::quote(image.manifest.config.mediaType));
  }
  image.id = image.manifest.config.digest;
  image.config = parseConfig(readDocument(layout_, image.manifest.config), image.id.str());
  checkImageConfig(image.manifest, image.config, image.id);
  return image;
} catch (Error& error) {
  if (nesting == 0) error.during("reading image {}", descriptor.digest.str());
  throw;
}

std::vector<ImageRow> Images::list() const {
  std::vector<ImageRow> rows;
  for (Descriptor& entry : readIndex(layout_).manifests) {
    auto name = imageNameOf(entry);
    rows.push_back({std::move(name), std::move(entry)});
  }
  return rows;
}

std::optional<Image> Images::findByName(std::string_view argument) const {
  const Reference reference = Reference::parse(argument);
  const std::vector<ImageRow> rows = list();
  const auto pick = [&](auto&& isWanted) -> std::optional<Image> {
    const auto row = std::find_if(rows.begin(), rows.end(), isWanted);
    if (row == rows.end()) return std::nullopt;
    return load(row->descriptor);
  };
  if (reference.digest) {
    return pick([&](const ImageRow& row) { return row.descriptor.digest == *reference.digest; });
  }
  const std::string full = reference.full();
  if (auto image = pick([&](const ImageRow& row) { return row.name == full; })) return image;
  const bool hasHost = argument.starts_with("docker.io/") ||
                       argument.starts_with("index.docker.io/") || reference.host != "docker.io";
  if (hasHost) return std::nullopt;
  const std::string local = Reference::parse("localhost/" + std::string{argument}).full();
  return pick([&](const ImageRow& row) { return row.name == local; });
}

std::optional<Image> Images::findById(std::string_view argument) const {
  const std::string_view hex = argument.starts_with("sha256:") ? argument.substr(7) : argument;
  if (!isHex(hex)) return std::nullopt;
  std::map<Digest, Descriptor> found;  // by image id
  std::set<Digest> seen;
  for (const ImageRow& row : list()) {
    if (!seen.insert(row.descriptor.digest).second) continue;
    try {
      const bool isIndex = isIndexType(row.descriptor.mediaType);
      const Digest id = isIndex ? load(row.descriptor).id
                                : parseManifest(readDocument(layout_, row.descriptor),
                                                row.descriptor.digest.str())
                                      .config.digest;
      if (id.hex().starts_with(hex)) found.emplace(id, row.descriptor);
    } catch (const Error& error) {
      log::info("{}: {}", row.descriptor.digest.str(),
                error.cause());  // a broken image hides no other
    }
  }
  if (found.empty()) return std::nullopt;
  if (found.size() == 1) return load(found.begin()->second);
  std::vector<std::string> candidates;
  candidates.reserve(found.size());
  for (const auto& [id, descriptor] : found) candidates.push_back(id.str());
  throw Error::make(Kind::failed, "the image id {} is ambiguous", argument)
      .why("it may be " + text::join(candidates, ", "))
      .code("ambiguous-id")
      .hint("give more digits");
}

// A name that is moved, and its former image collected, between a look at the index and the pin is
// looked up again.
std::optional<Image> Images::find(std::string_view argument) const {
  constexpr int kTries = 4;
  for (int attempt = 1;; ++attempt) {
    try {
      return findOnce(argument);
    } catch (const Error& error) {
      const bool isGone = error.kind() == Kind::notFound && error.code().empty();
      if (!isGone || attempt == kTries) throw;
    }
  }
}

std::optional<Image> Images::findOnce(std::string_view argument) const {
  std::optional<Error> badName;
  try {
    if (auto image = findByName(argument)) return image;
  } catch (const Error& error) {
    if (error.kind() != Kind::usage) throw;
    badName = error;
  }
  if (auto image = findById(argument)) return image;
  const bool isId =
      isHex(argument) || (argument.starts_with("sha256:") && isHex(argument.substr(7)));
  if (badName && !isId) throw *badName;
  return std::nullopt;
}

Image Images::get(std::string_view argument) const {
  if (auto image = find(argument)) return std::move(*image);
  throw Error::make(Kind::notFound, "no such image: {}", text::escape(argument))
      .code("image-not-found");
}

bool Images::isUsedByContainer(const Descriptor& descriptor) const {
  const ContainerUse use = readContainerUse(layout_);
  if (use.imageIds.empty()) return false;
  try {
    const Digest id = load(descriptor, 0).id;  // nothing is pinned under locks/index
    return std::find(use.imageIds.begin(), use.imageIds.end(), id) != use.imageIds.end();
  } catch (const Error& error) {
    log::info("{}: {}", descriptor.digest.str(), error.cause());
    return false;  // an image that cannot be read serves no container
  }
}

void Images::publish(const Descriptor& manifest, const std::vector<std::string>& names) const {
  publishAll({{manifest, names}});
}

void Images::publishAll(const std::vector<Publication>& publications) const {
  const auto isDone = [&](const Index& index) {
    return std::all_of(publications.begin(), publications.end(),
                       [&](const Publication& wanted) { return isPublished(index, wanted); });
  };
  // A reader needs no lock: an unchanged rebuild ends here, without a single fsync. But what is
  // held may be a blob that the image had lost.
  if (!holdsUnsynced() && isDone(readIndex(layout_)) && areNamesDurable(layout_)) return;
  // From here on nothing that is found can be collected (lock order: gc, index).
  const StoreUse use{layout_};
  std::vector<Descriptor> manifests;
  for (const Publication& wanted : publications) {
    pin(layout_, wanted.manifest.digest);
    std::ignore = blobSize(layout_, wanted.manifest.digest);
    manifests.push_back(wanted.manifest);
  }
  settleUnsynced(layout_, manifests);
  syncBlobs(layout_);
  const FileLock lock = FileLock::acquire(layout_.fd(), "locks/index", FileLock::Mode::exclusive);
  Index index = readIndex(layout_);
  for (const Publication& wanted : publications) {
    if (isPublished(index, wanted)) continue;
    const std::set<std::string> names{wanted.names.begin(), wanted.names.end()};
    const std::vector<Descriptor> displaced = dropEntries(index, [&](const Descriptor& entry) {
      const auto name = imageNameOf(entry);
      return name ? names.contains(*name) : entry.digest == wanted.manifest.digest;
    });
    for (const std::string& name : names)
      index.manifests.push_back(withName(wanted.manifest, name));
    if (names.empty()) index.manifests.push_back(withoutName(wanted.manifest));
    for (const Descriptor& entry : displaced) {
      if (entry.digest == wanted.manifest.digest || !isUsedByContainer(entry)) continue;
      index.manifests.push_back(withoutName(entry));
    }
  }
  writeIndex(layout_, index);
}

void Images::keepForContainer(const Descriptor& manifest) const {
  {
    const FileLock lock = FileLock::acquire(layout_.fd(), "locks/index", FileLock::Mode::exclusive);
    // Parsing a long index takes milliseconds; its digests stand in it as they are.
    const std::string index = fs::readFile(layout_.fd(), "index.json", kMaxIndexBytes);
    if (index.find(manifest.digest.str()) != std::string::npos) return;
  }
  publish(manifest, {});
}

bool Images::untag(const std::string& fullName) const {
  const FileLock lock = FileLock::acquire(layout_.fd(), "locks/index", FileLock::Mode::exclusive);
  Index index = readIndex(layout_);
  const size_t before = index.manifests.size();
  const std::vector<Descriptor> gone =
      dropEntries(index, [&](const Descriptor& entry) { return imageNameOf(entry) == fullName; });
  if (index.manifests.size() == before) {
    throw Error::make(Kind::notFound, "no such image: {}", text::escape(fullName))
        .code("image-not-found");
  }
  bool isGone = !gone.empty();
  for (const Descriptor& entry : gone) {
    if (!isUsedByContainer(entry)) continue;
    index.manifests.push_back(withoutName(entry));
    isGone = false;
  }
  writeIndex(layout_, index);
  return isGone;
}

void Images::remove(const Digest& manifest) const {
  const FileLock lock = FileLock::acquire(layout_.fd(), "locks/index", FileLock::Mode::exclusive);
  Index index = readIndex(layout_);
  const std::vector<Descriptor> gone =
      dropEntries(index, [&](const Descriptor& entry) { return entry.digest == manifest; });
  if (gone.empty()) return;
  for (const Descriptor& entry : gone) {
    if (isUsedByContainer(entry)) index.manifests.push_back(withoutName(entry));
  }
  writeIndex(layout_, index);
}

void Images::keepOnly(const std::function<bool(const Descriptor&)>& keeps) const {
  const FileLock lock = FileLock::acquire(layout_.fd(), "locks/index", FileLock::Mode::exclusive);
  Index index = readIndex(layout_);
  std::erase_if(index.manifests, [&](const Descriptor& entry) { return !keeps(entry); });
  writeIndex(layout_, index);
}

void Images::reset(const std::vector<Descriptor>& entries) const {
  const FileLock lock = FileLock::acquire(layout_.fd(), "locks/index", FileLock::Mode::exclusive);
  Index index;
  index.manifests = entries;
  writeIndex(layout_, index);
}

std::set<Digest> Images::removeUnused(const std::set<Digest>& manifests, bool named) const {
  if (manifests.empty()) return {};
  const FileLock lock = FileLock::acquire(layout_.fd(), "locks/index", FileLock::Mode::exclusive);
  Index index = readIndex(layout_);
  const ContainerUse use = readContainerUse(layout_);
  const std::set<Digest> used{use.imageIds.begin(), use.imageIds.end()};
  const auto isUsed = [&](const Descriptor& entry) {
    if (used.empty()) return false;
    try {
      return used.contains(load(entry, 0).id);
    } catch (const Error& error) {
      log::info("{}: {}", entry.digest.str(), error.cause());
      return false;
    }
  };
  std::set<Digest> going;
  for (const Descriptor& entry : index.manifests) {
    if (manifests.contains(entry.digest) && !isUsed(entry)) going.insert(entry.digest);
  }
  for (const Descriptor& entry : index.manifests) {
    if (!named && imageNameOf(entry)) going.erase(entry.digest);  // it got a name meanwhile
  }
  if (going.empty()) return going;
  std::erase_if(index.manifests,
                [&](const Descriptor& entry) { return going.contains(entry.digest); });
  writeIndex(layout_, index);
  return going;
}

Images::Freed Images::collect() const {
  return collectGarbage(layout_);
}

Image writeImage(const Layout& layout, const ImageConfig& config,
                 const std::vector<Descriptor>& layers) {
  Manifest manifest;
  manifest.layers = layers;
  return writeManifest(layout, config, std::move(manifest));
}

Image writeManifest(const Layout& layout, const ImageConfig& config, Manifest manifest,
                    BlobWriter::Durability durability) {
  const bool isDocker = manifest.mediaType == media::kDockerManifest;
  Image image;
  image.config = config;
  image.manifest = std::move(manifest);
  image.manifest.config =
      putBlob(layout, toJson(config), isDocker ? media::kDockerConfig : media::kConfig, durability);
  image.id = image.manifest.config.digest;
  checkImageConfig(image.manifest, config, image.id);
  image.manifestDescriptor =
      putBlob(layout, toJson(image.manifest), image.manifest.mediaType, durability);
  return image;
}

}  // namespace img::store
