// What is done to the groups of one container: freezing, killing, looking, removing.
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <ctime>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "runtime/cgroup_files.h"
#include "runtime/cgroups.h"

namespace img::runtime {
namespace {

constexpr int kPatienceMs = 10000;

void sleepMs(long ms) {
  const timespec time{0, ms * 1'000'000};
  ::nanosleep(&time, nullptr);
}

std::vector<pid_t> readProcesses(const std::string& folder) {
  std::vector<pid_t> pids;
  for (const std::string& line : text::split(readText(folder + "/cgroup.procs"), '\n')) {
    // 0: a process of another pid namespace than ours, which we cannot name.
    const auto pid = text::parseUnsigned(line);
    if (pid && *pid > 0) pids.push_back(static_cast<pid_t>(*pid));
  }
  return pids;
}

// Waits for the line KEY VALUE in cgroup.events, whose changes poll(2) reports.
bool awaitEvent(const std::string& folder, std::string_view key, std::uint64_t value) {
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

void setFrozen(const Cgroup& group, bool isFrozen) {
  for (const std::string& folder : group.folders) {
    if (pathExists(folder + "/cgroup.freeze")) {
      writeText(folder + "/cgroup.freeze", isFrozen ? "1" : "0");
      if (awaitEvent(folder, "frozen", isFrozen ? 1 : 0)) return;
      // Left half frozen nobody would know.
      if (isFrozen) tryWriteText(folder + "/cgroup.freeze", "0");
      throw Error::make(Kind::busy, "the processes of {} did not {}", group.name,
                        isFrozen ? "stop" : "resume");
    }
    if (pathExists(folder + "/freezer.state")) {
      try {
        return setFreezerState(folder, isFrozen ? "FROZEN" : "THAWED");
      } catch (...) {
        if (isFrozen) tryWriteText(folder + "/freezer.state", "THAWED");
        throw;
      }
    }
  }
  throw Error::make(Kind::unsupported, "container {} has no cgroup to freeze", group.name)
      .code("cgroup")
      .hint("it takes a writable cgroup: version 2, or the freezer of version 1");
}

// One round: what forks meanwhile is for the next one. Frozen, the processes neither fork nor end,
// and their numbers belong to nobody else (cgroup-v1/freezer-subsystem.rst).
void killOnce(const std::string& folder) {
  if (tryWriteText(folder + "/cgroup.kill", "1") == 0) return;  // Linux 5.14
  const char* file = pathExists(folder + "/cgroup.freeze") ? "/cgroup.freeze" : "/freezer.state";
  const bool isV2 = file == std::string_view{"/cgroup.freeze"};
  tryWriteText(folder + file, isV2 ? "1" : "FROZEN");
  for (const pid_t pid : readProcesses(folder)) ::kill(pid, SIGKILL);
  tryWriteText(folder + file, isV2 ? "0" : "THAWED");
}

// A privileged container may have made groups of its own below: they go first.
int removeFolder(const std::string& folder) {
  if (::rmdir(folder.c_str()) == 0 || errno == ENOENT) return 0;
  const int errnum = errno;
  const auto dir = sys::tryOpenat(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY);
  if (!dir) return 0;
  for (const fs::Entry& entry : fs::list(dir->get())) {
    if (entry.type == DT_DIR) removeFolder(folder + "/" + entry.name);
  }
  return ::rmdir(folder.c_str()) == 0 || errno == ENOENT ? 0 : errnum;
}

void killBelow(const std::string& folder) {
  const auto dir = sys::tryOpenat(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY);
  if (!dir) return;
  for (const fs::Entry& entry : fs::list(dir->get())) {
    if (entry.type == DT_DIR) killBelow(folder + "/" + entry.name);
  }
  killOnce(folder);
}

}  // namespace

bool Cgroup::outOfMemory() const {
  return std::any_of(folders.begin(), folders.end(), [](const std::string& folder) {
    const auto v2 = keyedNumber(readText(folder + "/memory.events"), "oom_kill");
    // The counter came to version 1 with Linux 4.13.
    const auto v1 = keyedNumber(readText(folder + "/memory.oom_control"), "oom_kill");
    return v2.value_or(0) > 0 || v1.value_or(0) > 0;
  });
}

std::optional<std::uint64_t> Cgroup::peakMemory() const {
  // Version 2 (memory.peak is of Linux 5.19), then version 1.
  for (const char* file : {"/memory.peak", "/memory.max_usage_in_bytes"}) {
    for (const std::string& folder : folders) {
      if (const auto peak = readNumber(folder + file)) return peak;
    }
  }
  return std::nullopt;
}

std::vector<pid_t> Cgroup::processes() const {
  return folders.empty() ? std::vector<pid_t>{} : readProcesses(folders.front());
}

void Cgroup::freeze() const {
  setFrozen(*this, true);
}
void Cgroup::thaw() const {
  setFrozen(*this, false);
}

bool Cgroup::isFrozen() const {
  return std::any_of(folders.begin(), folders.end(), [](const std::string& folder) {
    return text::trim(readText(folder + "/cgroup.freeze")) == "1" ||
           text::trim(readText(folder + "/freezer.state")).starts_with("FR");
  });
}

void Cgroup::killAll() const {
  const std::int64_t deadline = sys::monotonicMs() + kPatienceMs;
  do {
    for (const std::string& folder : folders) killOnce(folder);
    if (processes().empty()) return;
    sleepMs(1);
  } while (sys::monotonicMs() < deadline);
}

void Cgroup::remove() {
  const std::int64_t deadline = sys::monotonicMs() + kPatienceMs;
  // The basic one goes last: by it the next command finds what a killed one left (names()).
  for (auto at = folders.rbegin(); at != folders.rend(); ++at) {
    const std::string& folder = *at;
    // A version 1 group says EBUSY for a moment after its last process has ended.
    while (const int errnum = removeFolder(folder)) {
      if (errnum != EBUSY || sys::monotonicMs() > deadline) {
        throw Error::fromErrno(errnum, "remove the cgroup " + folder);
      }
      killBelow(folder);
      sleepMs(1);
    }
  }
  folders.clear();
}

}  // namespace img::runtime
