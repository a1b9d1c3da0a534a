// Container records: containers/<id>/{config.json,state.json,lock,upper/,work/,init/,log}. The lock
// is held by the process that keeps the container (imgrun, or the monitor) for as long as it lives:
// a free lock means that nobody keeps it, and a running state is then shown as exited
// (reliability.md S-5, 9).
//
// Beside the records lie, all derived and repairable: containers/.names/<name> (a hard link to the
// lock, which holds the id: names are found and claimed without reading every record), .auto/<id>
// (remove this one as soon as its lock is free: --rm) and .part/<id> (records half made or half
// removed).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/fd.h"
#include "base/lock.h"
#include "store/layout.h"
#include "store/oci.h"

namespace img::store {

struct MountRecord {
  std::string type;    // bind, volume, tmpfs
  std::string name;    // volume name
  std::string source;  // host path
  std::string destination;
  std::string mode;  // options as given
  bool readOnly = false;
  bool anonymous = false;  // a volume that --rm removes
  bool noExec = false, noSuid = false, noDev = false;
  std::string tmpfsOptions;   // size=,mode=
  std::string image;          // type image: its id; `source` is the name that was given
  std::string subpath;        // of a volume or image, relative
  std::string propagation;    // of a bind mount: rslave, shared, ...; empty: rprivate
  bool nonRecursive = false;  // what is mounted below the source stays out
  bool overlay = false;       // changes go to a throw-away layer
  std::string option;         // what asked for it: volume, mount, tmpfs; empty: none of them
};

// A published port, one host port each. `hostIp` empty: every address; hostPort 0: any free one.
struct PortRecord {
  std::string hostIp;
  std::uint16_t hostPort = 0, containerPort = 0;
  std::string protocol = "tcp";
};

// What the network of a container was asked to be, beside its mode (ContainerConfig::network).
struct NetworkRecord {
  std::vector<PortRecord> ports;
  bool publishAll = false;  // every exposed port
  std::vector<std::string> dns, dnsSearch, dnsOptions, aliases;
  std::string address, macAddress;  // --ip, --mac-address
  bool noHosts = false, noHostname = false;
};

// --pid, --ipc, --uts, --userns, --cgroupns as given; empty: the default.
struct NamespaceRecord {
  std::string pid, ipc, uts, user, cgroup;
  std::vector<std::string> uidMap, gidMap;                   // INSIDE:OUTSIDE:COUNT
  std::optional<long long> monotonicOffset, boottimeOffset;  // seconds
};

// --health-*; absent: the image's. Durations in nanoseconds, as the image's HEALTHCHECK has them.
struct HealthRecord {
  bool isDisabled = false;
  std::vector<std::string> test;  // as HEALTHCHECK's: "CMD", ... or "CMD-SHELL", ...
  std::optional<long long> interval, timeout, startPeriod, startInterval;
  std::optional<int> retries;
  std::string onFailure;  // none, kill, restart, stop
};

struct DeviceRecord {
  std::string source, destination, access;  // access: of "rwm"
};

// Limits asked for; absent: none. The names are those of `inspect`.
struct LimitRecord {
  std::optional<long long> memory, memorySwap, memoryReservation, cpuShares, cpuQuota, cpuPeriod,
      nanoCpus, pids, shmSize, blkioWeight, oomScoreAdj;
  std::string cpusetCpus, cpusetMems;
};

// --ulimit; the numbers as setrlimit(2) takes them, -1: unlimited.
struct UlimitRecord {
  std::string name;  // nofile
  long long soft = 0, hard = 0;
};

// --restart. `maximum` 0: as often as it takes.
struct RestartRecord {
  std::string policy;  // on-failure, always, unless-stopped; empty: no
  int maximum = 0;
};

// What was asked for; written once (`rename` and `update` write it again).
struct ContainerConfig {
  std::string id;  // 64 hex
  std::string name;
  std::string createdAt;  // RFC 3339
  std::string imageName;  // as given
  Digest imageId;
  std::vector<Digest> diffIds;                   // bottom first
  std::vector<std::string> argv;                 // entrypoint + command
  std::vector<std::string> entrypoint, command;  // its two parts
  std::vector<std::string> env;
  std::string cwd, user, hostname, domainname;
  std::string network;  // none, host, bridge, private, container:ID, ns:PATH
  NetworkRecord networkOptions;
  NamespaceRecord namespaces;
  HealthRecord health;
  RestartRecord restart;
  std::vector<DeviceRecord> devices;
  std::vector<std::pair<std::string, std::string>> sysctls;
  std::string cgroups, cgroupParent;  // --cgroups: auto, disabled, required
  std::map<std::string, std::string> annotations;
  std::vector<MountRecord> mounts;
  std::vector<std::string> volumesFrom;  // as given; the mounts have what it came to
  std::vector<std::string> capAdd, capDrop, securityOpt, groupAdd;
  std::vector<std::pair<std::string, std::string>> extraHosts;
  std::vector<std::string> exposedPorts;
  LimitRecord limits;
  std::vector<UlimitRecord> ulimits;
  bool tty = false, openStdin = false, autoRemove = false, privileged = false, readOnlyRoot = false,
       init = false;
  std::string stopSignal;
  int stopTimeout = 10;
  long long timeout = 0;                          // --timeout, nanoseconds; 0: none
  std::string logDriver;                          // file, none, passthrough; empty: file
  long long logMaxSize = 0;                       // bytes; 0: the default
  int logMaxFiles = 0;                            // 0: the default
  std::map<std::string, std::string> logOptions;  // --log-opt as given
  std::string idFile;                             // --cidfile
  int umask = 022;
  std::map<std::string, std::string> labels;
  ImageConfig
      image;  // entrypoint, cmd, labels, ports, ... for commit and inspect; not filled by list()
};

struct ContainerState {
  enum class Status { created, running, paused, restarting, exited };
  Status status = Status::created;
  pid_t pid = 0;                 // of PID 1 on the host while running
  std::uint64_t startTicks = 0;  // field 22 of /proc/PID/stat: guards against pid reuse
  std::string bootId;
  int exitCode = 0;
  bool oomKilled = false;
  std::string error, startedAt, finishedAt;
  int restartCount = 0;
  std::vector<std::string> cgroups;  // the folders of its control groups

