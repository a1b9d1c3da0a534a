#include "builder/cache_target.h"

#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/fs.h"
#include "base/lock.h"
#include "base/sys.h"
#include "base/text.h"
#include "distribution/session.h"
#include "store/blobs.h"
#include "store/reference.h"

namespace img::builder {
namespace {

constexpr char kBlobs[] = "blobs/sha256";
constexpr char kWork[] = ".img-cache";  // in the folder of a local cache
constexpr char kLayoutFile[] = "oci-layout";
constexpr char kLayoutText[] = R"({"imageLayoutVersion":"1.0.0"})";
constexpr size_t kMaxLayoutFile = 4096;
constexpr int kMaxNesting = 4;

// --- A folder ---

class LocalTarget final : public CacheTarget {
 public:
  explicit LocalTarget(const CachePlace& place)
      : place_(place),
        folder_(fs::makeDirs(AT_FDCWD, place.directory)),
        lock_(prepare(folder_.get(), place)),
        blobs_(fs::makeDirs(folder_.get(), kBlobs)) {
    fs::removeTree(folder_.get(), kWork);  // of an export that was killed
    sys::mkdirat(folder_.get(), kWork, 0755);
    work_ = sys::openDirectory(folder_.get(), kWork);
  }

  ~LocalTarget() override {
    try {
      fs::removeTree(folder_.get(), kWork);
    } catch (const std::exception&) {
      // The next export takes it away.
    }
  }

  [[nodiscard]] bool isCurrent(const store::Descriptor& manifest,
                               const store::Manifest& content) override {
    const store::Index index = readIndex();
    const auto entry = find(index);
    if (entry == index.manifests.end() || entry->digest != manifest.digest) return false;
    if (!has(manifest) || !has(content.config)) return false;
    return std::all_of(content.layers.begin(), content.layers.end(),
                       [this](const store::Descriptor& layer) { return has(layer); });
  }

  [[nodiscard]] bool has(const store::Descriptor& blob) override {
    const auto st = sys::tryFstatat(blobs_.get(), blob.digest.hex());
    return st && S_ISREG(st->st_mode) && static_cast<std::uint64_t>(st->st_size) == blob.size;
  }

  [[nodiscard]] int workFolder() const override { return work_.get(); }

  void take(const std::string& file, const store::Descriptor& blob) override {
    sys::renameat(work_.get(), file, blobs_.get(), blob.digest.hex());
  }

  void publish(const store::Descriptor& manifest, const std::string& bytes) override {
    putDocument(*this, manifest, bytes);
    store::Index index = readIndex();
    const auto old = find(index);
    if (old != index.manifests.end()) index.manifests.erase(old);
    store::Descriptor entry = manifest;
    entry.annotations = {{store::kRefName, tag()}};
    index.manifests.push_back(std::move(entry));
    fs::replaceFile(folder_.get(), "index.json", toJson(index), 0644, store::fullSync());
    removeStale(index);
  }

 private:
  // A folder that is empty, or an OCI layout: files of anything else are not ours to sort out.
  static FileLock prepare(int folder, const CachePlace& place) {
    // In this order: another export may begin in between, and that file is the first one it makes.
    const bool isEmpty = fs::list(folder).empty();
    if (!isEmpty && !sys::tryFstatat(folder, kLayoutFile)) {
      throw Error::make(Kind::failed, "{} is neither empty nor an OCI layout",
                        text::quote(place.directory))
          .hint("choose an empty folder, or one that --cache-to has written");
    }
    // The lock is this file's: it is written and never replaced.
    FileLock lock = FileLock::acquire(folder, kLayoutFile, FileLock::Mode::exclusive);
    if (fs::readFile(folder, kLayoutFile, kMaxLayoutFile).empty()) {
      const Fd file = sys::openat(folder, kLayoutFile, O_WRONLY);
      sys::fchmod(file.get(), 0644);
      writeAll(file.get(), std::string_view{kLayoutText}, kLayoutFile);
    }
    return lock;
  }

  [[nodiscard]] const std::string& tag() const {
    static const std::string kLatest = "latest";
    return place_.tag.empty() ? kLatest : place_.tag;
  }

  [[nodiscard]] std::vector<store::Descriptor>::const_iterator find(
      const store::Index& index) const {
    return std::find_if(index.manifests.begin(), index.manifests.end(),
                        [this](const store::Descriptor& entry) {
                          const auto name = entry.annotations.find(store::kRefName);
                          return name != entry.annotations.end() && name->second == tag();
                        });
  }

