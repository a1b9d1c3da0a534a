#include "store/archive.h"

#include <algorithm>
#include <ctime>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/blobs.h"
#include "store/block_reader.h"
#include "store/bundle.h"
#include "store/json_reader.h"
#include "store/layer_type.h"
#include "store/layers.h"
#include "store/plain_layers.h"
#include "store/read_ahead.h"
#include "store/staged_file.h"
#include "store/unpack.h"
#include "store/unsynced.h"

namespace img::store {
namespace {

constexpr int kMaxNesting = 4;  // M8
constexpr size_t kMaxNodes = 10'000;
constexpr size_t kMostHeld = 64;      // unsynced.h: blobs that wait for their sync
constexpr char kImported[] = "blob";  // until it is one
constexpr std::uint64_t kDefaultLayerLimit = std::uint64_t{64} << 30;

// What an archive holds, before anything of it is in the store.
struct Plan {
  std::map<Digest, Member> blobs;  // to be adopted
  struct Document {
    std::string bytes;
    std::string mediaType;
  };
  std::vector<Document> documents;  // made by us
  struct Layer {
    Descriptor blob;
    Digest diffId;
    std::string file;
  };
  std::vector<Layer> layers;  // to be verified
  std::vector<LoadedImage> images;
};

// L1 of security.md for the bytes of the tar itself: what follows its last entry counts nowhere
// else.
class LayerLimit final : public Source {
 public:
  LayerLimit(Source& inner, std::string name) : inner_(inner), name_(std::move(name)) {}
  size_t read(std::span<std::byte> into) override {
    const size_t count = inner_.read(into);
    size_ += count;
    if (size_ <= limit_) return count;
    throw Error::make(Kind::failed, "{}: more than {} bytes in one layer", name_, limit_)
        .hint(fmt::format("raise the limit with {0}=NUMBER, or lift it with {0}=0", kVariable));
  }

 private:
  static constexpr char kVariable[] = "IMG_LIMIT_LAYER_BYTES";

  Source& inner_;
  std::string name_;
  std::uint64_t limit_ = limitFromEnvironment(kVariable, kDefaultLayerLimit);
  std::uint64_t size_ = 0;
};

Digest hashUncompressed(const Bundle& bundle, const Plan::Layer& layer) {
  FdSource raw{sys::openat(bundle.staging().fd(), layer.file, O_RDONLY | O_NOFOLLOW),
               bundle.name()};
  const std::unique_ptr<Source> plain = openLayerStream(layer.blob, raw);
  LayerLimit limited{*plain, layer.blob.digest.str()};
  // Decompressing and hashing take about as long: two threads.
  BlockReader ahead{limited, BlockReader::Mode::overlapped};
  Hasher hasher;
  for (;;) {
    const std::span<const std::byte> block = ahead.next();
    if (block.empty()) return hasher.finish();
    hasher.update(block);
  }
}

void verifyLayer(const Bundle& bundle, const Plan::Layer& layer) {
  const Digest actual = hashUncompressed(bundle, layer);
  if (actual == layer.diffId) return;
  throw Error::make(Kind::corrupt, "{}: layer {} does not have the diff ID {} of its image",
                    bundle.name(), layer.blob.digest.str(), layer.diffId.str())
      .why(fmt::format("uncompressed it has the digest {}", actual.str()))
      .code("digest-mismatch");
}

std::string headOf(const Bundle& bundle, const Member& member) {
  std::string head(8, '\0');
  const Fd fd = sys::openat(bundle.staging().fd(), member.file, O_RDONLY | O_NOFOLLOW);
  head.resize(preadFull(fd.get(), std::as_writable_bytes(std::span{head}), 0, bundle.name()));
  return head;
}

// M10: every layer's uncompressed digest. An uncompressed blob's was computed while it was staged.
void verifyLayers(const Bundle& bundle, const Plan& plan) {
  std::vector<std::function<void()>> tasks;
  std::set<std::pair<Digest, Digest>> seen;
  for (const Plan::Layer& layer : plan.layers) {
    if (!seen.emplace(layer.blob.digest, layer.diffId).second) continue;
    const std::string head = headOf(bundle, plan.blobs.at(layer.blob.digest));
    checkLayerCompression(layer.blob, head);
    const bool isPlain = detectCompression(head) == Compression::none;
    if (isPlain && layer.blob.digest == layer.diffId) continue;
    tasks.emplace_back([&bundle, &layer] { verifyLayer(bundle, layer); });
  }
  if (tasks.size() == 1) return tasks.front()();
  runInChildren(tasks);
}

std::string layerTypeOf(const Bundle& bundle, const Member& member) {
  switch (const Compression compression = detectCompression(headOf(bundle, member))) {
    case Compression::none:
    case Compression::gzip:
    case Compression::zstd: return layerType(compression);
    default:
      throw Error::make(Kind::unsupported, "{}: a layer is compressed with {}", bundle.name(),
                        compressionName(compression));
  }
}

void checkPlatform(const Platform& platform, const std::string& origin) {
  if (platform.os.empty() || platform.os == "linux") return;
  throw Error::make(Kind::unsupported,
                    "{}: the image is for the operating system {}, not for linux", origin,
                    text::quote(platform.os));
}

// M11: kept, as it may be there to be copied or run by an emulator.
void warnOfOtherArchitecture(const Platform& platform, const std::string& origin) {
  const Platform host = Platform::host();
  if (platform.architecture.empty() || platform.architecture == host.architecture) return;
  log::warn("{}: the image is for the architecture {}, this machine is {}", origin,
            text::escape(platform.architecture), host.architecture);
}

class Loader {
 public:
  Loader(const Layout& layout, Bundle& bundle, const std::optional<Platform>& platform)
      : layout_(layout), bundle_(bundle), platform_(platform) {}

