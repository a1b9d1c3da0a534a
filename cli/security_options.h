// --security-opt of run, create and build (cli.md 10, security.md 1-3): what was asked for, and
// what it makes of a runtime::Spec. The values are recorded in the container's config and are read
// again by start, exec and inspect.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/spec.h"

namespace img::cli {

// A row of the table of security.md 1.
struct Confinement {
  std::string_view name;
  std::uint64_t capabilities = 0;
  bool noNewPrivs = false;
  std::optional<std::int64_t> pids;  // a limit on processes that nobody has to ask for
  bool createsMountSources = false;  // -v of a path that is not there
};
// "standard" (nothing was asked for), "strict" or "docker"; nullptr: no such row.
const Confinement* findConfinement(std::string_view name);

struct SecurityOptions {
  const Confinement* confinement = findConfinement("standard");
  std::optional<bool> noNewPrivs;  // asked for on its own
  bool isSeccompOff = false;
  std::string seccompProfile;  // the JSON text itself, or the name of its file
  bool only64Bit = false;      // abi32=off
  std::vector<std::string> maskedPaths, unmaskedPaths;
  std::string appArmor;  // a profile; empty: none asked for

  // All but the capabilities that --cap-add and --cap-drop decide: they come first.
  void applyTo(runtime::Spec& spec) const;
};

// Throws Kind::usage for what is not an option, and for values that cannot be.
SecurityOptions parseSecurityOptions(const std::vector<std::string>& options);

// As they are to be recorded: a seccomp profile by its text (compiled once, so that what is wrong
// with it is said now), as the file may be another one when the container starts. `capabilities` is
// the set of the container. Throws when the machine cannot do what was asked for.
std::vector<std::string> recordedSecurityOptions(const std::vector<std::string>& options,
                                                 std::uint64_t capabilities);

}  // namespace img::cli
