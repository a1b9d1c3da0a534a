#include "builder/foreign_platform.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::builder {
namespace {

using Names = std::pair<std::string_view, std::string_view>;

// Go's architecture names and those in the handlers' names of qemu-user (qemu-aarch64).
constexpr std::array<Names, 12> kQemuNames = {{{"amd64", "x86_64"},
                                               {"arm64", "aarch64"},
                                               {"arm", "arm"},
                                               {"386", "i386"},
                                               {"ppc64le", "ppc64le"},
                                               {"ppc64", "ppc64"},
                                               {"s390x", "s390x"},
                                               {"riscv64", "riscv64"},
                                               {"mips64le", "mips64el"},
                                               {"mips64", "mips64"},
                                               {"mipsle", "mipsel"},
                                               {"loong64", "loongarch64"}}};
// Processors that run another one's programs as well.
constexpr std::array<Names, 2> kCompatible = {{{"amd64", "386"}, {"arm64", "arm"}}};

std::string qemuName(const std::string& architecture) {
  const auto found = std::find_if(kQemuNames.begin(), kQemuNames.end(),
                                  [&](const Names& names) { return names.first == architecture; });
  return found == kQemuNames.end() ? architecture : std::string{found->second};
}

// Kernel admin-guide/binfmt-misc.rst: the first line of a handler's file says enabled or disabled.
bool hasHandler(const std::string& architecture, const std::string& handlers) {
  const auto text =
      fs::tryReadFile(AT_FDCWD, handlers + "/qemu-" + qemuName(architecture), size_t{64} << 10);
  return text && text->starts_with("enabled");
}

}  // namespace

void requireRunnable(const store::Platform& platform, const std::string& handlers) {
  const std::string& wanted = platform.architecture;
  const std::string own = store::Platform::host().architecture;
  if (wanted.empty() || wanted == own) return;
  const bool isCompatible =
      std::find(kCompatible.begin(), kCompatible.end(), Names{own, wanted}) != kCompatible.end();
  if (isCompatible || hasHandler(wanted, handlers)) return;
  throw Error::make(Kind::unsupported, "the image is for {}, this machine is {}",
                    text::escape(wanted), own)
      .code("arch")
      .why(fmt::format("binfmt_misc has no handler for {}", text::escape(wanted)))
      .hint(
          "install one (on Debian the packages qemu-user-static and binfmt-support), "
          "or run the step in a stage FROM --platform=$BUILDPLATFORM")
      .exitCode(1);
}

}  // namespace img::builder