  std::vector<LoadedImage> run() {
    if (bundle_.has("manifest.json")) {
      planDocker();
    } else if (bundle_.has("oci-layout") && bundle_.has("index.json")) {
      planOci();
    } else {
      throw Error::make(Kind::corrupt,
                        "{} holds no image: neither manifest.json nor index.json is there",
                        bundle_.name())
          .hint("the tar of a root file system is read by `img import`");
    }
    verifyLayers(bundle_, plan_);
    // From here on nothing can fail because of the archive: what is left is our own disk.
    return store();
  }

 private:
  // OCI documents -------------------------------------------------------------------------------
  struct Found {
    Digest anyId, hostId;  // image ids: of some manifest, of the one for this machine
    [[nodiscard]] Digest id() const { return hostId.isZero() ? anyId : hostId; }
  };

  [[nodiscard]] bool isWanted(const Platform& platform) const {
    return !platform_ ||
           (platform.os == platform_->os && platform.architecture == platform_->architecture &&
            (platform_->variant.empty() || platform.variant == platform_->variant));
  }

  [[noreturn]] void failPlatform() const {
    throw Error::make(Kind::notFound, "{} holds no image for the platform {}/{}", bundle_.name(),
                      text::escape(platform_->os), text::escape(platform_->architecture))
        .code("platform-missing");
  }

  std::string takeDocument(const Descriptor& descriptor) {
    plan_.blobs.emplace(descriptor.digest, bundle_.getBlob(descriptor));
    return bundle_.read(Bundle::blobMember(descriptor.digest));
  }

  void planManifest(const Descriptor& descriptor, bool isPartOfIndex, Found& found) {
    const std::string bytes = takeDocument(descriptor);
    const std::string origin = descriptor.digest.str();
    const Manifest manifest = parseManifest(bytes, origin);
    if (manifest.mediaType != descriptor.mediaType) {
      throw Error::make(Kind::corrupt, "{}: the media type is not the {} of its descriptor", origin,
                        text::quote(descriptor.mediaType));
    }
    if (!isConfigType(manifest.config.mediaType)) {
      throw Error::make(Kind::unsupported, "{}: this is an artifact of type {}, not an image",
                        origin, text::quote(manifest.config.mediaType));
    }
    const ImageConfig config =
        parseConfig(takeDocument(manifest.config), manifest.config.digest.str());
    if (!isPartOfIndex && !isWanted(config.platform)) failPlatform();
    planLayers(manifest, config);
    checkPlatform(config.platform, origin);
    if (!isPartOfIndex) warnOfOtherArchitecture(config.platform, origin);
    if (found.anyId.isZero()) found.anyId = manifest.config.digest;
    if (config.platform.architecture == Platform::host().architecture && found.hostId.isZero()) {
      found.hostId = manifest.config.digest;
    }
  }

