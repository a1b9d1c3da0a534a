#include "builder/cache_export.h"

#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/compress.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/cache_target.h"
#include "builder/secret_guard.h"
#include "store/blobs.h"
#include "store/layer_type.h"
#include "store/layers.h"
#include "store/seal.h"

namespace img::builder {
namespace {

constexpr char kForms[] = "cache/forms";

class HashingSink final : public Sink {
 public:
  explicit HashingSink(Sink& inner) : inner_(inner) {}
  void write(std::span<const std::byte> bytes) override {
    hasher_.update(bytes);
    size_ += bytes.size();
    inner_.write(bytes);
  }
  [[nodiscard]] std::uint64_t size() const { return size_; }
  Digest digest() { return hasher_.finish(); }

 private:
  Sink& inner_;
  Hasher hasher_;
  std::uint64_t size_ = 0;
};

// A file that becomes a blob of a cache: plain bytes go in, both digests come out.
class BlobFile {
 public:
  BlobFile(int folder, const std::string& name, const LayerCompression& wanted, unsigned threads)
      : file_(sys::openat(folder, name, O_WRONLY | O_CREAT | O_EXCL, 0644), name),
        packed_(file_),
        packer_(wanted.kind == Compression::none
                    ? nullptr
                    : compressTo(packed_, wanted.kind, wanted.level, threads)),
        plain_(packer_ ? static_cast<Sink&>(*packer_) : packed_),
        kind_(wanted.kind) {}

  Sink& sink() { return plain_; }

  struct Made {
    store::Descriptor blob;
    Digest diffId;
  };
  Made finish() {
    if (packer_) packer_->finish();
    Made made;
    made.blob.mediaType = store::layerType(kind_);
    made.blob.digest = packed_.digest();
    made.blob.size = packed_.size();
    made.diffId = plain_.digest();
    return made;
  }

 private:
  FdSink file_;
  HashingSink packed_;
  std::unique_ptr<CompressingSink> packer_;
  HashingSink plain_;
  Compression kind_;
};

std::string encode(const BlobFile::Made& made) {
  return dumpJson(Json{{"blob", toJson(made.blob)}, {"diff_id", made.diffId.str()}});
}

BlobFile::Made decode(const std::string& text) {
  const Json json = parseJson(text, "result of compressing a layer");
  BlobFile::Made made;
  made.blob = store::parseDescriptor(json.at("blob").get<std::string>(), "a layer");
  made.diffId = Digest::parse(json.at("diff_id").get<std::string>());
  return made;
}

// What compressing a layer gave an earlier export, so that an unchanged one is not compressed to
// find out that the target has it. Losing a note costs that time.
class FormNotes {
 public:
  FormNotes(const store::Layout& layout, const LayerCompression& wanted)
      : folder_(fs::makeDirs(layout.fd(), kForms, 0700)), wanted_(wanted) {}

  [[nodiscard]] std::optional<store::Descriptor> find(const Digest& diffId) const try {
    const auto text = fs::tryReadFile(folder_.get(), nameOf(diffId));
    if (!text) return std::nullopt;
    return store::parseDescriptor(*text, "note of a compressed layer");
  } catch (const Error&) {
    return std::nullopt;
  }

  void write(const Digest& diffId, const store::Descriptor& blob) const {
    fs::replaceFile(folder_.get(), nameOf(diffId), toJson(blob), 0600, fs::Sync::none);
  }

 private:
  [[nodiscard]] std::string nameOf(const Digest& diffId) const {
    Hasher hasher;
    hasher.field(diffId.str());
    hasher.field(compressionName(wanted_.kind));
    hasher.field(static_cast<std::uint64_t>(wanted_.level.value_or(0)));
    return hasher.finish().hex();
  }

  Fd folder_;
  LayerCompression wanted_;
};

// The export into one place.
class Export {
 public:
  Export(const store::Layout& layout, const Request& request, const std::vector<BuiltImage>& images,
         ImportedCaches& imports, Progress& progress, const CachePlace& place)
      : layout_(layout),
        step_(request.step),
        images_(images),
        imports_(imports),
        progress_(progress),
        place_(place),
        notes_(layout, place.compression),
        target_(cacheTarget(layout, place, request.registry)) {}

  // What is to be told of it.
  std::string run() {
    collect();
    if (isCurrent()) return "unchanged";
    std::vector<LayerRef> missing;
    for (const auto& [diffId, layer] : layers_) {
      if (!findForm(diffId)) missing.push_back(layer);
    }
    imports_.fetchNow(missing);
    // The record of one that cannot be had goes without it.
    std::erase_if(missing, [](const LayerRef& layer) { return layer->source != nullptr; });
    compress(missing);
    if (place_.hasMounts) addMounts();
    publish();
    return fmt::format("{} layers, {} written ({} bytes)", image_.layers.size(), written_,
                       writtenBytes_);
  }

