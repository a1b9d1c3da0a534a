// The records of steps as they travel: the value of the key "dev.img.cache.v1" in the config of an
// image, whose layers are the ones the records speak of. A cache image is nothing but that; an
// image with inline records is an ordinary one. Canonical: the same records give the same bytes.
//
// Untrusted input (security.md M17): whoever writes a cache decides what a key gives, as whoever
// writes a base image decides what is in it. Beyond that a document can do nothing: it names keys,
// times and texts of bounded length, and layers by their number in its own image, whose bytes are
// verified against manifest and diff ID before anybody uses them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "store/oci.h"

namespace img::builder {

inline constexpr char kCacheKey[] = "dev.img.cache.v1";

// What one execution of a step made, and the keys it is found under.
struct CacheEntry {
  std::vector<Digest> keys;
  std::optional<Digest> content;       // the key by the diff IDs below
  std::optional<Digest> own;           // the step without what lies below
  Digest state;                        // the key of the state after it
  std::optional<std::uint64_t> layer;  // number among the image's layers; none: not exported
  std::uint64_t bytes = 0;             // of its files
  std::string created;                 // RFC 3339
  std::string instruction;
  bool operator==(const CacheEntry&) const = default;
};

// The content of a cache mount.
struct CacheMountEntry {
  Digest identity;  // CacheIdentity::digest
  std::uint64_t layer = 0;
  bool operator==(const CacheMountEntry&) const = default;
};

struct CacheDocument {
  std::vector<CacheEntry> steps;  // in the order of the plan
  std::vector<CacheMountEntry> mounts;
  bool operator==(const CacheDocument&) const = default;
};

std::string toJson(const CacheDocument& document);
// The config of a cache image with these layers.
std::string cacheConfig(const CacheDocument& document, const std::vector<Digest>& diffIds);

struct CacheImage {
  CacheDocument document;
  std::vector<store::Descriptor> layers;
  std::vector<Digest> diffIds;  // as many
};
// nullopt: an image without records. Throws Kind::corrupt with the place in the document.
std::optional<CacheImage> parseCacheImage(std::string_view manifest, std::string_view config,
                                          std::string_view origin);

}  // namespace img::builder
