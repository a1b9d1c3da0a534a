// The last part of a build: what the stages made becomes images, archives and folders
// (dockerfile.md 7, 9). Squashes, edits the config, writes the documents in the wanted form,
// exports, and then names them in the store. Called when every layer is sealed; forks and waits, so
// nothing of the build may be running any more.
#pragma once

#include <optional>
#include <set>
#include <vector>

#include "builder/exported_step.h"
#include "builder/progress.h"
#include "builder/request.h"
#include "builder/stage.h"
#include "store/layout.h"
#include "store/oci.h"

namespace img::builder {

// What the target stage came to, for one platform.
struct BuiltImage {
  store::Platform platform;              // as asked for
  StageState state;                      // every layer sealed
  size_t baseLayers = 0;                 // the first ones, of the base image
  std::vector<ExportedStep> steps = {};  // of all stages
  std::set<Digest> cacheMounts = {};     // identities of those that its RUN steps name
};

struct Delivered {
  std::optional<Digest> imageId;  // of the host's platform, else the first; none: no image was made
  std::optional<store::Descriptor> descriptor;  // manifest, or index of several platforms
  std::uint64_t bytes = 0;                      // of all layers
  std::uint64_t newBytes = 0;                   // of those that this build made
};

// Checks what can be known before the first step: destinations, the rule of mode=delete, options
// that exclude each other.
void checkOutputs(const Request& request, const store::Layout& layout);

Delivered deliver(const store::Layout& layout, const Request& request,
                  std::vector<BuiltImage> images, Progress& progress);

// linux_arm64, linux_arm_v7: the folder of a platform in an output of several.
std::string platformFolder(const store::Platform& platform);

}  // namespace img::builder
