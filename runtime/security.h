// What a process in a container may do: capabilities, no_new_privs, seccomp, users and groups.
// Security settings fail closed: one that could not be set is an error.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace img::runtime {

// CHOWN DAC_OVERRIDE FOWNER FSETID KILL NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID SYS_CHROOT
// (security.md P1).
inline constexpr std::uint64_t kDefaultCapabilities = 0x800405fb;
inline constexpr std::uint64_t kDockerCapabilities = 0xa80425fb;

// "net_raw", "CAP_NET_RAW", "ALL" (all the kernel knows). Throws Kind::usage for an unknown name.
std::uint64_t parseCapability(std::string_view name);
// Drops first, then adds.
std::uint64_t capabilitySet(std::uint64_t base, const std::vector<std::string>& add,
                            const std::vector<std::string>& drop);

// What this process could hand on: its bounding set, of those that are asked for.
std::uint64_t boundingCapabilities(std::uint64_t asked = ~std::uint64_t{0});

struct Identity {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // sorted, without doubles, the primary one included
  std::string home = "/";
};
// "U[:G]" against /etc/passwd and /etc/group below `root` (opened R2/R6 style). Throws
// Kind::usage/notFound with the messages of security.md P4 and cli.md 10 ("no matching entries in
// passwd file").
Identity resolveUser(int root, std::string_view user, const std::vector<std::string>& groupAdd);

}  // namespace img::runtime
