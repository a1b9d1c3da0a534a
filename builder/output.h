// What becomes of the result of a build: the places it goes to (dockerfile.md 9, "Output types";
// cli.md 9.5), the form its documents and layers get there, and the last changes to its config.
// Values only; deliver.h does it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/stream.h"
#include "parser/value_checks.h"

namespace img::builder {

struct LayerCompression {
  Compression kind = Compression::none;  // none, gzip or zstd
  std::optional<int> level;
  bool isForced = false;  // layers of the base are compressed anew as well
  bool operator==(const LayerCompression&) const = default;
};

struct Annotation {
  enum class Level { manifest, index, manifestDescriptor, indexDescriptor };
  Level level = Level::manifest;
  std::optional<parser::Platform> platform;  // nullopt: of every platform
  std::string key, value;
};

// How an image is written.
struct ImageForm {
  std::optional<bool> isDocker;                 // media types of docker's schema 2 instead of OCI's
  std::optional<LayerCompression> compression;  // nullopt: layers as they are
  std::vector<Annotation> annotations;
  // Time of the documents. Outer nullopt: as built; inner nullopt: the time of the layers.
  std::optional<std::optional<std::int64_t>> epoch;
  bool isRewritten = false;  // file times of new layers later than `epoch` become that
};

struct Output {
  // registry: pushed and not stored, but for the names of the request.
  enum class Type { image, local, tar, oci, docker, cacheOnly, registry };
  Type type = Type::image;
  std::string dest;                // "-": stdout
  std::vector<std::string> names;  // full form; empty: those of the request
  ImageForm form;
  bool isPushed = false;        // image: to a registry as well
  bool isFolder = false;        // oci: a folder instead of an archive
  bool deletesOthers = false;   // local: what the result does not have is removed
  bool isPlatformSplit = true;  // local, tar: a folder per platform when there are several
};

// Edits of the final config, in the order: removals, then settings.
struct ConfigEdits {
  std::vector<std::pair<std::string, std::string>> env;
  std::vector<std::string> unsetEnv, unsetLabels, unsetAnnotations;
};

struct OutputRequest {
  enum class Squash { no, build, all };  // build: the layers of this build; all: the base's, too
  enum class LayerTimes { clamp, set, keep };  // what an epoch does to file times in new layers
  std::vector<Output> outputs;                 // empty: an image in the store
  Squash squash = Squash::no;
  ImageForm form;
  ConfigEdits edits;
  LayerTimes layerTimes = LayerTimes::clamp;
  int stdoutFd = 1;

  // Whether the result becomes an image in the store.
  [[nodiscard]] bool isStored(bool isNamed) const;
  // Whether any output has an image id.
  [[nodiscard]] bool hasImage(bool isNamed) const;
  [[nodiscard]] bool usesStdout() const;
};

}  // namespace img::builder
