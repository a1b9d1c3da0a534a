#include <linux/capability.h>
#include <sys/prctl.h>

#include <array>

#include "base/error.h"
#include "base/text.h"
#include "runtime/security.h"

namespace img::runtime {
namespace {

// By number, linux/capability.h.
constexpr std::array<std::string_view, 41> kNames = {"CHOWN",
                                                     "DAC_OVERRIDE",
                                                     "DAC_READ_SEARCH",
                                                     "FOWNER",
                                                     "FSETID",
                                                     "KILL",
                                                     "SETGID",
                                                     "SETUID",
                                                     "SETPCAP",
                                                     "LINUX_IMMUTABLE",
                                                     "NET_BIND_SERVICE",
                                                     "NET_BROADCAST",
                                                     "NET_ADMIN",
                                                     "NET_RAW",
                                                     "IPC_LOCK",
                                                     "IPC_OWNER",
                                                     "SYS_MODULE",
                                                     "SYS_RAWIO",
                                                     "SYS_CHROOT",
                                                     "SYS_PTRACE",
                                                     "SYS_PACCT",
                                                     "SYS_ADMIN",
                                                     "SYS_BOOT",
                                                     "SYS_NICE",
                                                     "SYS_RESOURCE",
                                                     "SYS_TIME",
                                                     "SYS_TTY_CONFIG",
                                                     "MKNOD",
                                                     "LEASE",
                                                     "AUDIT_WRITE",
                                                     "AUDIT_CONTROL",
                                                     "SETFCAP",
                                                     "MAC_OVERRIDE",
                                                     "MAC_ADMIN",
                                                     "SYSLOG",
                                                     "WAKE_ALARM",
                                                     "BLOCK_SUSPEND",
                                                     "AUDIT_READ",
                                                     "PERFMON",
                                                     "BPF",
                                                     "CHECKPOINT_RESTORE"};

}  // namespace

std::uint64_t boundingCapabilities(std::uint64_t asked) {
  std::uint64_t mask = 0;
  for (unsigned number = 0; number < 64; ++number) {
    if ((asked >> number & 1) == 0) continue;
    const int has = ::prctl(PR_CAPBSET_READ, number, 0, 0, 0);
    if (has < 0) break;  // EINVAL: the kernel knows no more
    if (has > 0) mask |= std::uint64_t{1} << number;
  }
  return mask;
}

std::uint64_t parseCapability(std::string_view name) {
  const std::string upper = text::upper(name);
  std::string_view word = upper;
  if (word == "ALL") return (std::uint64_t{1} << kNames.size()) - 1;
  if (word.substr(0, 4) == "CAP_") word.remove_prefix(4);
  for (size_t number = 0; number < kNames.size(); ++number) {
    if (kNames[number] == word) return std::uint64_t{1} << number;
  }
  std::vector<std::string> known;
  known.reserve(kNames.size());
  for (const std::string_view candidate : kNames) known.emplace_back(candidate);
  Error error = Error::make(Kind::usage, "unknown capability {}", text::quote(name));
  if (const auto near = text::suggest(std::string{word}, known))
    error.hint("did you mean " + *near + "?");
  throw error;
}

std::uint64_t capabilitySet(std::uint64_t base, const std::vector<std::string>& add,
                            const std::vector<std::string>& drop) {
  for (const std::string& name : drop) base &= ~parseCapability(name);
  for (const std::string& name : add) base |= parseCapability(name);
  return base;
}

}  // namespace img::runtime