  [[nodiscard]] store::Index readIndex() const {
    const auto text = fs::tryReadFile(folder_.get(), "index.json", store::documentLimit());
    if (!text) return {};
    return store::parseIndex(*text, place_.directory + "/index.json");
  }

  // Everything an entry of the index reaches. False: a document cannot be read, so nobody knows.
  bool mark(const store::Descriptor& descriptor, int nesting, std::set<std::string>& live) const {
    live.insert(descriptor.digest.hex());
    const bool isIndex = store::isIndexType(descriptor.mediaType);
    if (!isIndex && !store::isManifestType(descriptor.mediaType)) return false;
    const auto text =
        fs::tryReadFile(blobs_.get(), descriptor.digest.hex(), store::documentLimit());
    if (!text || nesting > kMaxNesting) return false;
    if (isIndex) {
      const store::Index index = store::parseIndex(*text, place_.directory);
      return std::all_of(
          index.manifests.begin(), index.manifests.end(),
          [&](const store::Descriptor& item) { return mark(item, nesting + 1, live); });
    }
    const store::Manifest manifest = store::parseManifest(*text, place_.directory);
    live.insert(manifest.config.digest.hex());
    for (const store::Descriptor& layer : manifest.layers) live.insert(layer.digest.hex());
    return true;
  }

  void removeStale(const store::Index& index) const {
    std::set<std::string> live;
    for (const store::Descriptor& entry : index.manifests) {
      if (!mark(entry, 0, live)) return;
    }
    for (const fs::Entry& entry : fs::list(blobs_.get())) {
      const bool isBlob = Digest::tryParseHex(entry.name).has_value();
      if (isBlob && live.count(entry.name) == 0) sys::tryUnlinkat(blobs_.get(), entry.name, 0);
    }
  }

  CachePlace place_;
  Fd folder_;
  FileLock lock_;
  Fd blobs_, work_;
};

// --- A registry ---

class RegistryTarget final : public CacheTarget {
 public:
  RegistryTarget(const store::Layout& layout, const CachePlace& place,
                 const distribution::AccessOptions& access)
      : reference_(store::Reference::parse(place.reference)),
        session_(reference_, distribution::Action::push, access),
        work_(layout) {}

  // A registry keeps what a manifest refers to.
  [[nodiscard]] bool isCurrent(const store::Descriptor& manifest, const store::Manifest&) override {
    const auto found = session_.head(reference_.tag);
    return found && found->digest == manifest.digest;
  }

  [[nodiscard]] bool has(const store::Descriptor& blob) override {
    return session_.hasBlob(blob.digest);
  }

  [[nodiscard]] int workFolder() const override { return work_.fd(); }

  void take(const std::string& file, const store::Descriptor& blob) override {
    if (uploads_.size() == kMaxUploads) finishOne();
    const Fd content = sys::openat(work_.fd(), file, O_RDONLY);
    sys::unlinkat(work_.fd(), file, 0);
    uploads_.push_back(session_.startUpload(blob, content));
  }

  void publish(const store::Descriptor& manifest, const std::string& bytes) override {
    while (!uploads_.empty()) finishOne();
    session_.putManifest(reference_.tag, manifest, bytes);
  }

 private:
  static constexpr size_t kMaxUploads = 4;

  void finishOne() {
    const int id = uploads_.front();
    uploads_.erase(uploads_.begin());
    session_.wait(id);
  }

  store::Reference reference_;
  distribution::Session session_;
  store::IngestDir work_;
  std::vector<int> uploads_;
};

}  // namespace

std::unique_ptr<CacheTarget> cacheTarget(const store::Layout& layout, const CachePlace& place,
                                         const distribution::AccessOptions& access) {
  if (place.type == CachePlace::Type::local) return std::make_unique<LocalTarget>(place);
  return std::make_unique<RegistryTarget>(layout, place, access);
}

void putDocument(CacheTarget& target, const store::Descriptor& descriptor,
                 const std::string& bytes) {
  if (target.has(descriptor)) return;
  const std::string name = descriptor.digest.hex();
  fs::replaceFile(target.workFolder(), name, bytes, 0644, fs::Sync::none);
  target.take(name, descriptor);
}

}  // namespace img::builder
