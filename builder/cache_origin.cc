#include "builder/cache_origin.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/process.h"
#include "base/stream.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/cache_registry.h"
#include "store/blobs.h"
#include "store/images.h"
#include "store/layers.h"

namespace img::builder {
namespace {

constexpr int kMaxNesting = 4;        // security.md M8
constexpr size_t kMaxDocuments = 32;  // of one index
constexpr size_t kMaxTransfers = 4;
constexpr std::uint64_t kMaxLayerBytes = std::uint64_t{64} << 30;

// --- Origins ---

class LocalOrigin final : public CacheOrigin {
 public:
  explicit LocalOrigin(const CachePlace& place) : place_(place) {}

  [[nodiscard]] std::string name() const override { return place_.name(); }

  [[nodiscard]] std::vector<Document> read() override {
    const Fd index = regular("index.json");
    const std::string text = readAllOf(index, name() + "/index.json", store::documentLimit());
    const store::Descriptor top =
        chooseCache(store::parseIndex(text, name() + "/index.json"), place_);
    const ReadDocument read = [this](const store::Descriptor& descriptor) {
      const Fd file = regular(blobPath(descriptor));
      std::string bytes = readAllOf(file, descriptor.digest.str(), store::documentLimit());
      if (Digest::of(bytes) != descriptor.digest)
        throw Error::make(Kind::corrupt, "{} is damaged", descriptor.digest.str());
      return bytes;
    };
    return readDocuments(top, read, name());
  }

  [[nodiscard]] Stream open(const store::Descriptor& blob, bool) override {
    return {regular(blobPath(blob)), [] {}};
  }

  [[nodiscard]] bool mayHave(const store::Descriptor& blob) const override {
    struct stat st {};
    return ::stat((place_.directory + "/" + blobPath(blob)).c_str(), &st) == 0 &&
           static_cast<std::uint64_t>(st.st_size) == blob.size;
  }

 private:
  static std::string blobPath(const store::Descriptor& blob) {
    return "blobs/sha256/" + blob.digest.hex();
  }

  static std::string readAllOf(const Fd& file, const std::string& what, size_t limit) {
    FdSource source{file.duplicate(), what};
    return readAll(source, what, limit);
  }

  // Somebody else's folder may hold what hangs when it is opened.
  [[nodiscard]] Fd regular(const std::string& path) const {
    const Fd folder = sys::openDirectory(AT_FDCWD, place_.directory);
    Fd file = sys::openat(folder.get(), path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (!S_ISREG(sys::fstat(file.get()).st_mode))
      throw Error::make(Kind::corrupt, "{} is no file", text::quote(path));
    return file;
  }

  CachePlace place_;
};

// An image that was loaded, or pulled by somebody else.
class StoreOrigin final : public CacheOrigin {
 public:
  StoreOrigin(const store::Layout& layout, store::Descriptor top, std::string name)
      : layout_(layout), top_(std::move(top)), name_(std::move(name)) {}

  [[nodiscard]] std::string name() const override { return name_; }
  [[nodiscard]] std::vector<Document> read() override {
    return readDocuments(
        top_,
        [this](const store::Descriptor& document) {
          return store::readDocument(layout_, document);
        },
        name_);
  }
  [[nodiscard]] Stream open(const store::Descriptor& blob, bool) override {
    return {store::openBlob(layout_, blob.digest), [] {}};
  }
  [[nodiscard]] bool mayHave(const store::Descriptor& blob) const override {
    return store::hasBlob(layout_, blob.digest);
  }

 private:
  const store::Layout& layout_;
  store::Descriptor top_;
  std::string name_;
};

void collect(const store::Descriptor& descriptor, const ReadDocument& read, const std::string& name,
             int nesting, std::vector<CacheOrigin::Document>& found) {
  const std::string bytes = read(descriptor);
  if (!store::isIndexType(descriptor.mediaType)) {
    const store::Manifest manifest = store::parseManifest(bytes, name);
    if (!store::isConfigType(manifest.config.mediaType)) return;  // an artifact
    if (found.size() >= kMaxDocuments)
      throw Error::make(Kind::corrupt, "{} holds more than {} images", name, kMaxDocuments);
    found.push_back({bytes, read(manifest.config)});
    return;
  }
  if (nesting >= kMaxNesting) throw Error::make(Kind::corrupt, "{}: indexes nest too deep", name);
  for (const store::Descriptor& item : store::parseIndex(bytes, name).manifests)
    collect(item, read, name, nesting + 1, found);
}

// --- Fetching ---

// In a process of its own: the bytes from `bytes` become the blob of the plain tar.
std::string storeLayer(const store::Layout& layout, Fd bytes, const WantedLayer& wanted) {
  const std::string name = wanted.blob.digest.str();
  FdSource file{std::move(bytes), name};
  LimitedSource limited{file, wanted.blob.size, name};
  HashingSource hashed{limited};
  const std::unique_ptr<Source> plain = store::openLayerStream(wanted.blob, hashed);
  const std::uint64_t most = store::limitFromEnvironment("IMG_LIMIT_LAYER_BYTES", kMaxLayerBytes);
  LimitedSource bounded{*plain, most == 0 ? UINT64_MAX : most, name};
  store::BlobWriter blob{layout};
  copyAll(bounded, blob);
  std::byte rest[4096];
  while (hashed.read(rest) > 0) {  // what follows the compressed data counts for the digest
  }
  if (hashed.size() != wanted.blob.size || hashed.digest() != wanted.blob.digest)
    throw Error::make(Kind::corrupt, "{} is damaged", name).code("digest-mismatch");
  using Durability = store::BlobWriter::Durability;
  return std::to_string(blob.commit(store::media::kLayer, wanted.diffId, Durability::later).size);
}

class Fetcher {
 public:
  Fetcher(const store::Layout& layout, CacheOrigin& origin, const std::vector<WantedLayer>& wanted)
      : layout_(layout), origin_(origin), wanted_(wanted), results_(wanted.size()) {}

