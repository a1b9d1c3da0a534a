// What tables and `inspect` tell about a stored image beyond its documents.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "store/images.h"
#include "store/references.h"

namespace img::cli {

// Bytes of the files of each layer, bottom first. A layer that is not unpacked counts with its
// blob.
std::vector<std::uint64_t> layerSizes(const store::Layout& layout, const store::Image& image);
std::uint64_t imageSize(const store::Layout& layout, const store::Image& image);

// RFC 3339. When the config has no creation time, the time at which the manifest came into this
// store.
std::string createdTime(const store::Layout& layout, const store::Image& image);
std::string createdTime(const store::Layout& layout, const std::string& created,
                        const Digest& manifest);

// Whether an entry of index.json stands for the image.
bool resolvesTo(const store::Layout& layout, const store::ImageRow& row, const store::Image& image);
// For who asks for many: each manifest is read once.
bool resolvesTo(const store::Layout& layout, store::Documents& documents,
                const store::ImageRow& row, const store::Image& image);

// Full names whose entry resolves to the image, in the order of index.json.
std::vector<std::string> namesOf(const store::Layout& layout, const store::Image& image);
std::vector<std::string> namesOf(const store::Layout& layout, store::Documents& documents,
                                 const store::Image& image);

// "docker.io/library/app:latest" -> "app:latest"; a name that is no reference stays as it is.
std::string familiarName(const std::string& fullName);

// The full names that an argument may stand for, in the order of the lookup (cli.md section 5);
// none when it can only be an id.
std::vector<std::string> namesMeantBy(const std::string& argument);

// A container that was made from the image.
struct ContainerUser {
  std::string id, name;
  bool isAlive = false;
};
std::vector<ContainerUser> usersOf(const store::Layout& layout, const store::Image& image);

}  // namespace img::cli
