// Processes as `top` shows them, read from /proc without an external ps: parsing, the columns of
// ps(1) that it knows, and the forms of its options that people type (cli.md 11 top).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace img::cli {

struct ProcessFacts {
  pid_t pid = 0, ppid = 0;
  std::vector<pid_t> pids;  // in every pid namespace that it is in, the reader's first
  uid_t uid = 0;
  gid_t gid = 0;
  std::string comm, args, state;
  int tty = 0;                                    // device number, 0: none
  std::uint64_t utime = 0, stime = 0, start = 0;  // clock ticks; start since boot
  long priority = 0, nice = 0, threads = 0;
  std::uint64_t vszBytes = 0, rssPages = 0;
  int processor = 0;
  bool isSessionLeader = false, isForeground = false, hasLockedPages = false;
};

// /proc/PID/stat, status and cmdline. nullopt: not readable as such (the process has gone).
std::optional<ProcessFacts> parseProcess(std::string_view stat, std::string_view status,
                                         std::string_view cmdline);
std::optional<ProcessFacts> readProcess(pid_t pid);

// What the columns need besides the process.
struct SystemFacts {
  long ticksPerSecond = 100;
  long pageSize = 4096;
  std::uint64_t uptimeTicks = 0;
  std::uint64_t memoryBytes = 0;
  long long now = 0;  // seconds since the epoch
  std::function<std::string(uid_t)> userName;
  std::function<std::string(gid_t)> groupName;
  static SystemFacts read();
};

struct ProcessColumn {
  std::string heading;
  std::string (*cell)(const ProcessFacts& process, const SystemFacts& system);
};

// No options: UID PID PPID C STIME TTY TIME CMD. "-ef" the same, "aux" and "-o LIST" as ps(1).
// Throws Kind::usage.
std::vector<ProcessColumn> parseColumns(const std::vector<std::string>& options);

}  // namespace img::cli
