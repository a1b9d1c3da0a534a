#include "runtime/cgroup_limits.h"

#include <algorithm>
#include <cerrno>

#include "base/text.h"
#include "runtime/cgroup_files.h"

namespace img::runtime {
namespace {

constexpr std::int64_t kDefaultProcesses = 2048;
constexpr const char* kRunWithout = "--cgroups=disabled runs the container without limits";

std::string orMax(std::int64_t value) {
  return value < 0 ? "max" : std::to_string(value);
}

void setLimit(const std::string& folder, const std::string& file, const std::string& value) {
  const std::string path = folder + "/" + file;
  const std::string what = fmt::format("{}={}", file, value);
  if (!pathExists(path)) {
    throw cannotLimit(what, "the kernel has no " + file + " here", kRunWithout);
  }
  const int errnum = tryWriteText(path, value);
  if (errnum == 0) return;
  // EBUSY, ENOMEM: more is in use than would be allowed (memory); what is asked for is beyond what
  // the parent has (cpuset).
  throw cannotLimit(what, Error::fromErrno(errnum, "write " + path).cause(),
                    errnum == EBUSY ? "more than that is in use" : kRunWithout);
}

// Twice the memory when nothing was said (cli.md 10.5); -1: unlimited.
std::int64_t memoryAndSwap(const Limits& limits) {
  return limits.memorySwap.value_or(*limits.memory * 2);
}

void limitSwapV1(const std::string& folder, const Limits& limits) {
  const char* file = "memory.memsw.limit_in_bytes";
  if (!pathExists(folder + "/" + file)) {
    // Without swap accounting in the kernel, which matters only if it was asked for.
    if (!limits.memorySwap) return;
    throw cannotLimit("memory-swap", "the kernel does not count swap",
                      "swapaccount=1 on the kernel's command line makes it");
  }
  setLimit(folder, file, std::to_string(memoryAndSwap(limits)));
}

// The sum of memory and swap may never be below the memory alone: which of the two goes first
// depends on the direction (cgroup-v1/memory.rst).
void limitMemoryV1(const std::string& folder, const Limits& limits) {
  if (limits.memory) {
    const std::string memory = std::to_string(*limits.memory);
    const auto sum = readNumber(folder + "/memory.memsw.limit_in_bytes");
    const bool isRaised = sum && *sum < static_cast<std::uint64_t>(*limits.memory);
    if (isRaised) limitSwapV1(folder, limits);
    setLimit(folder, "memory.limit_in_bytes", memory);
    if (!isRaised) limitSwapV1(folder, limits);
  }
  if (limits.memoryReservation) {
    setLimit(folder, "memory.soft_limit_in_bytes", std::to_string(*limits.memoryReservation));
  }
}

void limitMemoryV2(const std::string& folder, const Limits& limits) {
  if (limits.memory) {
    const std::int64_t total = memoryAndSwap(limits);
    const std::int64_t swap = total < 0 ? -1 : std::max<std::int64_t>(total - *limits.memory, 0);
    setLimit(folder, "memory.max", std::to_string(*limits.memory));
    // Version 2 counts swap by itself. The file is missing in a kernel without swap, where nothing
    // needs to be limited unless it was asked for.
    if (limits.memorySwap || pathExists(folder + "/memory.swap.max")) {
      setLimit(folder, "memory.swap.max", orMax(swap));
    }
  }
  if (limits.memoryReservation) {
    setLimit(folder, "memory.low", std::to_string(*limits.memoryReservation));
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

void limitCpuset(const std::string& folder, const Limits& limits) {
  if (!limits.cpusetCpus.empty()) setLimit(folder, "cpuset.cpus", limits.cpusetCpus);
  if (!limits.cpusetMems.empty()) setLimit(folder, "cpuset.mems", limits.cpusetMems);
}

// 10..1000 to 1..10000, where 100, the default of both, stays 100 (as systemd maps it).
std::int64_t ioWeightV2(std::int64_t weight) {
  if (weight <= 100) return std::max<std::int64_t>(1, weight * 100 / 100);
  return 100 + (weight - 100) * 9900 / 900;
}

// The weight is the scheduler's business, and which one there is the kernel's: the general file
// comes with the cost model (io.cost), the other one with BFQ, whose range is 1 to 1000.
void limitIo(const std::string& folder, bool isV2, const Limits& limits) {
  const std::string general = isV2 ? "io.weight" : "blkio.weight";
  const std::string bfq = isV2 ? "io.bfq.weight" : "blkio.bfq.weight";
  if (pathExists(folder + "/" + general)) {
    const std::int64_t weight = isV2 ? ioWeightV2(*limits.ioWeight) : *limits.ioWeight;
    return setLimit(folder, general, std::to_string(weight));
  }
  if (pathExists(folder + "/" + bfq)) {
    return setLimit(folder, bfq, std::to_string(*limits.ioWeight));
  }
  throw cannotLimit(fmt::format("blkio-weight={}", *limits.ioWeight),
                    fmt::format("the kernel has neither {} nor {}", general, bfq),
                    "it takes the BFQ scheduler (modprobe bfq)");
}

}  // namespace

std::vector<WantedController> wantedControllers(const Limits& limits) {
  return {{"memory", limits.memory || limits.memorySwap || limits.memoryReservation},
          {"cpu", limits.cpuShares || limits.cpuQuota || limits.cpuPeriod},
          {"cpuset", !limits.cpusetCpus.empty() || !limits.cpusetMems.empty()},
          {"io", limits.ioWeight.has_value()},
          {"pids", limits.pids && *limits.pids >= 0}};
}

std::string versionOneName(const std::string& controller) {
  return controller == "io" ? "blkio" : controller;
}

void applyLimits(const std::string& controller, const std::string& folder, bool isV2,
                 const Limits& limits) {
  if (controller == "memory") {
    isV2 ? limitMemoryV2(folder, limits) : limitMemoryV1(folder, limits);
  } else if (controller == "cpu") {
    limitCpu(folder, isV2, limits);
  } else if (controller == "cpuset") {
    limitCpuset(folder, limits);
  } else if (controller == "io") {
    limitIo(folder, isV2, limits);
  } else if (controller == "pids") {
    const std::int64_t standard = limits.defaultPids.value_or(kDefaultProcesses);
    setLimit(folder, "pids.max", orMax(limits.pids.value_or(standard)));
  }
}

void fillCpuset(const std::string& parent, const std::string& folder) {
  for (const char* file : {"cpuset.cpus", "cpuset.mems"}) {
    const std::string path = folder + "/" + file;
    if (!text::trim(readText(path)).empty()) continue;
    const std::string above = readText(parent + "/" + file);
    setLimit(folder, file, std::string{text::trim(above)});
  }
}

Error cannotLimit(const std::string& what, const std::string& why, const std::string& cure) {
  return Error::make(Kind::unsupported, "cannot set the limit {}", what)
      .code("cgroup")
      .why(why)
      .hint(cure);
}

Error missingController(const std::string& controller, const std::string& root) {
  const std::string v1 = versionOneName(controller);
  const auto compiled = keyedNumber(
      [&] {  // "memory\t4\t32\t1": name, hierarchy, groups, enabled
        std::string lines;
        for (const std::string& line : text::split(readText("/proc/cgroups"), '\n')) {
          const std::vector<std::string> words = text::split(line, '\t');
          if (words.size() == 4) lines += words[0] + " " + words[3] + "\n";
        }
        return lines;
      }(),
      v1);
  if (compiled.value_or(0) == 0) {
    return cannotLimit(
        controller, fmt::format("the kernel has no {} controller, or it is switched off", v1),
        fmt::format("cgroup_enable={} on the kernel's command line, if it has one; {}", v1,
                    kRunWithout));
  }
  return cannotLimit(controller, fmt::format("the {} controller is not mounted below {}", v1, root),
                     fmt::format("mkdir {0}/{1} && mount -t cgroup -o {1} cgroup {0}/{1}; {2}",
                                 root, v1, kRunWithout));
}

Error undelegatedController(const std::string& controller, const std::string& folder) {
  return cannotLimit(
      controller, fmt::format("{} does not have the {} controller", folder, controller),
      "have it delegated: systemctl edit user@.service with [Service] Delegate=cpu cpuset io "
      "memory pids, and log in again");
}

}  // namespace img::runtime
