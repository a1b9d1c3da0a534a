#include "runtime/cgroups.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <ctime>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::runtime {
namespace {

constexpr const char* kParent = "img";
constexpr std::int64_t kDefaultProcesses = 2048;
constexpr int kPatienceMs = 10000;
constexpr const char* kV1Hierarchies[] = {"freezer", "memory", "cpu", "cpuset", "pids"};

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

std::string readText(const std::string& path) {
  return fs::tryReadFile(AT_FDCWD, path).value_or("");
}

void writeText(const std::string& path, std::string_view value) {
  writeAll(sys::openat(AT_FDCWD, path, O_WRONLY).get(), value, path);
}

bool tryWriteText(const std::string& path, std::string_view value) {
  const Fd file{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
  return file && ::write(file.get(), value.data(), value.size()) >= 0;
}

bool tryMakeFolder(const std::string& path) {
  return ::mkdir(path.c_str(), 0755) == 0 || errno == EEXIST;
}

void sleepMs(long ms) {
  const timespec time{0, ms * 1'000'000};
  ::nanosleep(&time, nullptr);
}

// The number after "KEY " in a file of such lines.
std::optional<unsigned long long> keyedNumber(const std::string& content, std::string_view key) {
  for (const std::string& line : text::split(content, '\n')) {
    if (line.size() > key.size() && line.compare(0, key.size(), key) == 0 &&
        line[key.size()] == ' ') {
      return text::parseUnsigned(text::trim(std::string_view{line}.substr(key.size())));
    }
  }
  return std::nullopt;
}

Error cannotLimit(const std::string& what, const std::string& why) {
  return Error::make(Kind::unsupported, "cannot set the limit {}", what)
      .code("cgroup")
      .why(why)
      .hint("--cgroups=disabled runs the container without limits");
}

void setLimit(const std::string& folder, const char* file, const std::string& value) {
  try {
    writeText(folder + "/" + file, value);
  } catch (const Error& error) {
    throw cannotLimit(fmt::format("{}={}", file, value), error.cause());
  }
}

std::string orMax(std::int64_t value) {
  return value < 0 ? "max" : std::to_string(value);
}

// Twice the memory when nothing was said (cli.md 10.5); -1: unlimited.
std::int64_t memoryAndSwap(const Limits& limits) {
  return limits.memorySwap.value_or(*limits.memory * 2);
}

void limitMemory(const std::string& folder, bool isV2, const Limits& limits) {
  const std::string memory = std::to_string(*limits.memory);
  const std::int64_t total = memoryAndSwap(limits);
  if (isV2) {
    setLimit(folder, "memory.max", memory);
    const std::string swap =
        total < 0 ? "max" : std::to_string(std::max<std::int64_t>(total - *limits.memory, 0));
    if (limits.memorySwap || exists(folder + "/memory.swap.max"))
      setLimit(folder, "memory.swap.max", swap);
    return;
  }
  setLimit(folder, "memory.limit_in_bytes", memory);
  // Without swap accounting in the kernel the file is missing, which matters only if it was asked
  // for.
  if (limits.memorySwap || exists(folder + "/memory.memsw.limit_in_bytes")) {
    setLimit(folder, "memory.memsw.limit_in_bytes", std::to_string(total));
  }
}

void limitCpu(const std::string& folder, bool isV2, const Limits& limits) {
  const std::int64_t period = limits.cpuPeriod.value_or(100000);
  if (isV2) {
    if (limits.cpuShares) {  // 2..262144 to 1..10000
      setLimit(folder, "cpu.weight", std::to_string(1 + (*limits.cpuShares - 2) * 9999 / 262142));
    }
    if (limits.cpuQuota || limits.cpuPeriod) {
      setLimit(folder, "cpu.max",
               fmt::format("{} {}", orMax(limits.cpuQuota.value_or(-1)), period));
    }
    return;
  }
  if (limits.cpuShares) setLimit(folder, "cpu.shares", std::to_string(*limits.cpuShares));
  if (limits.cpuPeriod) setLimit(folder, "cpu.cfs_period_us", std::to_string(period));
  if (limits.cpuQuota) setLimit(folder, "cpu.cfs_quota_us", std::to_string(*limits.cpuQuota));
}

// A version 1 cpuset starts empty and takes no process until both files are filled
// (cgroup-v1/cpusets.rst).
void fillCpuset(const std::string& parent, const std::string& folder) {
  for (const char* file : {"/cpuset.cpus", "/cpuset.mems"}) {
    if (text::trim(readText(folder + file)).empty()) {
      setLimit(folder, file + 1, std::string{text::trim(readText(parent + file))});
    }
  }
}

struct Want {
  const char* controller;
  bool isAsked;
};

std::vector<Want> wantedControllers(const Limits& limits) {
  return {{"memory", limits.memory || limits.memorySwap},
          {"cpu", limits.cpuShares || limits.cpuQuota || limits.cpuPeriod},
          {"cpuset", !limits.cpusetCpus.empty()},
          {"pids", limits.pids.has_value()}};
}

void applyLimit(const std::string& controller, const std::string& folder, bool isV2,
                const Limits& limits) {
  if (controller == "memory" && limits.memory) limitMemory(folder, isV2, limits);
  if (controller == "cpu") limitCpu(folder, isV2, limits);
  if (controller == "cpuset") setLimit(folder, "cpuset.cpus", limits.cpusetCpus);
  if (controller == "pids") {
    setLimit(folder, "pids.max", orMax(limits.pids.value_or(kDefaultProcesses)));
  }
}

std::vector<pid_t> readProcesses(const std::string& folder) {
  std::vector<pid_t> pids;
  for (const std::string& line : text::split(readText(folder + "/cgroup.procs"), '\n')) {
    if (const auto pid = text::parseUnsigned(line)) pids.push_back(static_cast<pid_t>(*pid));
  }
  return pids;
}

void killProcesses(const std::string& folder) {
  if (tryWriteText(folder + "/cgroup.kill", "1")) return;  // Linux 5.14
  for (const pid_t pid : readProcesses(folder)) ::kill(pid, SIGKILL);
}

// Waits for the line KEY VALUE in cgroup.events, whose changes poll(2) reports.
bool awaitEvent(const std::string& folder, std::string_view key, unsigned long long value) {
  const Fd events = sys::openat(AT_FDCWD, folder + "/cgroup.events", O_RDONLY);
  const std::int64_t deadline = sys::monotonicMs() + kPatienceMs;
  while (sys::monotonicMs() < deadline) {
    sys::check([&] { return ::lseek(events.get(), 0, SEEK_SET); }, "rewind cgroup.events");
    if (keyedNumber(readAll(events.get(), "cgroup.events"), key) == value) return true;
    pollfd entry{events.get(), POLLPRI, 0};
    ::poll(&entry, 1, 100);
  }
  return false;
}

void setFreezerState(const std::string& folder, const char* state) {
  const std::int64_t deadline = sys::monotonicMs() + kPatienceMs;
  // FREEZING until every task has stopped; tasks forked meanwhile need the write again.
  do {
    writeText(folder + "/freezer.state", state);
    if (text::trim(readText(folder + "/freezer.state")) == state) return;
    sleepMs(1);
  } while (sys::monotonicMs() < deadline);
  throw Error::make(Kind::busy, "the processes in {} did not become {}", folder, state);
}

void setFrozen(const Cgroup& group, const std::string& name, bool isFrozen) {
  for (const std::string& folder : group.folders) {
    if (exists(folder + "/cgroup.freeze")) {
      writeText(folder + "/cgroup.freeze", isFrozen ? "1" : "0");
      if (awaitEvent(folder, "frozen", isFrozen ? 1 : 0)) return;
      throw Error::make(Kind::busy, "the processes of {} did not {}", name,
                        isFrozen ? "stop" : "resume");
    }
    if (exists(folder + "/freezer.state")) {
      return setFreezerState(folder, isFrozen ? "FROZEN" : "THAWED");
    }
  }
  throw Error::make(Kind::unsupported, "container {} has no cgroup to freeze", name).code("cgroup");
}

}  // namespace

bool Cgroup::outOfMemory() const {
  return std::any_of(folders.begin(), folders.end(), [](const std::string& folder) {
    const auto v2 = keyedNumber(readText(folder + "/memory.events"), "oom_kill");
    const auto v1 = keyedNumber(readText(folder + "/memory.oom_control"), "oom_kill");
    return v2.value_or(0) > 0 || v1.value_or(0) > 0;
  });
}

std::optional<std::uint64_t> Cgroup::peakMemory() const {
  // Version 2 (memory.peak is of Linux 5.19), then version 1.
  for (const char* file : {"/memory.peak", "/memory.max_usage_in_bytes"}) {
    for (const std::string& folder : folders) {
      if (const auto peak = text::parseUnsigned(text::trim(readText(folder + file)))) return peak;
    }
  }
  return std::nullopt;
}

void Cgroup::remove() {
  const std::int64_t deadline = sys::monotonicMs() + kPatienceMs;
  for (const std::string& folder : folders) {
    while (::rmdir(folder.c_str()) != 0 && errno != ENOENT) {
      if (errno != EBUSY || sys::monotonicMs() > deadline) {
        throw Error::fromErrno(errno, "remove the cgroup " + folder);
      }
      tryWriteText(folder + "/freezer.state", "THAWED");  // a frozen version 1 task cannot die
      killProcesses(folder);
      sleepMs(1);
    }
  }
  folders.clear();
}

CgroupTree::CgroupTree(std::string root) : root_(std::move(root)) {
  for (const std::string& candidate : {root_, root_ + "/unified"}) {
    if (!exists(candidate + "/cgroup.controllers")) continue;
    unified_ = candidate;
    controllers_ =
        text::split(std::string{text::trim(readText(candidate + "/cgroup.controllers"))}, ' ');
    break;
  }
}

std::string CgroupTree::folderOf(const std::string& hierarchy, const std::string& name) const {
  return hierarchy + "/" + kParent + "/" + name;
}

// The mount that has the controller: the version 2 one or a version 1 hierarchy; "" for none.
std::string CgroupTree::controllerHome(const std::string& controller) const {
  if (std::find(controllers_.begin(), controllers_.end(), controller) != controllers_.end())
    return unified_;
  const std::string v1 = root_ + "/" + controller;
  return unified_ != root_ && exists(v1 + "/cgroup.procs") ? v1 : "";
}

// Makes the group in one hierarchy, once; "" when it cannot be written to.
std::string CgroupTree::enter(Cgroup& group, const std::string& home,
                              const std::string& name) const {
  std::string folder = folderOf(home, name);
  if (std::find(group.folders.begin(), group.folders.end(), folder) != group.folders.end())
    return folder;
  if (!tryMakeFolder(home + "/" + kParent) || !tryMakeFolder(folder)) return {};
  group.folders.push_back(folder);
  if (home == unified_) {
    group.into = sys::openat(AT_FDCWD, folder, O_PATH | O_DIRECTORY);
  } else {
    group.entries.push_back(sys::openat(AT_FDCWD, folder + "/cgroup.procs", O_WRONLY));
  }
  return folder;
}

void CgroupTree::addController(Cgroup& group, const std::string& name,
                               const std::string& controller, bool isAsked,
                               const Limits& limits) const {
  const std::string home = controllerHome(controller);
  const bool isV2 = home == unified_;
  if (home.empty()) {
    if (!isAsked) return;
    throw cannotLimit(controller,
                      fmt::format("the kernel offers no {} controller here", controller));
  }
  if (isV2) {
    tryWriteText(home + "/cgroup.subtree_control", "+" + controller);
    tryWriteText(home + "/" + kParent + "/cgroup.subtree_control", "+" + controller);
  }
  const std::string folder = enter(group, home, name);
  if (folder.empty()) {
    if (!isAsked) return;
    throw cannotLimit(controller, fmt::format("{} cannot be written to", home));
  }
  if (!isAsked && !exists(folder + "/pids.max")) return;
  if (controller == "cpuset" && !isV2) {
    fillCpuset(home, home + "/" + kParent);
    fillCpuset(home + "/" + kParent, folder);
  }
  applyLimit(controller, folder, isV2, limits);
}

std::optional<Cgroup> CgroupTree::create(const std::string& name, const Limits& limits) const {
  Cgroup group;
  group.isUnified = unified_ == root_;
  try {
    if (unified_.empty() || enter(group, unified_, name).empty()) {
      if (exists(root_ + "/freezer/cgroup.procs")) enter(group, root_ + "/freezer", name);
    }
    for (const Want& want : wantedControllers(limits)) {
      // Our own limit on processes: where it costs nothing, or the cost is paid already.
      const bool isFree = controllerHome(want.controller) == unified_ || limits.any();
      const bool isDefault = want.controller == std::string_view{"pids"} && isFree;
      if (want.isAsked || isDefault)
        addController(group, name, want.controller, want.isAsked, limits);
    }
  } catch (...) {
    Error error = currentError();
    try {
      group.remove();
    } catch (const Error& second) {
      error.addStep(second.cause());
    }
    throw error;
  }
  if (group.folders.empty()) {
    log::info("no cgroup can be written to: the container cannot be paused");
    return std::nullopt;
  }
  return group;
}

Cgroup CgroupTree::find(const std::string& name) const {
  Cgroup group;
  group.isUnified = unified_ == root_;
  const auto add = [&](const std::string& home) {
    const std::string folder = folderOf(home, name);
    if (!exists(folder + "/cgroup.procs")) return;
    group.folders.push_back(folder);
    if (home == unified_) {
      group.into = sys::openat(AT_FDCWD, folder, O_PATH | O_DIRECTORY);
    } else {
      group.entries.push_back(sys::openat(AT_FDCWD, folder + "/cgroup.procs", O_WRONLY));
    }
  };
  if (name.empty()) return group;
  if (!unified_.empty()) add(unified_);
  if (!group.isUnified) {
    for (const char* hierarchy : kV1Hierarchies) add(root_ + "/" + hierarchy);
  }
  return group;
}

void CgroupTree::freeze(const std::string& name) const {
  setFrozen(find(name), name, true);
}
void CgroupTree::thaw(const std::string& name) const {
  setFrozen(find(name), name, false);
}

void CgroupTree::killAll(const std::string& name) const {
  for (const std::string& folder : find(name).folders) {
    killProcesses(folder);
    tryWriteText(folder + "/freezer.state", "THAWED");
  }
}

std::vector<pid_t> CgroupTree::processesOf(const std::string& name) const {
  const Cgroup group = find(name);
  return group.folders.empty() ? std::vector<pid_t>{} : readProcesses(group.folders.front());
}

void freeze(const std::string& cgroupName) {
  CgroupTree{}.freeze(cgroupName);
}
void thaw(const std::string& cgroupName) {
  CgroupTree{}.thaw(cgroupName);
}
void killAll(const std::string& cgroupName) {
  CgroupTree{}.killAll(cgroupName);
}
std::vector<pid_t> processesOf(const std::string& cgroupName) {
  return CgroupTree{}.processesOf(cgroupName);
}
void removeCgroup(const std::string& cgroupName) {
  CgroupTree{}.find(cgroupName).remove();
}

std::string cgroupNameOf(pid_t pid) {
  const std::string prefix = fmt::format(":/{}/", kParent);
  for (const std::string& line : text::split(readText(fmt::format("/proc/{}/cgroup", pid)), '\n')) {
    const size_t at = line.find(prefix);
    if (at != std::string::npos) return line.substr(at + prefix.size());
  }
  return {};
}

}  // namespace img::runtime
