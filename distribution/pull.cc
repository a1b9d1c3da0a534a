#include "distribution/pull.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "base/interruption.h"
#include "base/log.h"
#include "base/text.h"
#include "distribution/known_layers.h"
#include "distribution/layer_pool.h"
#include "distribution/push.h"
#include "distribution/session.h"
#include "store/blobs.h"
#include "store/layers.h"
#include "store/platform_choice.h"

namespace img::distribution {
namespace {

constexpr int kMaxNesting = 4;      // security.md M8
constexpr size_t kMaxLayers = 500;  // security.md L1
constexpr std::uint64_t kImageBytes = std::uint64_t{256} << 30;

bool isDocumentType(std::string_view mediaType) {
  return store::isManifestType(mediaType) || store::isIndexType(mediaType);
}

// What the document is. The registry's header and the document must not say different things (M5);
// a header that says nothing in particular (text/plain) does not count.
std::string typeOf(const Session::Document& document) {
  const std::string origin = document.descriptor.digest.str();
  const Json json = parseJson(document.bytes, origin);
  if (!json.is_object()) throw Error::make(Kind::corrupt, "{}: is not a JSON object", origin);
  const std::string& sent = document.descriptor.mediaType;
  const auto found = json.find("mediaType");
  const std::string inside =
      found != json.end() && found->is_string() ? found->get<std::string>() : "";
  if (!inside.empty() && isDocumentType(sent) && sent != inside) {
    throw Error::make(Kind::corrupt, "{}: the registry sent it as {}, it says it is {}", origin,
                      sent, text::quote(inside));
  }
  if (!inside.empty()) return inside;
  if (isDocumentType(sent)) return sent;
  return json.contains("manifests") ? store::media::kIndex : store::media::kManifest;
}

std::string platformText(const store::Platform& platform) {
  const std::string name = platform.os + "/" + platform.architecture;
  return platform.variant.empty() ? name : name + "/" + platform.variant;
}

// How people write it; the digest decides when there is one.
std::string nameOf(const store::Reference& reference) {
  if (!reference.digest) return reference.full();
  return reference.repository() + "@" + reference.digest->str();
}

class Puller {
 public:
  Puller(const store::Layout& layout, const PullRequest& request, PullProgress& progress)
      : layout_(layout),
        request_(request),
        progress_(progress),
        images_(layout, request.platform.value_or(store::Platform::host())) {}

  Pulled run() {
    if (auto image = findUnasked()) return {std::move(*image), false};
    connect();
    const store::Descriptor top = resolve();
    if (wasPublished(top) && isWhole(top)) return {images_.load(top), false};
    fetchDocuments(top, 0);
    store::Image image = images_.load(top);
    checkPlatform(image);
    LayerPool{layout_, *session_, progress_}.run(tasksOf(image));
    // From here on everything is in the store: what is left is the name.
    publish(top);
    rememberPlaces(top, image);
    return {std::move(image), true};
  }

 private:
  void rememberPlaces(const store::Descriptor& top, const store::Image& image) {
    std::set<Digest> blobs{top.digest, image.manifestDescriptor.digest, image.id};
    for (const store::Descriptor& layer : image.manifest.layers) blobs.insert(layer.digest);
    for (const Digest& blob : blobs) rememberPlace(layout_, blob, request_.reference);
  }

  // What needs no registry: the policy says so, or a digest that is here says all there is to know.
  std::optional<store::Image> findUnasked() {
    std::optional<store::Image> image;
    if (request_.reference.digest) {
      image = findPublished([&](const store::ImageRow& row) {
        return row.descriptor.digest == *request_.reference.digest;
      });
    } else if (request_.policy != PullPolicy::newer) {
      const std::string full = request_.reference.full();
      image = findPublished([&](const store::ImageRow& row) { return row.name == full; });
    }
    if (image || request_.policy != PullPolicy::never) return image;
    throw Error::make(Kind::notFound, "no such image: {}", nameOf(request_.reference))
        .code("image-not-found")
        .why("it is not in the store, and is not to be pulled");
  }

  template <class Predicate>
  std::optional<store::Image> findPublished(Predicate&& isWanted) {
    for (const store::ImageRow& row : images_.list()) {
      if (isWanted(row) && isWhole(row.descriptor)) return images_.load(row.descriptor);
    }
    return std::nullopt;
  }

  void connect() {
    session_.emplace(request_.reference, Action::pull, request_.access);
    session_->setNotice([this](const std::string& notice) { progress_.notice(notice); });
  }

  // HEAD, unless a digest says already what is meant. A registry that answers without a digest is
  // asked for the document itself.
  store::Descriptor resolve() {
    const store::Reference& reference = request_.reference;
    if (reference.digest) return keep(session_->manifest(reference.digest->str()));
    const auto head = session_->head(reference.tag);
    if (!head) {
      throw Error::make(Kind::notFound, "{} has no image {}", reference.host, reference.full())
          .code("manifest-unknown")
          .hint("check the name and the tag");
    }
    if (const auto known = findPresent(head->digest)) return *known;
    return keep(session_->manifest(head->digest.isZero() ? reference.tag : head->digest.str()));
  }

