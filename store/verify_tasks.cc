#include "store/verify_tasks.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/interruption.h"
#include "base/process.h"
#include "base/sys.h"

namespace img::store {
namespace {

struct Running {
  size_t task;
  Child child;
};

// Blocks until one has ended.
size_t firstDone(const std::vector<Running>& running) {
  std::vector<pollfd> polls;
  polls.reserve(running.size());
  for (const Running& one : running) polls.push_back({one.child.pidfd(), POLLIN, 0});
  polls.push_back({interruptionFd(), POLLIN, 0});
  sys::check([&] { return ::poll(polls.data(), polls.size(), -1); }, "wait for workers");
  if (polls.back().revents != 0) throwIfInterrupted();
  const auto done = std::find_if(polls.begin(), polls.end() - 1,
                                 [](const pollfd& poll) { return poll.revents != 0; });
  return static_cast<size_t>(done - polls.begin());
}

}  // namespace

std::vector<std::string> answersOf(const std::vector<std::function<std::string()>>& tasks) {
  const size_t limit = static_cast<size_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  std::vector<std::string> answers(tasks.size());
  std::vector<Running> running;  // killed and reaped when an error leaves this function
  for (size_t next = 0; next < tasks.size() || !running.empty();) {
    while (next < tasks.size() && running.size() < limit) {
      running.push_back({next, Child::fork(tasks[next])});
      ++next;
    }
    const size_t done = firstDone(running);
    if (done == running.size()) continue;
    Running one = std::move(running[done]);
    running.erase(running.begin() + static_cast<std::ptrdiff_t>(done));
    answers[one.task] = one.child.finish();
  }
  return answers;
}

}  // namespace img::store
