// A built image in the form that an output wants: layers, config, manifest, and an index when there
// are several platforms (dockerfile.md 7.7). Writes blobs; nothing is named.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "builder/deliver.h"
#include "store/images.h"

namespace img::builder {

struct WrittenImage {
  std::vector<store::Image> images;        // in the order of the platforms
  std::optional<store::Descriptor> index;  // several platforms, or asked for
  // What a name points at, with the annotations of its level.
  [[nodiscard]] store::Descriptor descriptor() const;
  // The one this machine runs, else the first.
  [[nodiscard]] const store::Image& main() const;
};

// The form of the whole build with what one output says besides.
ImageForm mergedForm(const ImageForm& whole, const ImageForm& own);
// An index instead of a manifest: several platforms, or BUILDKIT_MULTI_PLATFORM.
bool wantsIndex(const Request& request);

WrittenImage writeImages(const store::Layout& layout, const Request& request,
                         const std::vector<BuiltImage>& images, const ImageForm& form,
                         Progress& progress);

// --squash, --squash-all, --timestamp: the layers of `image` become others.
void reshape(const store::Layout& layout, const Request& request, BuiltImage& image);

}  // namespace img::builder
