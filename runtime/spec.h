// What a container is to the runtime: a process to run, the namespaces it gets, and a function that
// mounts its root file system. The runtime knows no image and no store.
#pragma once

#include <linux/filter.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"

namespace img::runtime {

// A mount below the root. Targets are resolved inside the root by descriptor, and created when
// missing (security.md N8, R2, R3). Never on "/", never at or below /proc and /sys.
struct Mount {
  // detached: a whole mount that nobody else has (fsmount(2)). It is attached where the container
  // never sees it, and what `subpath` names in it is cloned from there: open_tree(2) clones from a
  // detached mount only since Linux 6.15.
  enum class Type { bind, tmpfs, detached };
  Type type = Type::bind;
  Fd source;                // bind: O_PATH descriptor opened by the caller in its own view
  std::string subpath;      // detached: relative, resolved inside the mount; empty: all of it
  std::string target;       // absolute path inside
  bool readOnly = false;    // recursive
  bool isRecursive = true;  // bind: with what is mounted below the source
  // bind: MS_PRIVATE, MS_SLAVE; 0 leaves a shared source shared (--mount bind-propagation=shared).
  std::uint64_t propagation = kPrivate;
  static constexpr std::uint64_t kPrivate = std::uint64_t{1} << 18;  // MS_PRIVATE, <sys/mount.h>
  std::uint64_t attributes = 0;  // MOUNT_ATTR_NOSUID | ... in addition
  std::string tmpfsOptions;      // "size=64m,mode=1777"
};

// A device node below /dev, besides the standard ones.
struct DeviceNode {
  std::string path;  // absolute
  mode_t type = 0;   // S_IFCHR | S_IFBLK | S_IFIFO, with the permissions
  dev_t device = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  std::string access = "rwm";
};

class EarlyNetwork;

enum class Network { none, host, join };  // none: own namespace with loopback up

// Where a namespace of the container comes from.
struct Namespace {
  enum class From { own, host, other };
  From from = From::own;
  int fd = -1;  // other: descriptor of the namespace, as /proc/PID/ns/NAME gives it
};

// `count` ids from `inside` on are `outside` on the host (user_namespaces(7)).
struct IdRange {
  std::uint32_t inside = 0, outside = 0, count = 1;
};

// A user namespace of the container's own. Without ranges it has the caller's.
struct UserNamespace {
  std::vector<IdRange> uids, gids;
  int fd = -1;  // that of another container instead
  [[nodiscard]] bool isOwn() const { return !uids.empty(); }
  [[nodiscard]] bool isUsed() const { return isOwn() || fd >= 0; }
};

enum class Seccomp { standard, unconfined, profile };

// Limits of the container's control groups; -1: unlimited, where that has a meaning. `ioWeight` is
// 10 to 1000, as version 1 has it.
struct Limits {
  std::optional<std::int64_t> memory, memorySwap, memoryReservation, cpuShares, cpuQuota, cpuPeriod,
      pids, ioWeight;
  std::string cpusetCpus, cpusetMems;
  // A limit on processes that nobody asked for: where it cannot be set, the container runs without.
  std::optional<std::int64_t> defaultPids;
  [[nodiscard]] bool any() const;  // one that was asked for
};

struct ResourceLimit {
  int resource = 0;  // RLIMIT_*
  std::uint64_t soft = 0, hard = 0;
};

struct Spec {
  std::vector<std::string> argv;
  std::vector<std::string> env;  // "K=V", complete but for HOME (from passwd when missing)
  std::string cwd = "/";         // created (0755, root) when missing
  std::string user;              // "U[:G]" as in security.md P4; empty: root
  std::vector<std::string> groupAdd;
  std::string hostname, domainname;
  std::vector<ResourceLimit> resourceLimits;  // --ulimit; others are the caller's

  // The file descriptors that become 0, 1 and 2; -1: /dev/null. Ignored with tty.
  int standardInput = -1, standardOutput = -1, standardError = -1;
  bool tty = false;  // a pty from the container's own devpts; the master comes back from start()
  unsigned short ttyRows = 0, ttyColumns = 0;  // 0: left as the kernel makes it

