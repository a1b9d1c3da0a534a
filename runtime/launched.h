// Shared by launch.cc and exec.cc: how a child is cloned, how its failure is heard, what a
// Container holds.
#pragma once

#include <linux/sched.h>

#include <csignal>
#include <functional>
#include <optional>
#include <string>

#include "base/fd.h"
#include "runtime/cgroups.h"
#include "runtime/launch.h"

namespace img::runtime {

struct Launched {
  pid_t pid = -1;
  Fd pidfd;
};

// To a supervisor: kill everything and end.
inline constexpr int kEndAll = SIGUSR1;

struct Container::Impl {
  explicit Impl(Launched launched) : pid(launched.pid), pidfd(std::move(launched.pidfd)) {}

  pid_t pid = -1;
  Fd pidfd;
  Fd terminal;
  std::optional<Cgroup> cgroup;  // ours to remove
  std::function<bool()> hasLateGroups;
  bool isReaped = false;
  // `pidfd` is a process of ours that stands above the command (runtime/chroot_run.h).
  bool isSupervised = false;
  bool outOfMemory = false;
  std::optional<std::uint64_t> peakMemory;
  ExitStatus status;
};

// `clone` makes the process from the completed arguments and returns its number; all signals are
// blocked meanwhile.
Launched cloneBy(clone_args args, const std::function<pid_t(clone_args&)>& clone);
// clone3 without a stack of its own behaves like fork. `child` runs in the new process with all
// signals blocked.
Launched cloneChild(clone_args args, const std::function<void()>& child);

void checkCommand(const Spec& spec);

// What came over the error pipe up to its end, which is when the command is executed or has failed.
struct ExecReport {
  std::optional<Error> error;
  pid_t pid = 0;  // of a process left behind by the one that was cloned
};
// `name` of the command is for the message.
ExecReport readReport(const Fd& errors, const std::string& name);

}  // namespace img::runtime