  void planLayers(const Manifest& manifest, const ImageConfig& config) {
    checkCounts(manifest.layers.size(), config, manifest.config.digest);
    for (size_t i = 0; i < manifest.layers.size(); ++i) {
      const Descriptor& layer = manifest.layers[i];
      const Member member = bundle_.getBlob(layer);
      plan_.blobs.emplace(layer.digest, member);
      plan_.layers.push_back({layer, config.diffIds[i], member.file});
    }
  }

  void checkCounts(size_t layers, const ImageConfig& config, const Digest& id) const {
    if (config.diffIds.size() == layers) return;
    throw Error::make(Kind::corrupt, "{}: image {} has {} layers, its config {} diff_ids",
                      bundle_.name(), id.str(), layers, config.diffIds.size());
  }

  // An index may name platforms that the archive left out; those that are there are verified.
  void planNode(const Descriptor& descriptor, int nesting, Found& found) {
    if (nesting > kMaxNesting)
      throw Error::make(Kind::corrupt, "{}: indexes are nested too deeply", bundle_.name());
    if (!visited_.insert(descriptor.digest).second) return;
    if (visited_.size() > kMaxNodes)
      throw Error::make(Kind::corrupt, "{}: too many documents", bundle_.name());
    if (isManifestType(descriptor.mediaType)) {
      return planManifest(descriptor, nesting > 0, found);
    }
    if (!isIndexType(descriptor.mediaType)) {
      log::info("{}: skipping {} of type {}", bundle_.name(), descriptor.digest.str(),
                text::quote(descriptor.mediaType));
      return;
    }
    for (const Descriptor& child :
         parseIndex(takeDocument(descriptor), descriptor.digest.str()).manifests) {
      // Other systems, and attestations, whose platform is "unknown".
      const bool isForeign =
          child.platform && (child.platform->os != "linux" || !isWanted(*child.platform));
      if (!isForeign && bundle_.hasBlob(child.digest)) planNode(child, nesting + 1, found);
    }
  }

  void planOci() {
    const std::string text = bundle_.read("oci-layout");
    const Json document = parseJson(text, "oci-layout");
    const JsonReader version = JsonReader{document, "oci-layout"}.get("imageLayoutVersion");
    if (!version.string().starts_with("1.")) version.fail("is not known");
    std::map<Digest, Digest> ids;  // of documents that several names share
    for (const Descriptor& entry : parseIndex(bundle_.read("index.json"), "index.json").manifests) {
      Found found;
      planNode(entry, 0, found);
      if (!found.id().isZero()) ids.emplace(entry.digest, found.id());
      const bool isImage = isIndexType(entry.mediaType) || isManifestType(entry.mediaType);
      if (platform_ && isImage && !ids.contains(entry.digest)) failPlatform();
      if (!ids.contains(entry.digest)) continue;
      LoadedImage image;
      image.id = ids.at(entry.digest);
      image.manifest = entry;
      image.manifest.annotations.erase(kRefName);
      image.manifest.annotations.erase("io.containerd.image.name");
      if (auto name = imageNameOf(entry)) image.names.push_back(std::move(*name));
      plan_.images.push_back(std::move(image));
    }
    if (plan_.images.empty()) {
      throw Error::make(Kind::corrupt, "{}: index.json names no image", bundle_.name());
    }
  }

  // docker-archive ------------------------------------------------------------------------------
  // The manifest that an archive of a newer docker, or of ours, has for this config beside
  // manifest.json: taken over, the image keeps its digest.
  std::optional<Descriptor> findOciManifest(const Digest& config) {
    if (!bundle_.has("index.json") || !bundle_.has("oci-layout")) return std::nullopt;
    std::vector<Descriptor> todo = parseIndex(bundle_.read("index.json"), "index.json").manifests;
    std::set<Digest> seen;
    while (!todo.empty() && seen.size() < kMaxNodes) {
      const Descriptor current = todo.back();
      todo.pop_back();
      if (!seen.insert(current.digest).second || !bundle_.hasBlob(current.digest)) continue;
      const std::string origin = current.digest.str();
      if (isIndexType(current.mediaType)) {
        const Index index = parseIndex(bundle_.read(Bundle::blobMember(current.digest)), origin);
        todo.insert(todo.end(), index.manifests.begin(), index.manifests.end());
      }
      if (!isManifestType(current.mediaType)) continue;
      if (current.platform && current.platform->os == "unknown") continue;
      const Manifest manifest =
          parseManifest(bundle_.read(Bundle::blobMember(current.digest)), origin);
      if (manifest.config.digest == config) return current;
    }
    return std::nullopt;
  }

