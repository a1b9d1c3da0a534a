#include "builder/image_form.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/json.h"
#include "base/text.h"
#include "builder/cache_export.h"
#include "builder/layer_form.h"
#include "builder/secret_guard.h"
#include "builder/stage_image.h"

namespace img::builder {
namespace {

using Level = Annotation::Level;
using Durability = store::BlobWriter::Durability;

// OCI and docker names of the same bytes; zstd has none in docker's schema 2.
constexpr std::array<std::pair<const char*, const char*>, 2> kLayerTypes = {
    {{store::media::kLayer, store::media::kDockerLayer},
     {store::media::kLayerGzip, store::media::kDockerLayerGzip}}};

std::string layerType(const std::string& type, bool isDocker) {
  for (const auto& [oci, docker] : kLayerTypes) {
    if (type == oci || type == docker) return isDocker ? docker : oci;
  }
  if (!isDocker || type.starts_with("application/vnd.docker.")) return type;
  throw Error::make(Kind::unsupported, "docker's image format has no layers of type {}",
                    text::quote(type))
      .hint("use --format oci, or another --compression");
}

std::map<std::string, std::string> annotationsOf(const ImageForm& form, const ConfigEdits& edits,
                                                 Level level, const store::Platform& platform) {
  std::map<std::string, std::string> found;
  for (const Annotation& annotation : form.annotations) {
    if (annotation.level != level) continue;
    const auto& only = annotation.platform;
    if (only && (only->os != platform.os || only->architecture != platform.architecture ||
                 only->variant != platform.variant))
      continue;
    found[annotation.key] = annotation.value;
  }
  for (const std::string& key : edits.unsetAnnotations) found.erase(key);
  return found;
}

void editConfig(store::ImageConfig& config, const ConfigEdits& edits) {
  const auto drop = [&](const std::string& name) {
    std::erase_if(config.env,
                  [&](const std::string& entry) { return entry.starts_with(name + "="); });
  };
  for (const std::string& name : edits.unsetEnv) drop(name);
  for (const std::string& name : edits.unsetLabels) config.labels.erase(name);
  for (const auto& [name, value] : edits.env) setEnv(config.env, name, value);
}

std::vector<LayerRef> formedLayers(const store::Layout& layout, const BuiltImage& image,
                                   const ImageForm& form) {
  std::vector<LayerRef> layers = image.state.snapshot.layers;
  if (form.isRewritten && form.epoch && *form.epoch)
    layers = rewriteTimes(layout, layers, image.baseLayers, {**form.epoch, std::nullopt});
  if (form.compression)
    layers = compressLayers(layout, layers, image.baseLayers, *form.compression);
  return layers;
}

// --cache-to type=inline: of the steps whose layers the image has, whatever its form.
std::string inlineRecords(const BuiltImage& image, const store::ImageConfig& config) {
  std::map<Digest, std::uint64_t> numbers;  // the first layer with these bytes
  for (std::uint64_t i = 0; i < config.diffIds.size(); ++i) numbers.emplace(config.diffIds[i], i);
  std::vector<ExportedStep> steps;
  std::copy_if(image.steps.begin(), image.steps.end(), std::back_inserter(steps),
               [&](const ExportedStep& step) { return numbers.count(*step.layer->diffId) != 0; });
  return steps.empty() ? std::string{} : toJson(documentOf(steps, numbers));
}

// The config with one more key, which nobody reads from an image that is a base (security.md M17).
store::Image writeWithRecords(const store::Layout& layout, const store::ImageConfig& config,
                              store::Manifest manifest, const std::string& records) {
  const store::Image plain = store::writeManifest(layout, config, manifest, Durability::withName);
  Json document = parseJson(toJson(config), "image config");
  document[kCacheKey] = parseJson(records, "records of steps");
  manifest.config = store::putBlob(layout, dumpJson(document), plain.manifest.config.mediaType,
                                   Durability::withName);
  store::Image image = plain;
  image.manifest = std::move(manifest);
  image.id = image.manifest.config.digest;
  image.manifestDescriptor = store::putBlob(layout, toJson(image.manifest),
                                            image.manifest.mediaType, Durability::withName);
  return image;
}

store::Image writeOne(const store::Layout& layout, const Request& request, const BuiltImage& image,
                      const ImageForm& form, Progress& progress) {
  const bool isDocker = form.isDocker.value_or(false);
  const auto epoch = form.epoch.value_or(request.sourceDateEpoch);
  store::ImageConfig config = stageConfig(image.state, request, epoch);
  editConfig(config, request.output.edits);
  guardConfig(config, request.step, progress);
  store::Manifest manifest;
  manifest.mediaType = isDocker ? store::media::kDockerManifest : store::media::kManifest;
  manifest.annotations = annotationsOf(form, request.output.edits, Level::manifest, image.platform);
  for (const LayerRef& layer : formedLayers(layout, image, form)) {
    config.diffIds.push_back(*layer->diffId);
    store::Descriptor descriptor = *layer->descriptor;
    descriptor.annotations.clear();
    descriptor.mediaType = layerType(descriptor.mediaType, isDocker);
    manifest.layers.push_back(std::move(descriptor));
  }
  const std::string records = request.hasInlineCache ? inlineRecords(image, config) : "";
  store::Image written =
      records.empty()
          ? store::writeManifest(layout, config, std::move(manifest), Durability::withName)
          : writeWithRecords(layout, config, std::move(manifest), records);
  written.manifestDescriptor.annotations =
      annotationsOf(form, request.output.edits, Level::manifestDescriptor, image.platform);
  return written;
}

store::Descriptor writeIndex(const store::Layout& layout, const Request& request,
                             const std::vector<BuiltImage>& built,
                             const std::vector<store::Image>& images, const ImageForm& form) {
  store::Index index;
  if (form.isDocker.value_or(false)) index.mediaType = store::media::kDockerManifestList;
  for (size_t i = 0; i < images.size(); ++i) {
    store::Descriptor entry = images[i].manifestDescriptor;
    entry.platform = built[i].platform;
    index.manifests.push_back(std::move(entry));
  }
  index.annotations = annotationsOf(form, request.output.edits, Level::index, {});
  store::Descriptor descriptor =
      store::putBlob(layout, toJson(index), index.mediaType, Durability::withName);
  descriptor.annotations = annotationsOf(form, request.output.edits, Level::indexDescriptor, {});
  return descriptor;
}

// The request as a build of this platform alone had it.
Request requestFor(const Request& request, const BuiltImage& image) {
  if (request.platforms.size() < 2) return request;
  Request one = request;
  const store::Platform& platform = image.platform;
  one.platforms = {{platform.os, platform.osVersion, platform.architecture, platform.variant}};
  return one;
}

// Of this build's entries (or all) all but the last one with a layer have none any more. Their
// times stay those of the layers they made (dockerfile.md 7.4: as many entries as layers).
void squashHistory(std::vector<HistoryItem>& history, bool withBase) {
  bool isLast = true;
  for (auto item = history.rbegin(); item != history.rend(); ++item) {
    if (item->fromBase && !withBase) break;
    if (item->entry.emptyLayer) continue;
    if (!isLast) item->entry.emptyLayer = true;
    isLast = false;
  }
}

}  // namespace

store::Descriptor WrittenImage::descriptor() const {
  return index ? *index : images.front().manifestDescriptor;
}

const store::Image& WrittenImage::main() const {
  const store::Platform host = store::Platform::host();
  const auto found = std::find_if(images.begin(), images.end(), [&](const store::Image& image) {
    const store::Platform& platform = image.config.platform;
    return platform.os == host.os && platform.architecture == host.architecture;
  });
  return found == images.end() ? images.front() : *found;
}

ImageForm mergedForm(const ImageForm& whole, const ImageForm& own) {
  ImageForm form = own;
  if (!form.isDocker) form.isDocker = whole.isDocker;
  if (!form.compression) form.compression = whole.compression;
  if (!form.epoch) form.epoch = whole.epoch;
  form.isRewritten = own.isRewritten || whole.isRewritten;
  form.annotations.insert(form.annotations.begin(), whole.annotations.begin(),
                          whole.annotations.end());
  return form;
}

bool wantsIndex(const Request& request) {
  if (request.platforms.size() > 1) return true;
  for (auto arg = request.buildArgs.rbegin(); arg != request.buildArgs.rend(); ++arg) {
    if (arg->first == "BUILDKIT_MULTI_PLATFORM")
      return parser::parseBool(arg->second).value_or(false);
  }
  return false;
}

WrittenImage writeImages(const store::Layout& layout, const Request& request,
                         const std::vector<BuiltImage>& images, const ImageForm& form,
                         Progress& progress) {
  WrittenImage written;
  for (const BuiltImage& image : images)
    written.images.push_back(writeOne(layout, requestFor(request, image), image, form, progress));
  if (wantsIndex(request))
    written.index = writeIndex(layout, request, images, written.images, form);
  return written;
}

void reshape(const store::Layout& layout, const Request& request, BuiltImage& image) {
  using Squash = OutputRequest::Squash;
  const OutputRequest& output = request.output;
  std::vector<LayerRef>& layers = image.state.snapshot.layers;
  TimeRule times;
  if (output.layerTimes == OutputRequest::LayerTimes::clamp) times.clamp = request.sourceDateEpoch;
  if (output.layerTimes == OutputRequest::LayerTimes::set) times.set = request.sourceDateEpoch;
  if (output.squash == Squash::all) image.baseLayers = 0;
  const auto firstNew = layers.begin() + static_cast<std::ptrdiff_t>(image.baseLayers);
  const std::vector<LayerRef> below{layers.begin(), firstNew};
  const std::vector<LayerRef> own{firstNew, layers.end()};
  if (output.squash != Squash::no && own.size() > 1) {
    layers = below;
    layers.push_back(squashLayers(layout, below, own, times));
    squashHistory(image.state.history, output.squash == Squash::all);
  } else if (times.set && !own.empty()) {
    layers = rewriteTimes(layout, layers, image.baseLayers, times);
  }
}

}  // namespace img::builder
