// Control groups, version 1, version 2 or both side by side, behind one face: img/<name> in each
// hierarchy that is needed. A container without limits gets the version 2 group alone (freeze and
// kill need no controller there), because moving a process between version 1 groups can cost 10 ms
// (percpu_down_write() waits for RCU), while clone3 into a version 2 group is free.
//
// In each hierarchy the groups lie below the highest folder that belongs to the caller: the root of
// the hierarchy for root, the folder that was delegated to him for everybody else (cgroups(7),
// "Delegation"). Nothing existing is ever chmoded or chowned (security.md U7).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "runtime/spec.h"

namespace img::runtime {

// The groups of one container. The destructor leaves them; remove() takes them away.
class Cgroup {
 public:
  std::string name;         // as given to CgroupTree
  Fd into;                  // the version 2 folder, for CLONE_INTO_CGROUP; may be empty
  std::vector<Fd> entries;  // cgroup.procs of version 1 groups: write "0" to enter
  std::vector<std::string> folders;
  bool isUnified = false;  // version 2 alone, as on current distributions

  [[nodiscard]] bool outOfMemory() const;
  // The most memory that was in use at a time, in bytes; nullopt: nobody has counted.
  [[nodiscard]] std::optional<std::uint64_t> peakMemory() const;
  [[nodiscard]] std::vector<pid_t> processes() const;

  // Return when all processes stand still, or run again. Kind::unsupported without a group that can
  // do it.
  void freeze() const;
  void thaw() const;
  [[nodiscard]] bool isFrozen() const;
  // Every process, frozen ones and those that fork meanwhile, too.
  void killAll() const;
  // Kills what is left in them. Throws Kind::busy when they do not become empty.
  void remove();
};

// The groups in these folders, as far as they exist: Cgroup::folders of another process.
Cgroup openCgroup(const std::vector<std::string>& folders);

// Where the hierarchies are mounted. Tests give it a made-up tree, and what /proc/self/cgroup would
// say.
class CgroupTree {
 public:
  explicit CgroupTree(std::string root = "/sys/fs/cgroup", std::optional<std::string> self = {});

  // nullopt when no hierarchy can be written to. A limit that was asked for and cannot be set: an
  // Error with code "cgroup" (cli.md 10.5).
  [[nodiscard]] std::optional<Cgroup> create(const std::string& name, const Limits& limits) const;
  // Adds the group of version 1 that takes rules about devices, and returns its folder; "": that
  // hierarchy is not there, or cannot be written to.
  [[nodiscard]] std::string enterDevices(Cgroup& group) const;
  // The existing groups of that name; no folders: there are none.
  [[nodiscard]] Cgroup find(const std::string& name) const;
  // Those of a running process, for another one to enter. No folders: it is where we are.
  [[nodiscard]] Cgroup groupsOf(pid_t pid) const;
  // Sets the limits that `limits` names, and no others. A version 1 controller that the container
  // did without so far gets its processes moved there. The folders of the groups afterwards.
  Cgroup update(const std::string& name, const Limits& limits) const;

  // The names of all groups that lie in ours, whoever made them.
  [[nodiscard]] std::vector<std::string> names() const;
  // Takes away groups without processes whose names start with `prefix`, older than this.
  void removeStale(const std::string& prefix, long long ageSeconds) const;

 private:
  struct Hierarchy {
    std::string mount;  // "" when the controller is nowhere
    std::string base;   // the highest folder of the caller's; "" when nothing belongs to him
    bool isV2 = false;
  };
  [[nodiscard]] Hierarchy hierarchyOf(const std::string& controller) const;
  [[nodiscard]] Hierarchy unified() const;
  [[nodiscard]] std::vector<Hierarchy> all() const;
  [[nodiscard]] std::string baseIn(const std::string& mount, const std::string& ownPath) const;
  [[nodiscard]] std::string ownPath(const std::string& controller) const;
  [[nodiscard]] std::string enter(Cgroup& group, const Hierarchy& where) const;
  [[nodiscard]] std::string enableController(const Hierarchy& where, const std::string& folder,
                                             const std::string& controller) const;
  [[nodiscard]] bool makeRoomIn(const std::string& folder) const;
  void addController(Cgroup& group, const std::string& controller, bool isAsked,
                     const Limits& limits) const;
  void moveProcesses(const Cgroup& group, const std::string& folder) const;

  std::string root_;
  std::string unified_;                      // the version 2 mount, "" when there is none
  std::vector<std::string> controllers_;     // of the version 2 mount
  mutable std::optional<std::string> self_;  // /proc/self/cgroup, read when it is needed
};

// On the machine's own tree. A group that does not exist: Kind::unsupported, or nothing to do for
// killAll and removeCgroup.
void freeze(const std::string& cgroupName);
void thaw(const std::string& cgroupName);
void killAll(const std::string& cgroupName);
std::vector<pid_t> processesOf(const std::string& cgroupName);
void removeCgroup(const std::string& cgroupName);

// PATH of --cgroup-parent. Throws Kind::usage.
void checkCgroupParent(const std::string& path);

}  // namespace img::runtime