  // "<hex>.json" of docker before 25: the name is a promise like that of a blob.
  void checkConfigName(const std::string& name, const Member& member) const {
    if (!name.ends_with(".json")) return;
    const auto promised = Digest::tryParseHex(std::string_view{name}.substr(0, name.size() - 5));
    if (!promised || *promised == member.digest) return;
    throw Error::make(Kind::corrupt, "{}: the config {} has the digest {}", bundle_.name(),
                      text::quote(name), member.digest.str())
        .code("digest-mismatch");
  }

  Descriptor makeManifest(const Member& configMember, const ImageConfig& config,
                          const std::vector<std::string>& layers) {
    checkCounts(layers.size(), config, configMember.digest);
    Manifest manifest;
    manifest.config = {media::kConfig, configMember.digest, configMember.size, {}, {}, {}};
    for (size_t i = 0; i < layers.size(); ++i) {
      const Member member = bundle_.get(layers[i]);
      const Descriptor layer{layerTypeOf(bundle_, member), member.digest, member.size, {}, {}, {}};
      plan_.blobs.emplace(member.digest, member);
      plan_.layers.push_back({layer, config.diffIds[i], member.file});
      manifest.layers.push_back(layer);
    }
    plan_.blobs.emplace(configMember.digest, configMember);
    plan_.documents.push_back({toJson(manifest), media::kManifest});
    const std::string& bytes = plan_.documents.back().bytes;
    return {media::kManifest, Digest::of(bytes), bytes.size(), {}, {}, {}};
  }

  void planDockerImage(const JsonReader& entry) {
    const std::string configName = entry.get("Config").string();
    const std::vector<std::string> layers = entry.stringsOf("Layers");
    const Member member = bundle_.get(configName);
    checkConfigName(configName, member);
    LoadedImage image;
    image.id = member.digest;
    if (auto manifest = findOciManifest(member.digest)) {
      Found found;
      planNode(*manifest, 0, found);
      image.manifest = {
          manifest->mediaType, manifest->digest, manifest->size, {}, manifest->platform, {}};
    } else {
      const ImageConfig config = parseConfig(bundle_.read(configName), configName);
      if (!isWanted(config.platform)) failPlatform();
      checkPlatform(config.platform, bundle_.name());
      warnOfOtherArchitecture(config.platform, bundle_.name());
      image.manifest = makeManifest(member, config, layers);
    }
    for (const std::string& tag : entry.stringsOf("RepoTags")) image.names.push_back(nameOf(tag));
    plan_.images.push_back(std::move(image));
  }

  [[nodiscard]] std::string nameOf(const std::string& tag) const try {
    const Reference reference = Reference::parse(tag);
    return reference.repository() + ":" + (reference.tag.empty() ? "latest" : reference.tag);
  } catch (const Error& error) {
    throw Error::make(Kind::corrupt, "{}: manifest.json names an image {}: {}", bundle_.name(),
                      text::quote(tag), error.cause());
  }

  void planDocker() {
    const std::string text = bundle_.read("manifest.json");
    const Json document = parseJson(text, "manifest.json");
    for (const JsonReader& entry : JsonReader{document, "manifest.json"}.array())
      planDockerImage(entry);
    if (plan_.images.empty()) {
      throw Error::make(Kind::corrupt, "{}: manifest.json names no image", bundle_.name());
    }
  }

  // Into the store ------------------------------------------------------------------------------
  void noteMoves(LoadedImage& image, const std::vector<ImageRow>& rows) const {
    for (const std::string& name : image.names) {
      const auto row =
          std::find_if(rows.begin(), rows.end(), [&](const ImageRow& r) { return r.name == name; });
      if (row == rows.end() || row->descriptor.digest == image.manifest.digest) continue;
      try {
        const Digest old = Images{layout_}.load(row->descriptor).id;
        if (old != image.id) image.moved.emplace_back(name, old);
      } catch (const Error& error) {
        log::info("{}: {}", name, error.cause());  // what the name pointed to could not be read
      }
    }
  }