  std::vector<FetchedLayer> run() {
    for (size_t i = 0; i < wanted_.size(); ++i) {
      if (running_.size() == kMaxTransfers) finishOne();
      start(i, false);
    }
    while (!running_.empty()) finishOne();
    return std::move(results_);
  }

 private:
  struct Transfer {
    size_t number;
    bool isAgain;
    Child child;
    std::function<void()> finish;
  };

  void start(size_t number, bool isAgain) {
    const WantedLayer& wanted = wanted_[number];
    try {
      CacheOrigin::Stream stream = origin_.open(wanted.blob, isAgain);
      // Ours is closed at once: were it the last reader, nobody would tell the sender to stop.
      Child child =
          Child::fork([&] { return storeLayer(layout_, std::move(stream.bytes), wanted); });
      stream.bytes.reset();
      running_.push_back({number, isAgain, std::move(child), std::move(stream.finish)});
    } catch (const Error& error) {
      results_[number].error = error;
    }
  }

  void finishOne() {
    std::vector<pollfd> polls;
    for (const Transfer& transfer : running_) polls.push_back({transfer.child.pidfd(), POLLIN, 0});
    sys::check([&] { return ::poll(polls.data(), polls.size(), -1); }, "wait for layers");
    const auto ready = std::find_if(polls.begin(), polls.end(),
                                    [](const pollfd& item) { return item.revents != 0; });
    if (ready == polls.end()) return;
    Transfer transfer = std::move(running_[static_cast<size_t>(ready - polls.begin())]);
    running_.erase(running_.begin() + (ready - polls.begin()));
    finish(transfer);
  }

  void finish(Transfer& transfer) {
    FetchedLayer& result = results_[transfer.number];
    std::optional<Error> error;
    try {
      result.size = text::parseUnsigned(transfer.child.finish()).value_or(0);
    } catch (const Error& problem) {
      error = problem;
    }
    try {
      transfer.finish();
    } catch (const Error& problem) {
      // Why the bytes ended early explains what was wrong with them.
      if (error) error = problem;
    }
    const bool isWorthwhile = error && error->kind() == Kind::corrupt && !transfer.isAgain;
    if (isWorthwhile) return start(transfer.number, true);
    result.error = std::move(error);
  }

  const store::Layout& layout_;
  CacheOrigin& origin_;
  const std::vector<WantedLayer>& wanted_;
  std::vector<FetchedLayer> results_;
  std::vector<Transfer> running_;
};

}  // namespace

std::vector<CacheOrigin::Document> readDocuments(const store::Descriptor& top,
                                                 const ReadDocument& read,
                                                 const std::string& name) {
  std::vector<CacheOrigin::Document> found;
  collect(top, read, name, 0, found);
  return found;
}

store::Descriptor chooseCache(const store::Index& index, const CachePlace& place) {
  const std::string tag = place.tag.empty() ? "latest" : place.tag;
  for (const store::Descriptor& descriptor : index.manifests) {
    if (!place.digest.empty()) {
      if (descriptor.digest.str() == place.digest) return descriptor;
      continue;
    }
    const auto name = descriptor.annotations.find(store::kRefName);
    if (name == descriptor.annotations.end()) continue;
    if (name->second == tag || name->second.ends_with(":" + tag)) return descriptor;
  }
  const bool isAny = place.digest.empty() && place.tag.empty();
  if (isAny && index.manifests.size() == 1) return index.manifests.front();
  throw Error::make(Kind::notFound, "{} holds no image {}", place.directory,
                    place.digest.empty() ? text::quote(tag) : place.digest);
}

std::vector<FetchedLayer> fetchLayers(const store::Layout& layout, CacheOrigin& origin,
                                      const std::vector<WantedLayer>& wanted) {
  return Fetcher{layout, origin, wanted}.run();
}

std::vector<std::unique_ptr<CacheOrigin>> originsOf(const store::Layout& layout,
                                                    const CachePlace& place,
                                                    const distribution::AccessOptions& access) {
  std::vector<std::unique_ptr<CacheOrigin>> origins;
  if (place.type == CachePlace::Type::local) {
    origins.push_back(std::make_unique<LocalOrigin>(place));
    return origins;
  }
  // What is here costs nothing to ask.
  const store::Reference reference = store::Reference::parse(place.reference);
  for (const store::ImageRow& row : store::Images{layout}.list()) {
    if (row.name != reference.full()) continue;
    origins.push_back(std::make_unique<StoreOrigin>(layout, row.descriptor, place.reference));
    break;
  }
  origins.push_back(registryOrigin(place, access));
  return origins;
}

}  // namespace img::builder
