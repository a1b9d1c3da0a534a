#include "store/platform_choice.h"

#include "base/error.h"
#include "base/text.h"

namespace img::store {
namespace {

bool matchesPlatform(const Platform& offered, const Platform& host) {
  if (offered.os != host.os || offered.architecture != host.architecture) return false;
  return offered.variant.empty() || host.variant.empty() || offered.variant == host.variant;
}

std::string platformName(const Platform& platform) {
  std::string name = platform.os + "/" + platform.architecture;
  return platform.variant.empty() ? name : name + "/" + platform.variant;
}

}  // namespace

const Descriptor& pickPlatform(const Index& index, const Descriptor& self, const Platform& wanted) {
  std::vector<std::string> offered;
  for (const Descriptor& entry : index.manifests) {
    if (entry.platform && matchesPlatform(*entry.platform, wanted)) return entry;
    if (entry.platform) offered.push_back(text::escape(platformName(*entry.platform)));
  }
  if (index.manifests.size() == 1 && !index.manifests[0].platform) return index.manifests[0];
  throw Error::make(Kind::notFound, "image {} has nothing for {}", self.digest.str(),
                    platformName(wanted))
      .code("platform-missing")
      .why(
          fmt::format("it is for {}", offered.empty() ? "no platform" : text::join(offered, ", ")));
}

}  // namespace img::store
