// The limits of a control group: which controller a limit belongs to, which files it is written to
// in version 1 and 2 (cgroup-v1/*.rst, cgroup-v2.rst), and what is wrong when it cannot be.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "runtime/spec.h"

namespace img::runtime {

struct WantedController {
  const char* name;  // as version 2 calls it
  bool isAsked;      // there is a limit that needs it
};
std::vector<WantedController> wantedControllers(const Limits& limits);

// The name of the controller's version 1 hierarchy.
std::string versionOneName(const std::string& controller);

// Throws an Error with code "cgroup".
void applyLimits(const std::string& controller, const std::string& folder, bool isV2,
                 const Limits& limits);

// A version 1 cpuset starts empty and takes no process until both files are filled.
void fillCpuset(const std::string& parent, const std::string& folder);

Error cannotLimit(const std::string& what, const std::string& why, const std::string& cure);
// The error for a controller that no hierarchy has. `isElsewhere`: version 2 has it, but it did not
// come down to the caller's folder.
Error missingController(const std::string& controller, const std::string& root);
Error undelegatedController(const std::string& controller, const std::string& folder);

}  // namespace img::runtime