  // The document of a digest that is here already, with the type it says it has.
  std::optional<store::Descriptor> findPresent(const Digest& digest) {
    if (digest.isZero() || !store::hasBlob(layout_, digest)) return std::nullopt;
    try {
      Session::Document document;
      document.bytes = store::readBlob(layout_, digest);
      document.descriptor.digest = digest;
      document.descriptor.size = document.bytes.size();
      document.descriptor.mediaType = typeOf(document);
      return document.descriptor;
    } catch (const Error& error) {
      log::info("{}: {}", digest.str(), error.cause());  // damaged: it comes again
      return std::nullopt;
    }
  }

  store::Descriptor keep(const Session::Document& document) {
    const std::string type = typeOf(document);
    check(document.bytes, type, document.descriptor.digest);
    return store::putBlob(layout_, document.bytes, type, store::BlobWriter::Durability::later);
  }

  // Nothing goes into the store that is no manifest or index we understand.
  static void check(std::string_view bytes, const std::string& type, const Digest& digest) {
    if (store::isIndexType(type)) {
      std::ignore = store::parseIndex(bytes, digest.str());
      return;
    }
    const store::Manifest manifest = store::parseManifest(bytes, digest.str());
    if (store::isConfigType(manifest.config.mediaType)) return;
    throw Error::make(Kind::unsupported, "this is an artifact of type {}, not an image",
                      text::quote(manifest.config.mediaType));
  }

  bool wasPublished(const store::Descriptor& top) const {
    const auto& reference = request_.reference;
    const std::string full = reference.full();
    const auto rows = images_.list();
    return std::any_of(rows.begin(), rows.end(), [&](const store::ImageRow& row) {
      if (row.descriptor.digest != top.digest) return false;
      return reference.tag.empty() || row.name == full;
    });
  }

  // Everything that belongs to it on this platform is here.
  bool isWhole(const store::Descriptor& top) const {
    try {
      const store::Image image = images_.load(top);
      if (request_.platform && !isFor(image, *request_.platform)) return false;
      const auto& layers = image.manifest.layers;
      return std::all_of(layers.begin(), layers.end(), [&](const store::Descriptor& layer) {
        return store::hasBlob(layout_, layer.digest) &&
               store::blobSize(layout_, layer.digest) == layer.size;
      });
    } catch (const Error& error) {
      if (error.kind() != Kind::notFound && error.kind() != Kind::corrupt) throw;
      if (error.code() == "platform-missing") throw;
      return false;
    }
  }

  // The way down from the index to the config; what is here is not asked for.
  void fetchDocuments(const store::Descriptor& document, int nesting) {
    if (!findPresent(document.digest)) fetchManifest(document);
    const std::string bytes = store::readDocument(layout_, document);
    if (store::isIndexType(document.mediaType)) {
      if (nesting >= kMaxNesting)
        throw Error{Kind::corrupt, "the image index is nested too deeply"};
      const store::Index index = store::parseIndex(bytes, document.digest.str());
      const store::Platform wanted = request_.platform.value_or(store::Platform::host());
      return fetchDocuments(store::pickPlatform(index, document, wanted), nesting + 1);
    }
    const store::Manifest manifest = store::parseManifest(bytes, document.digest.str());
    checkLimits(manifest);
    fetchConfig(manifest.config);
  }

  void fetchManifest(const store::Descriptor& wanted) {
    const Session::Document document = session_->manifest(wanted.digest.str());
    if (document.bytes.size() != wanted.size) {
      throw Error::make(Kind::corrupt, "manifest {} has {} bytes, its descriptor says {}",
                        wanted.digest.str(), document.bytes.size(), wanted.size);
    }
    const std::string type = typeOf(document);
    if (!wanted.mediaType.empty() && type != wanted.mediaType) {
      throw Error::make(Kind::corrupt, "manifest {} is {}, its descriptor says {}",
                        wanted.digest.str(), text::quote(type), text::quote(wanted.mediaType));
    }
    std::ignore = keep(document);
  }

  static void checkLimits(const store::Manifest& manifest) {
    if (manifest.layers.size() > kMaxLayers) {
      throw Error::make(Kind::unsupported, "the image has {} layers, at most {} can be mounted",
                        manifest.layers.size(), kMaxLayers)
          .hint("squash it where it is made");
    }
    const std::uint64_t limit = store::limitFromEnvironment("IMG_LIMIT_IMAGE_BYTES", kImageBytes);
    std::uint64_t sum = 0;
    for (const store::Descriptor& layer : manifest.layers) {
      sum += layer.size;  // each is below 2^53 (M2), and there are at most 500
      if (sum <= limit) continue;
      throw Error::make(Kind::failed, "the image has more than {} bytes", limit)
          .code("limit")
          .hint("IMG_LIMIT_IMAGE_BYTES sets the limit");
    }
  }

