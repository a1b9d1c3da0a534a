// What a machine offers to builds and containers, found out by trying. Each probe runs in a process
// of its own and leaves nothing behind.
#pragma once

#include <string>
#include <vector>

namespace img::cli {

struct Finding {
  enum class State { ok, degraded, missing };
  std::string name;
  State state = State::ok;
  std::string detail;     // ok: how; degraded: what is used instead; missing: the cure
  bool isNeeded = false;  // builds and containers cannot work without it
};

// `storeRoot`: where the store lies or would lie; nothing is made there but for the moment.
// For single-threaded processes.
std::vector<Finding> examineMachine(const std::string& storeRoot);

// Nothing that is needed is missing.
bool canWork(const std::vector<Finding>& findings);

std::string findingsText(
    const std::vector<Finding>& findings);  // "NAME: STATE: DETAIL", a line each
std::string findingsJson(const std::vector<Finding>& findings);  // {name, state, detail, needed}

}  // namespace img::cli
