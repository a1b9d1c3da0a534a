#include "builder/foreign_platform.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.h"
#include "runtime/architecture.h"

namespace img::builder {
namespace {

using Names = std::pair<std::string_view, std::string_view>;

// Processors that run another one's programs as well.
constexpr std::array<Names, 2> kCompatible = {{{"amd64", "386"}, {"arm64", "arm"}}};

}  // namespace

void requireRunnable(const store::Platform& platform, const std::string& handlers) {
  const std::string& wanted = platform.architecture;
  const std::string own = store::Platform::host().architecture;
  if (wanted.empty() || wanted == own) return;
  const bool isCompatible =
      std::find(kCompatible.begin(), kCompatible.end(), Names{own, wanted}) != kCompatible.end();
  if (isCompatible || runtime::hasBinfmtHandler(wanted, handlers)) return;
  throw runtime::foreignError("the image is", wanted, handlers)
      .hint("or run the step in a stage FROM --platform=$BUILDPLATFORM")
      .exitCode(1);
}

}  // namespace img::builder