 private:
  // In the order of the plan, each once.
  void collect() {
    std::set<Digest> wanted;
    for (const BuiltImage& image : images_) {
      for (const LayerRef& layer : image.state.snapshot.layers) wanted.insert(*layer->diffId);
    }
    std::set<Digest> seen;
    for (const BuiltImage& image : images_) {
      for (const ExportedStep& step : image.steps) {
        const Digest& diffId = *step.layer->diffId;
        if (!place_.hasAllStages && wanted.count(diffId) == 0) continue;
        if (seen.insert(diffId).second) layers_.emplace_back(diffId, step.layer);
      }
    }
  }

  // As it would be compressed, whether or not the target has that.
  [[nodiscard]] std::optional<store::Descriptor> formOf(const Digest& diffId) const {
    if (auto note = notes_.find(diffId)) return note;
    if (place_.compression.level) return std::nullopt;
    return imports_.formOf(diffId, place_.compression.kind);
  }

  // Nothing has to be looked at blob by blob when the last export was the same.
  bool isCurrent() {
    if (place_.hasMounts) return false;  // their content is not known without reading it
    for (const auto& [diffId, layer] : layers_) {
      const auto form = formOf(diffId);
      if (!form || imports_.isDamaged(form->digest)) return false;
      forms_.emplace(diffId, *form);
    }
    describe();
    const bool isThere = target_->isCurrent(manifestDescriptor_, manifest_);
    if (!isThere) forms_.clear();
    return isThere;
  }

  // True: the target has the layer.
  bool findForm(const Digest& diffId) {
    const auto form = formOf(diffId);
    if (!form || imports_.isDamaged(form->digest) || !target_->has(*form)) return false;
    forms_.emplace(diffId, *form);
    return true;
  }

  void compress(const std::vector<LayerRef>& layers) {
    const unsigned threads = compressionThreads(layers.size());
    const auto most = static_cast<size_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
    std::vector<std::pair<LayerRef, Child>> running;
    const auto finishFirst = [&] {
      const LayerRef layer = running.front().first;
      const BlobFile::Made made = decode(running.front().second.finish());
      running.erase(running.begin());
      if (made.diffId != *layer->diffId)
        throw Error::make(Kind::corrupt, "the layer {} is damaged", layer->diffId->str());
      take(made);
      notes_.write(made.diffId, made.blob);
    };
    for (const LayerRef& layer : layers) {
      if (running.size() == most) finishFirst();
      running.emplace_back(layer, Child::fork([&, threads] { return pack(*layer, threads); }));
    }
    while (!running.empty()) finishFirst();
  }

  // In a process of its own.
  std::string pack(const Layer& layer, unsigned threads) {
    FdSource raw{store::openBlob(layout_, layer.descriptor->digest), layer.diffId->str()};
    const std::unique_ptr<Source> plain = store::openLayerStream(*layer.descriptor, raw);
    BlobFile file{target_->workFolder(), layer.diffId->hex(), place_.compression, threads};
    copyAll(*plain, file.sink());
    return encode(file.finish());
  }

  void take(const BlobFile::Made& made) {
    forms_.emplace(made.diffId, made.blob);
    target_->take(made.diffId.hex(), made.blob);
    ++written_;
    writtenBytes_ += made.blob.size;
  }

  void addMounts() {
    std::set<Digest> identities;
    for (const BuiltImage& image : images_)
      identities.insert(image.cacheMounts.begin(), image.cacheMounts.end());
    for (const Digest& identity : identities) addMount(identity);
  }

  void addMount(const Digest& identity) {
    const auto folder =
        sys::tryOpenat(layout_.fd(), "cache/mounts/" + identity.hex(), O_RDONLY | O_DIRECTORY);
    if (!folder || !sys::tryFstatat(folder->get(), "0")) return;
    const Fd lock = sys::openat(folder->get(), "0.lock", O_RDWR | O_CREAT, 0600);
    sys::check([&] { return ::flock(lock.get(), LOCK_EX); }, "wait for a cache mount");
    const Fd content = sys::openDirectory(folder->get(), "0");
    if (!mayTravel(content.get())) return;
    const std::string name = identity.hex();
    Child child = Child::fork([&] {
      BlobFile file{target_->workFolder(), name, place_.compression, 0};
      store::SealOptions options;
      options.isBottom = true;
      store::writeLayerTar(content.get(), file.sink(), options);
      return encode(file.finish());
    });
    const BlobFile::Made made = decode(child.finish());
    mounts_.emplace_back(identity, made.diffId);
    const bool isKnown = forms_.count(made.diffId) != 0 || target_->has(made.blob);
    if (!isKnown) {
      sys::renameat(target_->workFolder(), name, target_->workFolder(), made.diffId.hex());
      return take(made);
    }
    sys::unlinkat(target_->workFolder(), name, 0);
    forms_.emplace(made.diffId, made.blob);
  }

