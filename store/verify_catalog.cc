#include "store/verify_catalog.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/text.h"
#include "store/blobs.h"
#include "store/json_reader.h"

namespace img::store {
namespace {

constexpr int kMaxNesting = 4;  // security.md M8

std::string labelOf(const ImageRow& row) {
  return row.name ? "image " + text::escape(*row.name) : "image " + row.descriptor.digest.str();
}

class Walk {
 public:
  Walk(const Layout& layout, Catalog& catalog) : layout_(layout), catalog_(catalog) {}

  void entry(const ImageRow& row) {
    catalog_.entries.push_back({row, labelOf(row), {}, {}});
    entry_ = &catalog_.entries.back();
    document(row.descriptor, 0);
  }

 private:
  BlobNeed& need(const Descriptor& descriptor) {
    const auto [found, isNew] = catalog_.blobs.try_emplace(descriptor.digest);
    BlobNeed& need = found->second;
    if (isNew) need.descriptor = descriptor;
    if (!isNew && need.descriptor.size != descriptor.size && need.problem.empty()) {
      need.problem = fmt::format("has to have {} bytes and {} bytes: its users do not agree",
                                 need.descriptor.size, descriptor.size);
    }
    need.users.insert(entry_->label);
    entry_->needs.insert(descriptor.digest);
    return need;
  }

  // The bytes of a document, when they are what everybody says.
  std::optional<std::string> read(const Descriptor& descriptor) {
    BlobNeed& blob = need(descriptor);
    if (!blob.problem.empty()) return std::nullopt;
    try {
      return readDocument(layout_, descriptor);
    } catch (const Error& error) {
      // Missing or damaged: whoever looks at the blobs says so.
      const bool isFound = error.kind() == Kind::notFound || error.code() == "digest-mismatch";
      if (!isFound) blob.problem = error.cause();
      return std::nullopt;
    }
  }

  void document(const Descriptor& descriptor, int nesting) {
    const auto bytes = read(descriptor);
    if (!bytes) return;
    try {
      if (isIndexType(descriptor.mediaType)) {
        index(parseIndex(*bytes, descriptor.digest.str()), nesting);
      } else if (isManifestType(descriptor.mediaType)) {
        manifest(parseManifest(*bytes, descriptor.digest.str()));
      }
    } catch (const Error& error) {
      need(descriptor).problem = error.cause();
    }
  }

  void index(const Index& index, int nesting) {
    if (nesting >= kMaxNesting) throw Error{Kind::corrupt, "is nested too deeply"};
    bool hasAny = index.manifests.empty();
    for (const Descriptor& child : index.manifests) {
      if (!hasBlob(layout_, child.digest)) continue;
      hasAny = true;
      document(child, nesting + 1);
    }
    if (!hasAny) entry_->problem = "none of the images of its index is in the store";
  }

  void manifest(const Manifest& manifest) {
    for (const Descriptor& layer : manifest.layers) {
      if (layer.urls.empty() || hasBlob(layout_, layer.digest)) need(layer);
    }
    const auto bytes = read(manifest.config);
    if (!bytes || !isConfigType(manifest.config.mediaType)) return;
    BlobNeed& config = need(manifest.config);
    try {
      const ImageConfig parsed = parseConfig(*bytes, manifest.config.digest.str());
      if (parsed.diffIds.size() != manifest.layers.size()) {
        entry_->problem = fmt::format("has {} layers, its config {} diff_ids",
                                      manifest.layers.size(), parsed.diffIds.size());
        return;
      }
      catalog_.images[manifest.config.digest] = parsed.diffIds;
      noteLayers(manifest, parsed);
    } catch (const Error& error) {
      config.problem = error.cause();
    }
  }

  void noteLayers(const Manifest& manifest, const ImageConfig& config) {
    for (size_t i = 0; i < manifest.layers.size(); ++i) {
      LayerNeed& layer = catalog_.layers[{manifest.layers[i].digest, config.diffIds[i]}];
      layer.blob = manifest.layers[i];
      layer.diffId = config.diffIds[i];
      if (layer.below.size() == LayerNeed::kMaxStacks) continue;
      layer.below.insert(
          {config.diffIds.begin(), config.diffIds.begin() + static_cast<std::ptrdiff_t>(i)});
    }
  }

  const Layout& layout_;
  Catalog& catalog_;
  Catalog::Entry* entry_ = nullptr;
};

}  // namespace

const Descriptor* Catalog::blobOf(const Digest& diffId) const {
  const auto found = std::find_if(layers.begin(), layers.end(),
                                  [&](const auto& layer) { return layer.second.diffId == diffId; });
  return found == layers.end() ? nullptr : &found->second.blob;
}

Catalog readCatalog(const Layout& layout, const std::vector<ImageRow>& rows) {
  Catalog catalog;
  catalog.entries.reserve(rows.size());  // entries are referred to while they are filled
  Walk walk{layout, catalog};
  for (const ImageRow& row : rows) walk.entry(row);
  return catalog;
}

}  // namespace img::store
