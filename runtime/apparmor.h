// AppArmor profiles for the processes of a container (--security-opt apparmor=PROFILE).
#pragma once

#include <string>

namespace img::runtime {

// Throws Kind::unsupported when the kernel has no AppArmor, Kind::notFound when it has not loaded
// the profile.
void checkAppArmor(const std::string& profile);

// The next program that this thread executes runs under the profile. Called before the namespaces
// of the container are entered: the file of /proc that is written to is then surely the host's
// (CVE-2025-52881). An empty name does nothing.
void enterAppArmorOnExec(const std::string& profile);

}  // namespace img::runtime