  // A small blob, so it takes no worker.
  void fetchConfig(const store::Descriptor& config) {
    if (store::hasBlob(layout_, config.digest) &&
        store::blobSize(layout_, config.digest) == config.size)
      return;
    if (config.size > store::documentLimit()) {
      throw Error::make(Kind::corrupt, "the image config has {} bytes, more than {}", config.size,
                        store::documentLimit())
          .code("limit")
          .hint("IMG_LIMIT_JSON_BYTES sets the limit");
    }
    std::string bytes = receive(config, false);
    if (Digest::of(bytes) != config.digest) bytes = receive(config, true);
    if (const Digest actual = Digest::of(bytes); actual != config.digest) {
      throw Error::make(Kind::corrupt, "the registry sent other bytes than blob {}",
                        config.digest.str())
          .why(fmt::format("its {} bytes have the digest {}, also when asked again over another "
                           "connection",
                           bytes.size(), actual.str()))
          .code("digest-mismatch");
    }
    std::ignore = store::parseConfig(bytes, config.digest.str());
    std::ignore =
        store::putBlob(layout_, bytes, config.mediaType, store::BlobWriter::Durability::later);
  }

  std::string receive(const store::Descriptor& blob, bool isAgain) {
    Pipe pipe = Pipe::make();
    const int id = session_->startBlob(blob, 0, std::move(pipe.write), isAgain);
    std::string bytes = readAll(pipe.read.get(), "the image config", store::documentLimit());
    std::ignore = session_->wait(id);
    return bytes;
  }

  static bool isFor(const store::Image& image, const store::Platform& wanted) {
    const store::Platform& own = image.config.platform;
    if (own.architecture.empty()) return true;
    const bool isSameVariant =
        own.variant.empty() || wanted.variant.empty() || own.variant == wanted.variant;
    return own.os == wanted.os && own.architecture == wanted.architecture && isSameVariant;
  }

  // An image without an index is for what its config says.
  void checkPlatform(const store::Image& image) {
    const store::Platform wanted = request_.platform.value_or(store::Platform::host());
    if (isFor(image, wanted)) return;
    const std::string own = text::escape(platformText(image.config.platform));
    if (request_.platform) {
      throw Error::make(Kind::notFound, "image {} has nothing for {}", nameOf(request_.reference),
                        platformText(wanted))
          .code("platform-missing")
          .why("it is for " + own);
    }
    progress_.notice(
        fmt::format("the image is for {}, this machine is {}", own, platformText(wanted)));
  }

  // Each blob once, however often the image has it. A layer whose view is here but whose blob is
  // not (it came in another compression) is downloaded, too: without it the store is no valid OCI
  // layout, and the image could not be saved or pushed.
  std::vector<LayerTask> tasksOf(const store::Image& image) {
    std::vector<LayerTask> tasks;
    std::map<Digest, Digest> diffIds;
    const store::Layers views{layout_};
    KnownLayers known{images_};
    for (size_t i = 0; i < image.manifest.layers.size(); ++i) {
      const store::Descriptor& blob = image.manifest.layers[i];
      const Digest& diffId = image.config.diffIds[i];
      const auto [seen, isFirst] = diffIds.emplace(blob.digest, diffId);
      if (seen->second != diffId) {
        throw Error::make(Kind::corrupt, "layer {} has two diff IDs, {} and {}", blob.digest.str(),
                          seen->second.str(), diffId.str());
      }
      if (!isFirst) continue;
      const bool isHere = store::hasBlob(layout_, blob.digest);
      if (isHere && views.has(diffId) && known.has(blob, diffId)) {
        progress_.layerDone(blob, true);
        continue;
      }
      if (!isHere) refuseForeign(blob);
      tasks.push_back({blob, diffId});
    }
    return tasks;
  }

  // security.md M7: URLs of a manifest are never fetched.
  static void refuseForeign(const store::Descriptor& blob) {
    const bool isForeign = blob.mediaType.find(".foreign.") != std::string::npos ||
                           blob.mediaType.find(".nondistributable.") != std::string::npos;
    if (!isForeign) return;
    throw Error::make(Kind::unsupported, "layer {} is not distributed by registries",
                      blob.digest.str())
        .why(fmt::format("its type is {}; it has to be in the store already, and is not",
                         blob.mediaType));
  }

  void publish(const store::Descriptor& top) {
    std::vector<std::string> names;
    if (!request_.reference.tag.empty()) names.push_back(request_.reference.full());
    images_.publish(top, names);
  }

  const store::Layout& layout_;
  const PullRequest& request_;
  PullProgress& progress_;
  const store::Images images_;
  const InterruptionScope interruption_;
  std::optional<Session> session_;
};

}  // namespace

Pulled pullImage(const store::Layout& layout, const PullRequest& request,
                 PullProgress& progress) try {
  return Puller{layout, request, progress}.run();
} catch (Error& error) {
  if (error.code() != "interrupted" && error.code() != "image-not-found")
    error.during("pulling {}", nameOf(request.reference));
  throw;
}

}  // namespace img::distribution
