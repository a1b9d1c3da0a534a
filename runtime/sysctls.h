// --sysctl: settings of the kernel that belong to a namespace, so that a container can have its
// own. Every other would change the machine.
#pragma once

#include <string>
#include <string_view>

#include "runtime/spec.h"

namespace img::runtime {

// "net.ipv4.conf.eth0/1.forwarding" as a path below /proc/sys: "net/ipv4/conf/eth0.1/forwarding".
// With a slash as the first separator slashes separate, and dots stay (sysctl(8)).
std::string sysctlPath(std::string_view key);

// Which namespace a setting belongs to: "net", "ipc", "uts", "user"; empty: to none.
std::string_view namespaceOfSysctl(std::string_view key);

// Throws Kind::usage, naming the key, for settings of namespaces that `spec` shares.
void checkSysctls(const Spec& spec);

// Writes them through `proc`, an instance of ours that is not read-only yet.
void applySysctls(int proc, const Spec& spec);

}  // namespace img::runtime
