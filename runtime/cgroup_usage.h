// What a container uses, from the counters of its groups (`img stats`). Where a controller is
// missing, as it is for a container without limits on a version 1 machine, the sum over its
// processes stands in: what has ended is then not counted.
#pragma once

#include <cstdint>
#include <optional>

#include "runtime/cgroups.h"

namespace img::runtime {

struct Usage {
  std::uint64_t cpuNanoseconds = 0;
  std::uint64_t memory = 0;  // without the page cache that could go at once
  std::optional<std::uint64_t> memoryLimit;
  std::uint64_t bytesRead = 0, bytesWritten = 0;  // of block devices
  std::uint64_t processes = 0;
};
Usage readUsage(const Cgroup& group);

// Without any group: of these processes.
Usage readUsage(const std::vector<pid_t>& processes);

}  // namespace img::runtime