  std::vector<LoadedImage> store() {
    // The disk goes on while views are made; publishAll() waits for all. Each takes a descriptor.
    const bool areFew = plan_.blobs.size() + plan_.documents.size() <= kMostHeld;
    using Durability = BlobWriter::Durability;
    const Durability durability = areFew ? Durability::withName : Durability::later;
    // Who wrote one that is there already may be dead, and its trouble forgotten.
    const auto isNew = [&](const Digest& digest, std::uint64_t size) {
      return !(hasBlob(layout_, digest) && blobSize(layout_, digest) == size);
    };
    for (const auto& [digest, member] : plan_.blobs) {
      const bool holds = areFew && isNew(digest, member.size);
      adoptBlob(layout_, bundle_.staging(), member.file, digest, member.size, durability);
      if (holds) holdUnsynced(layout_, digest);
    }
    for (const auto& [bytes, type] : plan_.documents) {
      const Descriptor document = putBlob(layout_, bytes, type, durability);
      if (areFew) holdUnsynced(layout_, document.digest);
    }
    std::set<Digest> plain;
    for (const Plan::Layer& layer : plan_.layers)
      if (layer.blob.digest == layer.diffId) plain.insert(layer.diffId);
    indexPlainLayers(layout_, plain);
    const std::vector<ImageRow> rows = Images{layout_}.list();
    std::vector<Images::Publication> publications;
    for (LoadedImage& image : plan_.images) {
      noteMoves(image, rows);
      publications.push_back({image.manifest, image.names});
    }
    Images{layout_}.publishAll(publications);
    return std::move(plan_.images);
  }

  const Layout& layout_;
  Bundle& bundle_;
  const std::optional<Platform>& platform_;
  Plan plan_;
  std::set<Digest> visited_;
};

// The layer's tar as it goes into the store, with its digest.
StagedFile stageLayer(Source& tar, const IngestDir& folder, const std::string& name) {
  const std::unique_ptr<Source> plain = decompress(tar, name);
  LayerLimit limited{*plain, name};
  ReadAhead ahead{limited};
  const Fd file =
      sys::openat(folder.fd(), kImported, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  const StagedFile staged = stageFile(ahead, file.get(), name);
  // What a broken pipe in front of us looks like.
  if (staged.size == 0) throw Error::make(Kind::corrupt, "{} is empty", name);
  return staged;
}

void addImportHistory(ImageConfig& config, const std::string& name) {
  if (config.created.empty()) {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    config.created = text::formatTime(now.tv_sec, now.tv_nsec);
  }
  const bool hasEntry = std::any_of(config.history.begin(), config.history.end(),
                                    [](const HistoryEntry& entry) { return !entry.emptyLayer; });
  if (!hasEntry)
    config.history.push_back({config.created, "", config.author, "Imported from " + name, false});
}

}  // namespace

std::vector<LoadedImage> loadArchive(const Layout& layout, Source& archive, const std::string& name,
                                     const std::optional<Platform>& platform) try {
  const StoreUse use{layout};
  const std::unique_ptr<Bundle> bundle = openArchiveBundle(layout, archive, name);
  return Loader{layout, *bundle, platform}.run();
} catch (Error& error) {
  error.during("loading {}", name);
  throw;
}

std::vector<LoadedImage> loadDirectory(const Layout& layout, int directory, const std::string& name,
                                       const std::optional<Platform>& platform) try {
  const StoreUse use{layout};
  const std::unique_ptr<Bundle> bundle = openFolderBundle(layout, directory, name);
  return Loader{layout, *bundle, platform}.run();
} catch (Error& error) {
  error.during("loading {}", name);
  throw;
}

Image importTar(const Layout& layout, Source& tar, const std::string& name,
                ImageConfig config) try {
  const StoreUse use{layout};
  IngestDir folder{layout};
  const StagedFile staged = stageLayer(tar, folder, name);
  // The view checks the tar, before anybody sees its blob.
  const Layers layers{layout};
  const Fd file = sys::openat(folder.fd(), kImported, O_RDONLY | O_NOFOLLOW);
  const UnpackStats stats = layers.fill(folder, file.get(), name);
  adoptBlob(layout, folder, kImported, staged.digest, staged.size);
  const Descriptor layer{media::kLayer, staged.digest, staged.size, {}, {}, {}};
  layers.adopt(folder, layer.digest, stats.entries, stats.bytes);
  layers.ensureFromVerified(layer.digest);

  if (config.platform.os.empty()) config.platform = Platform::host();
  config.diffIds = {layer.digest};
  addImportHistory(config, name);
  return writeImage(layout, config, {layer});
} catch (Error& error) {
  error.during("importing {}", name);
  throw;
}

}  // namespace img::store
