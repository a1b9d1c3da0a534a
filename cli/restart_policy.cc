#include "cli/restart_policy.h"

#include <algorithm>

namespace img::cli {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds kFirst{100};
constexpr milliseconds kLongest{60'000};
constexpr milliseconds kStable{10'000};

}  // namespace

bool isRestartWanted(const store::RestartRecord& restart, int exitCode, int restartsSoFar) {
  if (restart.policy.empty()) return false;
  if (restart.policy != "on-failure") return true;  // always, unless-stopped
  return exitCode != 0 && (restart.maximum == 0 || restartsSoFar < restart.maximum);
}

milliseconds restartDelay(milliseconds last, milliseconds ranFor) {
  if (last.count() == 0 || ranFor >= kStable) return kFirst;
  return std::min(last * 2, kLongest);
}

}  // namespace img::cli
