#include "network/settings.h"

#include <fcntl.h>
#include <net/if.h>

#include "base/environment.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/text.h"

namespace img::network {
namespace {

// Also the name of our nftables table, so of what an identifier there may have. Its beginning keeps
// us from the tables (filter, nat) and bridges (docker0, virbr0) of others, which we would change.
bool isBridgeName(const std::string& name) {
  constexpr char kLetters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  const std::string all = std::string{kLetters} + "0123456789_";
  return name.starts_with("img") && name.size() < IFNAMSIZ &&
         name.find_first_not_of(all) == std::string::npos;
}

std::string variableOr(const char* name, const char* otherwise) {
  const std::string value = variableOrEmpty(name);
  return value.empty() ? otherwise : value;
}

}  // namespace

Settings Settings::fromEnvironment(std::string runRoot) {
  Settings settings;
  settings.runRoot = std::move(runRoot);
  settings.bridge = variableOr("IMG_BRIDGE", "img0");
  if (!isBridgeName(settings.bridge)) {
    throw Error::make(Kind::usage, "IMG_BRIDGE: {} cannot be the name of a bridge of ours",
                      text::quote(settings.bridge))
        .hint("img and up to 12 letters, digits and underscores, as img1");
  }
  const std::string subnet = variableOrEmpty("IMG_BRIDGE_SUBNET");
  if (subnet.empty()) return settings;
  settings.subnet = Subnet::parse(subnet);
  if (!settings.subnet) {
    throw Error::make(Kind::usage, "IMG_BRIDGE_SUBNET: {} is not a subnet", text::quote(subnet))
        .hint("an IPv4 address and a prefix length of at most 29, as 10.89.0.0/16");
  }
  return settings;
}

std::string Settings::folderPath() const {
  return runRoot + "/network/" + bridge;
}

Fd Settings::folder() const {
  return fs::makeDirs(AT_FDCWD, folderPath(), 0700);
}

}  // namespace img::network