  // While it runs, on a bridge.
  std::string address, gateway, macAddress;
  int prefixLength = 0;
  std::vector<PortRecord> ports;  // as they are bound

  struct HealthResult {
    std::string start, end;  // RFC 3339
    int exitCode = 0;
    std::string output;
  };
  std::string healthStatus;  // starting, healthy, unhealthy; empty: no health check
  int failingStreak = 0;
  std::vector<HealthResult> healthLog;  // the last five

  // Somebody keeps it. While it is restarting there is no process.
  [[nodiscard]] bool isAlive() const {
    return status == Status::running || status == Status::paused || status == Status::restarting;
  }
};

std::string_view statusName(ContainerState::Status status);

struct ContainerRecord {
  ContainerConfig config;
  ContainerState state;  // already corrected: a dead "running" one reads as exited
};

class Containers {
 public:
  explicit Containers(const Layout& layout) : layout_(layout) {}

  // A new record with folders; the name must be free (Kind::exists, code "name-in-use", holder's id
  // in the hint). An empty name gets a generated `adjective_surname`; config.id and createdAt are
  // filled in when empty.
  // NOLINTNEXTLINE(modernize-use-nodiscard): an action
  ContainerConfig create(ContainerConfig config) const;
  // The same, and the caller is its keeper from the first moment: nobody ever sees it without one.
  struct Held;
  [[nodiscard]] Held createHeld(ContainerConfig config) const;

  // Newest first; config.image is empty.
  [[nodiscard]] std::vector<ContainerRecord> list() const;
  // By id, name, or unique prefix of an id. Without one, get() throws Kind::notFound, code
  // "container-not-found".
  [[nodiscard]] std::optional<ContainerRecord> find(std::string_view argument) const;
  [[nodiscard]] ContainerRecord get(std::string_view argument) const;
  void setState(const std::string& id, const ContainerState& state) const;
  // For what somebody else than the keeper changes, or both: reads, changes and writes the state
  // while nobody else who comes through here does. `change` returns false when there is nothing to
  // write.
  using StateChange = std::function<bool(ContainerState&)>;
  void changeState(const std::string& id, const StateChange& change) const;
  // Writes the configuration again, under the name it has.
  void setConfig(const ContainerConfig& config) const;
  // Whoever ends a container for good says so first: its keeper does not start it again. A new
  // start takes it back.
  void requestStop(const std::string& id) const;
  void forgetStop(const std::string& id) const;
  [[nodiscard]] bool isStopRequested(const std::string& id) const;
  void rename(const ContainerRecord& record, const std::string& name) const;
  FileLock hold(const std::string& id) const;  // the keeper's lock; waits
  [[nodiscard]] std::optional<FileLock> tryHold(const std::string& id) const;
  [[nodiscard]] bool isHeld(const std::string& id) const;
  // For who adds groups to a running container, before it does: its keeper looks for them at its
  // end, now and after every further start.
  void announceLateGroups(const std::string& id) const;
  [[nodiscard]] bool mayHaveLateGroups(const std::string& id) const;
  // From now on a free lock means "remove it": to be called by the keeper of a --rm container.
  void markAutoRemove(const std::string& id) const;
  // Takes that back: for who marks a record while it makes what belongs to it.
  void unmarkAutoRemove(const std::string& id) const;
  // Everything of it. The caller holds its lock, or nobody does. `name`: what it was called, as far
  // as the caller knows; that spares a look.
  void remove(const std::string& id, const std::string& name = {}) const;
  Fd folder(const std::string& id) const;  // containers/<id>; throws Kind::notFound

  // Removes what dead keepers left: --rm containers and half-made records (reliability.md R-1).
  // Cheap when there is nothing. Returns what it removed. `dropRest` takes away what belongs to a
  // container but lies elsewhere; it runs before the record goes, so that a command that dies on
  // the way leaves the record for the next one to find.
  using DropRest = std::function<void(const ContainerConfig&)>;
  // NOLINTNEXTLINE(modernize-use-nodiscard): an action
  std::vector<ContainerConfig> recover(const DropRest& dropRest = {}) const;

 private:
  void recoverParts() const;
  void claimName(ContainerConfig& config, const std::string& folder) const;
  void giveNameBack(const std::string& id, const std::string& probable) const;
  [[nodiscard]] std::optional<ContainerRecord> load(const std::string& id, bool withImage) const;
  [[nodiscard]] std::vector<std::string> ids() const;

  const Layout& layout_;
};

struct Containers::Held {
  ContainerConfig config;
  FileLock lock;
};

// What tells a process from a later one with the same number. nullopt: no such process (or a
// zombie).
std::optional<std::uint64_t> processStartTicks(pid_t pid);
// Now, as the records write it: RFC 3339 with nanoseconds.
std::string timestampNow();
// A text that sorts as the times do (RFC 3339 drops trailing zeros, and 'Z' sorts behind digits).
std::string sortableTime(const std::string& rfc3339);

}  // namespace img::store
