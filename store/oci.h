// The OCI documents as values: descriptor, manifest, index, image config (image-spec descriptor.md,
// manifest.md, image-index.md, config.md), to and from JSON. Docker's media types are read as well.
// Reading checks security.md M2, M5, M6, M9, M10; errors are Kind::corrupt with the JSON pointer.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/digest.h"

namespace img::store {

namespace media {
inline constexpr char kManifest[] = "application/vnd.oci.image.manifest.v1+json";
inline constexpr char kIndex[] = "application/vnd.oci.image.index.v1+json";
inline constexpr char kConfig[] = "application/vnd.oci.image.config.v1+json";
inline constexpr char kLayer[] = "application/vnd.oci.image.layer.v1.tar";
inline constexpr char kLayerGzip[] = "application/vnd.oci.image.layer.v1.tar+gzip";
inline constexpr char kLayerZstd[] = "application/vnd.oci.image.layer.v1.tar+zstd";
inline constexpr char kDockerManifest[] = "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr char kDockerManifestList[] =
    "application/vnd.docker.distribution.manifest.list.v2+json";
inline constexpr char kDockerConfig[] = "application/vnd.docker.container.image.v1+json";
inline constexpr char kDockerLayer[] = "application/vnd.docker.image.rootfs.diff.tar";
inline constexpr char kDockerLayerGzip[] = "application/vnd.docker.image.rootfs.diff.tar.gzip";
}  // namespace media

inline constexpr char kRefName[] = "org.opencontainers.image.ref.name";

bool isLayerType(std::string_view mediaType);
bool isManifestType(std::string_view mediaType);
bool isIndexType(std::string_view mediaType);
bool isConfigType(std::string_view mediaType);

struct Platform {
  std::string os, architecture, variant, osVersion;
  static Platform host();
};

struct Descriptor {
  std::string mediaType;
  Digest digest;
  std::uint64_t size = 0;
  std::map<std::string, std::string> annotations;
  std::optional<Platform> platform;
  std::vector<std::string> urls;
};

struct Manifest {
  std::string mediaType = media::kManifest;
  Descriptor config;
  std::vector<Descriptor> layers;  // bottom first
  std::map<std::string, std::string> annotations;
};

struct Index {
  std::vector<Descriptor> manifests;
  std::map<std::string, std::string> annotations;
  std::string mediaType = media::kIndex;
};

struct Healthcheck {
  std::vector<std::string> test;
  long long interval = 0, timeout = 0, startPeriod = 0, startInterval = 0;  // nanoseconds
  int retries = 0;
  bool operator==(const Healthcheck&) const = default;
};

struct HistoryEntry {
  std::string created;  // RFC 3339 or empty
  std::string createdBy, author, comment;
  bool emptyLayer = false;
};

// config.md plus docker's Healthcheck, OnBuild, Shell. Empty values are omitted when written, keys
// sorted.
struct ImageConfig {
  std::string created, author;
  Platform platform;
  std::string user;
  std::map<std::string, bool> exposedPorts;  // "80/tcp" (the value is not used)
  std::vector<std::string> env;              // "K=V", in order
  std::optional<std::vector<std::string>> entrypoint, cmd;
  std::map<std::string, bool> volumes;
  std::string workingDir;
  std::map<std::string, std::string> labels;
  std::string stopSignal;
  std::optional<Healthcheck> healthcheck;
  std::vector<std::string> onBuild;
  std::vector<std::string> shell;
  std::vector<Digest> diffIds;  // bottom first
  std::vector<HistoryEntry> history;
};

// Canonical JSON: compact, keys sorted, byte-reproducible.
std::string toJson(const Manifest& manifest);
std::string toJson(const Index& index);
std::string toJson(const ImageConfig& config);
std::string toJson(const Descriptor& descriptor);
// `origin` names the document in errors.
// A layer type that is not known is refused when the config is an image's; artifacts pass.
Manifest parseManifest(std::string_view json, std::string_view origin);
Index parseIndex(std::string_view json, std::string_view origin);
ImageConfig parseConfig(std::string_view json, std::string_view origin);
Descriptor parseDescriptor(std::string_view json, std::string_view origin);

}  // namespace img::store