  // A cache mount is no layer, so nobody has looked for secrets in what steps left there (cli.md
  // 9.7).
  [[nodiscard]] bool mayTravel(int content) {
    const SecretGuard guard = guardOf(step_);
    if (guard.isEmpty()) return true;
    const auto hit = guard.findInTree(content);
    if (!hit) return true;
    const bool isRefused = step_.secretGuard == StepOptions::Guard::error;
    Error error = Error::make(Kind::failed, "a cache mount holds the secret {}: found in {}",
                              text::quote(hit->id), text::escape(hit->place, 500));
    error.code("secret-leak");
    if (isRefused) error.hint("this mount is not exported; --secret-guard=warn or off exports it");
    if (isRefused && !place_.isErrorIgnored) throw error;
    error.prefixCause(fmt::format("exporting the cache to {}: ", text::escape(place_.name())));
    progress_.warning(error);
    return !isRefused;
  }

  // The documents for the forms there are.
  void describe() {
    image_ = {};
    std::map<Digest, std::uint64_t> numbers;
    const auto add = [&](const Digest& diffId) {
      const auto form = forms_.find(diffId);
      if (form == forms_.end()) return;
      if (!numbers.emplace(diffId, image_.layers.size()).second) return;
      image_.layers.push_back(form->second);
      image_.diffIds.push_back(diffId);
    };
    for (const auto& [diffId, layer] : layers_) add(diffId);
    for (const auto& [identity, diffId] : mounts_) add(diffId);
    std::vector<ExportedStep> steps;
    for (const BuiltImage& image : images_)
      steps.insert(steps.end(), image.steps.begin(), image.steps.end());
    image_.document = documentOf(steps, numbers);
    for (const auto& [identity, diffId] : mounts_)
      image_.document.mounts.push_back({identity, numbers.at(diffId)});
    config_ = cacheConfig(image_.document, image_.diffIds);
    manifest_ = {};
    manifest_.config.mediaType = store::media::kConfig;
    manifest_.config.digest = Digest::of(config_);
    manifest_.config.size = config_.size();
    manifest_.layers = image_.layers;
    manifest_.annotations = {{"dev.img.cache", "v1"}};
    manifestText_ = toJson(manifest_);
    manifestDescriptor_ = {};
    manifestDescriptor_.mediaType = store::media::kManifest;
    manifestDescriptor_.digest = Digest::of(manifestText_);
    manifestDescriptor_.size = manifestText_.size();
  }

  void publish() {
    describe();
    if (config_.size() > store::documentLimit()) {
      throw Error::make(Kind::failed, "the records of {} steps are longer than a document may be",
                        image_.document.steps.size())
          .hint("IMG_LIMIT_JSON_BYTES is the limit, there and here");
    }
    putDocument(*target_, manifest_.config, config_);
    target_->publish(manifestDescriptor_, manifestText_);
  }

  const store::Layout& layout_;
  const StepOptions& step_;
  const std::vector<BuiltImage>& images_;
  ImportedCaches& imports_;
  Progress& progress_;
  const CachePlace& place_;
  FormNotes notes_;
  std::unique_ptr<CacheTarget> target_;
  std::vector<std::pair<Digest, LayerRef>> layers_;  // wanted there, by diff ID
  std::map<Digest, store::Descriptor> forms_;        // in the target, by diff ID
  std::vector<std::pair<Digest, Digest>> mounts_;    // identity and diff ID
  CacheImage image_;
  std::string config_, manifestText_;
  store::Manifest manifest_;
  store::Descriptor manifestDescriptor_;
  size_t written_ = 0;
  std::uint64_t writtenBytes_ = 0;
};

}  // namespace

CacheDocument documentOf(const std::vector<ExportedStep>& steps,
                         const std::map<Digest, std::uint64_t>& layers) {
  CacheDocument document;
  std::set<Digest> seen;  // keys: platforms may share steps
  for (const ExportedStep& step : steps) {
    if (step.known.keys.empty() || !seen.insert(step.known.keys.front()).second) continue;
    CacheEntry entry;
    entry.keys = step.known.keys;
    entry.content = step.content;
    entry.own = step.known.own;
    entry.state = step.state;
    const auto layer = layers.find(*step.layer->diffId);
    if (layer != layers.end()) entry.layer = layer->second;
    entry.bytes = step.layer->bytes;
    entry.created = step.layer->created;
    entry.instruction = step.instruction;
    document.steps.push_back(std::move(entry));
  }
  return document;
}

void exportCaches(const store::Layout& layout, const Request& request,
                  const std::vector<BuiltImage>& images, ImportedCaches& imports,
                  Progress& progress) {
  for (const CachePlace& place : request.cacheTo) {
    const std::string name = text::escape(place.name());
    try {
      const std::string told = Export{layout, request, images, imports, progress, place}.run();
      progress.notice(fmt::format("exporting cache to {}: {}", name, told));
    } catch (Error& error) {
      error.prefixCause(fmt::format("exporting the cache to {}: ", name));
      if (!place.isErrorIgnored) throw;
      progress.warning(error);
    }
  }
}

}  // namespace img::builder