  Network network = Network::none;
  int networkNamespace = -1;  // Network::join: descriptor of the namespace
  // Network::none: one that the caller has begun to make, when this is the first start.
  EarlyNetwork* earlyNetwork = nullptr;
  Namespace pid, ipc, uts, cgroup;
  UserNamespace userNamespace;
  // A time namespace with these offsets in seconds (time_namespaces(7)).
  std::optional<std::int64_t> monotonicOffset, boottimeOffset;
  Seccomp seccomp = Seccomp::standard;
  std::vector<sock_filter> seccompFilter;  // Seccomp::profile: compileSeccompProfile()
  bool only64Bit = false;                  // no calls through the 32-bit entry points of the kernel
  std::string appArmor;                    // the profile to run under; empty: none
  std::uint64_t capabilities = 0;          // bounding set; kDefaultCapabilities of security.h
  // Of these, the ones a process that is not root gets as well (--cap-add).
  std::uint64_t addedCapabilities = 0;
  bool privileged = false;
  bool noNewPrivs = false;
  bool readOnlyRoot = false;
  bool init = false;  // our small init as PID 1
  mode_t umask = 022;
  std::vector<Mount> mounts;
  std::vector<DeviceNode> devices;
  std::uint64_t shmSize = std::uint64_t{64} << 20;
  // /dev/shm: one of its own, somebody else's (a detached mount), or none.
  bool hasSharedMemory = true;
  int sharedMemory = -1;
  std::optional<int> oomScoreAdj;
  // Small files bound over the root, from a private tmpfs: {"/etc/hosts", text}.
  std::vector<std::pair<std::string, std::string>> files;
  bool filesReadOnly = false;
  // Beyond the standard masked and read-only paths of /proc and /sys (security.md N5, N6): hidden
  // as well, and left open ("ALL": every one).
  std::vector<std::string> maskedPaths, unmaskedPaths;
  // {"net.core.somaxconn", "1024"}: of the container's own namespaces only.
  std::vector<std::pair<std::string, std::string>> sysctls;

  // "" : no cgroup of its own. A name alone is made in ours, PATH/NAME below where the caller may
  // make groups, /PATH/NAME below the root of the hierarchies (runtime/cgroups.h).
  std::string cgroupName;
  bool isCgroupRequired = false;  // it does not start without
  Limits limits;
  // Asked when the container has ended: whether somebody may have added cgroups of version 1 of
  // that name meanwhile, to be removed with the others. Unset: somebody may.
  std::function<bool()> hasLateGroups;

  // The caller does not outlive the container by much, or starts few: what the start leaves on its
  // heap does not add up. The container may then be set up in the caller's memory
  // (runtime/borrowed_clone.h).
  bool isCallerBrief = false;

  // Called by start() in the calling process once the container's PID 1 exists in its namespaces,
  // and before the command starts; what it throws ends the container. The network is laid here,
  // while the child builds its root. The second argument is a descriptor of the network namespace
  // it has or is about to enter.
  std::function<void(pid_t, int)> onCreated;

  // Returns a detached mount of the root file system. Called by start() in the calling process,
  // before the clone: overlayfs refuses layers that belong to another mount namespace (EINVAL from
  // clone_private_mount() in the kernel), and descriptors keep the namespace they were opened in.
  std::function<Fd()> mountRootfs;
  // Detached mounts that lie under the root file system and that only the descriptors hold. The
  // container attaches them to what it leaves when it changes its root, so that all of them end
  // with that: closing a detached mount waits until every CPU has passed a quiescent state, each
  // time.
  std::vector<int> layerMounts;
  // The same with userNamespace: called after the clone, when that namespace has its ids, with a
  // descriptor of it for ID-mapped layers. Unset: mountRootfs does.
  std::function<Fd(int)> mountMappedRootfs;
};

}  // namespace img::runtime
