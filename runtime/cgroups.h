// Control groups, version 1, version 2 or both side by side, behind one face: img/<name> in each
// hierarchy that is needed. A container without limits gets the version 2 group alone (freeze and
// kill need no controller there), because moving a process between version 1 groups can cost 10 ms
// (percpu_down_write() waits for RCU), while clone3 into a version 2 group is free.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "runtime/spec.h"

namespace img::runtime {

// The groups of one container. The destructor leaves them; remove() takes them away.
class Cgroup {
 public:
  Fd into;                  // the version 2 folder, for CLONE_INTO_CGROUP; may be empty
  std::vector<Fd> entries;  // cgroup.procs of version 1 groups: write "0" to enter
  std::vector<std::string> folders;
  bool isUnified = false;  // version 2 alone, as on current distributions

  [[nodiscard]] bool outOfMemory() const;
  // The most memory that was in use at a time, in bytes; nullopt: nobody has counted.
  [[nodiscard]] std::optional<std::uint64_t> peakMemory() const;
  // Kills what is left in them. Throws Kind::busy when they do not become empty.
  void remove();
};

// Where the hierarchies are mounted. Tests give it a made-up tree.
class CgroupTree {
 public:
  explicit CgroupTree(std::string root = "/sys/fs/cgroup");

  // nullopt when no hierarchy can be written to. A limit that was asked for and cannot be set: an
  // Error with code "cgroup" (cli.md 10.5).
  [[nodiscard]] std::optional<Cgroup> create(const std::string& name, const Limits& limits) const;
  // The existing groups of that name; no folders: there are none.
  [[nodiscard]] Cgroup find(const std::string& name) const;

  void freeze(const std::string& name) const;
  void thaw(const std::string& name) const;
  void killAll(const std::string& name) const;
  [[nodiscard]] std::vector<pid_t> processesOf(const std::string& name) const;

 private:
  [[nodiscard]] std::string folderOf(const std::string& hierarchy, const std::string& name) const;
  [[nodiscard]] std::string controllerHome(const std::string& controller) const;
  std::string enter(Cgroup& group, const std::string& home, const std::string& name) const;
  void addController(Cgroup& group, const std::string& name, const std::string& controller,
                     bool isAsked, const Limits& limits) const;

  std::string root_;
  std::string unified_;                   // the version 2 mount, "" when there is none
  std::vector<std::string> controllers_;  // of the version 2 mount
};

// On the machine's own tree. A container without a group: Kind::unsupported, or nothing to do for
// killAll.
void freeze(const std::string& cgroupName);
void thaw(const std::string& cgroupName);
void killAll(const std::string& cgroupName);
std::vector<pid_t> processesOf(const std::string& cgroupName);
void removeCgroup(const std::string& cgroupName);
// The name that process `pid` runs under, "" when it is in no group of ours.
std::string cgroupNameOf(pid_t pid);

}  // namespace img::runtime
