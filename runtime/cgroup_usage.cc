#include "runtime/cgroup_usage.h"

#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "runtime/cgroup_files.h"

namespace img::runtime {
namespace {

// The first of the group's folders that has the file.
std::optional<std::string> folderWith(const Cgroup& group, const std::string& file) {
  const auto found =
      std::find_if(group.folders.begin(), group.folders.end(),
                   [&](const std::string& folder) { return pathExists(folder + "/" + file); });
  if (found == group.folders.end()) return std::nullopt;
  return *found;
}

std::string procFile(pid_t pid, const char* name) {
  return readText(fmt::format("/proc/{}/{}", pid, name));
}

// Fields 14 and 15 of proc_pid_stat(5), counted from the end of the name in parentheses.
std::uint64_t cpuOf(pid_t pid) {
  const std::string stat = procFile(pid, "stat");
  const size_t name = stat.rfind(')');
  if (name == std::string::npos) return 0;
  const std::vector<std::string> fields = text::split(std::string_view{stat}.substr(name + 2), ' ');
  if (fields.size() < 13) return 0;
  const std::uint64_t ticks =
      text::parseUnsigned(fields[11]).value_or(0) + text::parseUnsigned(fields[12]).value_or(0);
  static const auto kTicksPerSecond = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
  return ticks * (1'000'000'000 / kTicksPerSecond);
}

std::uint64_t residentOf(pid_t pid) {
  const std::vector<std::string> words = text::split(procFile(pid, "statm"), ' ');
  if (words.size() < 3) return 0;
  // Without what is shared with a file: many processes of one program would count it many times.
  const std::uint64_t resident = text::parseUnsigned(words[1]).value_or(0);
  const std::uint64_t shared = text::parseUnsigned(words[2]).value_or(0);
  static const auto kPageSize = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return (resident - std::min(resident, shared)) * kPageSize;
}

std::uint64_t bytesOf(pid_t pid, std::string_view key) {
  return keyedNumber(procFile(pid, "io"), key).value_or(0);
}

void readCpu(const Cgroup& group, Usage& usage) {
  if (const auto v1 = folderWith(group, "cpuacct.usage")) {
    usage.cpuNanoseconds = readNumber(*v1 + "/cpuacct.usage").value_or(0);
    return;
  }
  // Version 2 counts time in every group, also without the cpu controller (cgroup-v2.rst). Version
  // 1 has a file of the same name with nothing of this in it.
  for (const std::string& folder : group.folders) {
    const auto microseconds = keyedNumber(readText(folder + "/cpu.stat"), "usage_usec");
    if (microseconds) usage.cpuNanoseconds = *microseconds * 1000;
  }
}

bool readMemory(const Cgroup& group, Usage& usage) {
  const bool isV2 = folderWith(group, "memory.current").has_value();
  const auto folder = folderWith(group, isV2 ? "memory.current" : "memory.usage_in_bytes");
  if (!folder) return false;
  const std::string current = isV2 ? "/memory.current" : "/memory.usage_in_bytes";
  const std::string limit = isV2 ? "/memory.max" : "/memory.limit_in_bytes";
  const auto idle = keyedNumber(readText(*folder + "/memory.stat"),
                                isV2 ? "inactive_file" : "total_inactive_file");
  usage.memory = readNumber(*folder + current).value_or(0);
  usage.memory -= std::min(usage.memory, idle.value_or(0));
  usage.memoryLimit = readNumber(*folder + limit);
  return true;
}

// Lines "8:0 rbytes=1 wbytes=2 ..." of io.stat, or "8:0 Read 1" of version 1.
bool readBlocks(const Cgroup& group, Usage& usage) {
  constexpr const char* kFiles[] = {"io.stat", "blkio.throttle.io_service_bytes_recursive",
                                    "blkio.throttle.io_service_bytes"};
  for (const char* file : kFiles) {
    const auto folder = folderWith(group, file);
    if (!folder) continue;
    for (const std::string& line : text::split(readText(*folder + "/" + file), '\n')) {
      const std::vector<std::string> words = text::split(line, ' ');
      const auto number = [](std::string_view word) {
        return text::parseUnsigned(word).value_or(0);
      };
      for (const std::string& word : words) {
        if (word.starts_with("rbytes=")) usage.bytesRead += number(word.substr(7));
        if (word.starts_with("wbytes=")) usage.bytesWritten += number(word.substr(7));
      }
      if (words.size() != 3) continue;
      if (words[1] == "Read") usage.bytesRead += number(words[2]);
      if (words[1] == "Write") usage.bytesWritten += number(words[2]);
    }
    return true;
  }
  return false;
}

}  // namespace

Usage readUsage(const std::vector<pid_t>& processes) {
  Usage usage;
  usage.processes = processes.size();
  for (const pid_t pid : processes) {
    usage.cpuNanoseconds += cpuOf(pid);
    usage.memory += residentOf(pid);
    usage.bytesRead += bytesOf(pid, "read_bytes:");
    usage.bytesWritten += bytesOf(pid, "write_bytes:");
  }
  return usage;
}

Usage readUsage(const Cgroup& group) {
  const std::vector<pid_t> processes = group.processes();
  Usage usage;
  const Usage sum = readUsage(processes);
  readCpu(group, usage);
  if (usage.cpuNanoseconds == 0) usage.cpuNanoseconds = sum.cpuNanoseconds;
  if (!readMemory(group, usage)) usage.memory = sum.memory;
  if (!readBlocks(group, usage)) {
    usage.bytesRead = sum.bytesRead;
    usage.bytesWritten = sum.bytesWritten;
  }
  const auto pids = folderWith(group, "pids.current");
  usage.processes = pids ? readNumber(*pids + "/pids.current").value_or(0) : processes.size();
  return usage;
}

}  // namespace img::runtime
