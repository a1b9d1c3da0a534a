// What a RUN executes and everything that decides its result: command, environment, user, network,
// rights, mounts; the cache key over it and the history text (dockerfile.md 1.9, 3.5-3.7, 6.2,
// 7.4).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "builder/layer_step.h"
#include "builder/run_mounts.h"
#include "builder/step_devices.h"

namespace img::builder {

// After the heredocs have been taken apart.
struct RunCommand {
  std::vector<std::string> argv;
  std::string script;  // not empty: a file with a #! line that argv runs
  bool isShellForm = true;
};

inline constexpr char kScriptPath[] = "/dev/pipes/script";  // a fixed name, not the delimiter (Q9)

struct RunSettings {
  RunCommand command;
  std::vector<std::string> env;     // what counts for the key
  std::vector<std::string> runEnv;  // with proxies
  LayerRef init;                    // see StageState
  std::string cwd, user, hostname, network, platform;
  bool isInsecure = false;
  std::unique_ptr<RunMounts> mounts;
  std::vector<DeviceRequest> devices;
};

// Throws when the step asks for what --allow has not allowed.
void checkRights(const Scope& scope, const parser::Instruction& syntax,
                 const parser::RunInstruction& run);

RunSettings settingsOf(Workshop& shop, const PlannedStage& planned, const parser::Step& step,
                       const StageState& stage);
Digest keyOf(const Workshop& shop, const RunSettings& settings, RunMounts::KeyKind kind);
// `RUN |2 a=1 b= /bin/sh -c ls`; values of arguments whose name says that they are secret: `***`.
std::string createdBy(const RunSettings& settings, const StageState& stage);

}  // namespace img::builder
