#include "distribution/push_documents.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "store/blobs.h"
#include "store/images.h"
#include "store/layer_type.h"

namespace img::distribution {
namespace {

namespace media = store::media;

constexpr int kMaxNesting = 4;  // security.md M8

bool isForeign(const store::Descriptor& layer) {
  return layer.mediaType.find(".foreign.") != std::string::npos ||
         layer.mediaType.find(".nondistributable.") != std::string::npos;
}

bool isDockerType(std::string_view mediaType) {
  return mediaType == media::kDockerManifest || mediaType == media::kDockerManifestList;
}

// What the options make of one layer; nullopt: it stays as it is.
std::optional<LayerForm> formOf(const store::Descriptor& layer, const PushForm& form,
                                bool isDocker) {
  const Compression current = store::promisedCompression(layer);
  const bool isPlain = current == Compression::none;
  const Compression wanted = form.compression.value_or(Compression::gzip);
  std::optional<LayerForm> result;
  if (isPlain || form.isForced) {
    const bool isAnew = form.isForced && form.level.has_value();
    if (current != wanted || (isAnew && !isPlain)) result = LayerForm{wanted, form.level};
  }
  const Compression final = result ? result->kind : current;
  // Schema 2 knows no zstd, and docker reads none.
  if (isDocker && final == Compression::zstd) return LayerForm{Compression::gzip, {}};
  return result;
}

void planImage(const store::Layout& layout, const store::Manifest& manifest, const PushForm& form,
               PushedDocument& document) {
  const std::string config = store::readDocument(layout, manifest.config);
  const store::ImageConfig image = store::parseConfig(config, manifest.config.digest.str());
  const bool hasDiffIds = image.diffIds.size() == manifest.layers.size();
  const bool isDockerNow = document.descriptor.mediaType == media::kDockerManifest;
  const bool isZstdWanted = form.compression == Compression::zstd;
  document.isDocker = form.isDocker.value_or(isDockerNow && !isZstdWanted);
  for (size_t i = 0; i < manifest.layers.size(); ++i) {
    const store::Descriptor& layer = manifest.layers[i];
    if (isForeign(layer)) continue;
    PushedBlob blob{layer, {}, {}};
    if (store::isLayerType(layer.mediaType) && hasDiffIds) {
      blob.diffId = image.diffIds[i];
      blob.form = formOf(layer, form, document.isDocker);
    }
    document.blobs.push_back(std::move(blob));
  }
}

PushedDocument readManifest(const store::Layout& layout, const store::Descriptor& descriptor,
                            std::string bytes, const PushForm& form) {
  const store::Manifest manifest = store::parseManifest(bytes, descriptor.digest.str());
  PushedDocument document;
  document.descriptor = descriptor;
  document.bytes = std::move(bytes);
  document.isImage = store::isConfigType(manifest.config.mediaType);
  if (document.isImage) {
    planImage(layout, manifest, form, document);
  } else {
    for (const store::Descriptor& layer : manifest.layers) {
      if (!isForeign(layer)) document.blobs.push_back({layer, {}, {}});
    }
  }
  document.blobs.push_back({manifest.config, {}, {}});
  return document;
}

void readInto(const store::Layout& layout, const store::Descriptor& source, const PushForm& form,
              std::vector<PushedDocument>& documents, int nesting) {
  const auto isKnown = [&](const PushedDocument& known) {
    return known.descriptor.digest == source.digest;
  };
  if (std::any_of(documents.begin(), documents.end(), isKnown)) return;
  std::string bytes = store::readDocument(layout, source);
  if (!store::isIndexType(source.mediaType)) {
    documents.push_back(readManifest(layout, source, std::move(bytes), form));
    return;
  }
  if (nesting >= kMaxNesting) throw Error{Kind::corrupt, "the image index is nested too deeply"};
  const store::Index index = store::parseIndex(bytes, source.digest.str());
  for (const store::Descriptor& child : index.manifests)
    readInto(layout, child, form, documents, nesting + 1);
  PushedDocument document;
  document.descriptor = source;
  document.bytes = std::move(bytes);
  document.isIndex = true;
  document.isDocker = form.isDocker.value_or(isDockerType(source.mediaType) &&
                                             form.compression != Compression::zstd);
  documents.push_back(std::move(document));
}

bool isHere(const store::Layout& layout, const store::Descriptor& blob) {
  return store::hasBlob(layout, blob.digest) && store::blobSize(layout, blob.digest) == blob.size;
}

void setDescriptor(Json& target, const store::Descriptor& descriptor) {
  target["mediaType"] = descriptor.mediaType;
  target["digest"] = descriptor.digest.str();
  target["size"] = descriptor.size;
}

// distribution's spec/manifest-v2-2.md has no annotations.
void dropAnnotations(Json& object) {
  object.erase("annotations");
  object.erase("artifactType");
}

void convertLayers(Json& json, const PushedDocument& document, const Replacements& replacements) {
  for (Json& layer : json["layers"]) {
    store::Descriptor descriptor = store::parseDescriptor(dumpJson(layer), "a layer");
    if (const auto found = replacements.find(descriptor.digest); found != replacements.end()) {
      descriptor = found->second;
      descriptor.mediaType =
          store::layerType(store::promisedCompression(descriptor), document.isDocker);
      setDescriptor(layer, descriptor);
    } else if (store::isLayerType(descriptor.mediaType) && !isForeign(descriptor)) {
      layer["mediaType"] =
          store::layerType(store::promisedCompression(descriptor), document.isDocker);
    }
    if (document.isDocker) dropAnnotations(layer);
  }
}

void convertManifest(Json& json, const PushedDocument& document, const Replacements& replacements) {
  convertLayers(json, document, replacements);
  json["mediaType"] = document.isDocker ? media::kDockerManifest : media::kManifest;
  json["config"]["mediaType"] = document.isDocker ? media::kDockerConfig : media::kConfig;
  if (!document.isDocker) return;
  dropAnnotations(json);
  dropAnnotations(json["config"]);
}

void convertIndex(Json& json, const PushedDocument& document, const Replacements& replacements) {
  for (Json& child : json["manifests"]) {
    const auto digest = Digest::tryParse(child.value("digest", ""));
    const auto found = digest ? replacements.find(*digest) : replacements.end();
    if (found != replacements.end()) setDescriptor(child, found->second);
  }
  json["mediaType"] = document.isDocker ? media::kDockerManifestList : media::kIndex;
  if (document.isDocker) dropAnnotations(json);
}

bool isAsWanted(const PushedDocument& document, const Replacements& replacements) {
  if (document.isIndex) {
    const store::Index index = store::parseIndex(document.bytes, "an index");
    const bool hasSameChildren =
        std::none_of(index.manifests.begin(), index.manifests.end(), [&](const auto& child) {
          const auto found = replacements.find(child.digest);
          return found != replacements.end() && found->second.digest != child.digest;
        });
    return hasSameChildren && isDockerType(document.descriptor.mediaType) == document.isDocker;
  }
  if (!document.isImage) return true;
  const bool hasSameLayers =
      std::none_of(document.blobs.begin(), document.blobs.end(), [&](const PushedBlob& blob) {
        const auto found = replacements.find(blob.stored.digest);
        return found != replacements.end() && found->second.digest != blob.stored.digest;
      });
  return hasSameLayers && isDockerType(document.descriptor.mediaType) == document.isDocker;
}

}  // namespace

std::vector<PushedDocument> readDocuments(const store::Layout& layout,
                                          const store::Descriptor& source, const PushForm& form) {
  std::vector<PushedDocument> documents;
  readInto(layout, source, form, documents, 0);
  return documents;
}

bool isWhole(const store::Layout& layout, const store::Descriptor& source) {
  if (!isHere(layout, source)) return false;
  const std::string bytes = store::readDocument(layout, source);
  if (store::isIndexType(source.mediaType)) {
    const store::Index index = store::parseIndex(bytes, source.digest.str());
    return std::all_of(index.manifests.begin(), index.manifests.end(),
                       [&](const store::Descriptor& child) { return isWhole(layout, child); });
  }
  const store::Manifest manifest = store::parseManifest(bytes, source.digest.str());
  return isHere(layout, manifest.config) &&
         std::all_of(manifest.layers.begin(), manifest.layers.end(),
                     [&](const store::Descriptor& layer) {
                       return isForeign(layer) || isHere(layout, layer);
                     });
}

PushedDocument convertDocument(const PushedDocument& document, const Replacements& replacements) {
  PushedDocument result = document;
  if (isAsWanted(document, replacements)) return result;
  Json json = parseJson(document.bytes, document.descriptor.digest.str());
  document.isIndex ? convertIndex(json, document, replacements)
                   : convertManifest(json, document, replacements);
  result.bytes = dumpJson(json);
  result.descriptor.mediaType = json["mediaType"].get<std::string>();
  result.descriptor.digest = Digest::of(result.bytes);
  result.descriptor.size = result.bytes.size();
  return result;
}

}  // namespace img::distribution
