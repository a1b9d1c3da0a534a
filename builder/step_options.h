// What the command line gives to every RUN: secrets, agents, limits, rights, files. Only what
// dockerfile.md 6.2 names goes into cache keys.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/security.h"
#include "runtime/spec.h"

namespace img::builder {

// --secret, its content read when the build was asked for.
struct Secret {
  std::string id, content;
};

// --ssh: the socket of an agent, or files with private keys.
struct SshAgentSource {
  std::string id, socket;
  std::vector<std::string> keyFiles;
};

// --volume: a folder or file of the host in every RUN.
struct HostMount {
  std::string source, target;  // absolute
  bool readOnly = false;
  bool isThrowaway = false;  // `O`: writes vanish
};

struct StepOptions {
  std::vector<Secret> secrets;  // one per id
  enum class Guard { off, warn, error };
  Guard secretGuard = Guard::error;
  std::vector<SshAgentSource> agents;
  std::vector<HostMount> volumes;

  runtime::Limits limits;  // not in keys
  std::uint64_t shmSize = std::uint64_t{64} << 20;
  std::vector<std::string> ulimits;  // as given, sorted, for the key
  std::vector<runtime::ResourceLimit> resourceLimits;
  std::string cgroupParent;

  std::vector<std::string> capAdd, capDrop;                    // names, checked
  std::uint64_t capabilities = runtime::kDefaultCapabilities;  // before capAdd and capDrop
  bool noNewPrivs = false, isSeccompUnconfined = false;
  std::string seccompProfile;  // docker's JSON; empty: the standard filter
  bool only64Bit = false;
  std::string appArmor;
  std::vector<std::string> maskedPaths, unmaskedPaths;
  std::vector<std::string> devices;  // SRC[:DST[:rwm]], or the name of a CDI device

  std::vector<std::string> dns, dnsSearch, dnsOptions;
};

}  // namespace img::builder
