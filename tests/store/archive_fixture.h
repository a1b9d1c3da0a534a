// Image archives made by hand, for the tests of load.
#pragma once

#include "store/archive.h"
#include "tests/store/store_fixture.h"

namespace img::store::test {

class ArchiveTest : public StoreTest {
 protected:
  static std::vector<LoadedImage> load(const Layout& into, const std::string& tar) {
    StringSource source{tar};
    return loadArchive(into, source, "test.tar");
  }

  static std::string configFor(const std::vector<Digest>& diffIds) {
    ImageConfig config;
    config.platform = Platform::host();
    config.diffIds = diffIds;
    return toJson(config);
  }

  static std::string dockerManifest(const std::string& config,
                                    const std::vector<std::string>& layers,
                                    const std::string& tags) {
    std::string list;
    for (const std::string& layer : layers) list += (list.empty() ? "\"" : ",\"") + layer + "\"";
    return R"([{"Config":")" + config + R"(","RepoTags":)" + tags + R"(,"Layers":[)" + list + "]}]";
  }

  // oci-layout and the blobs of an image; index.json is the test's.
  std::vector<TarFile> ociMembers(const Image& image) const {
    std::vector<TarFile> members = {{"oci-layout", R"({"imageLayoutVersion":"1.0.0"})"}};
    std::vector<Digest> digests = {image.manifestDescriptor.digest, image.id};
    for (const Descriptor& layer : image.manifest.layers) digests.push_back(layer.digest);
    for (const Digest& digest : digests) {
      members.push_back({"blobs/sha256/" + digest.hex(), readBlob(layout, digest)});
    }
    return members;
  }
};

}  // namespace img::store::test
