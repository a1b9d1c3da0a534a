#include "base/lock_wait.h"

#include <sys/file.h>
#include <sys/sysmacros.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <sstream>
#include <system_error>
#include <thread>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"

namespace img {
namespace {

constexpr std::chrono::seconds kPatience{1};

std::optional<std::int64_t> timeout;

void tellOf(int fd, const std::string& path) {
  log::warn("waiting for {}, which {} has locked", path, lockHolder(fd));
}

// flock(2) knows no time limit: a second thread speaks when it takes long.
class Watcher {
 public:
  Watcher(int fd, const std::string& path) {
    try {
      thread_ = std::thread{[this, fd, path] { watch(fd, path); }};
    } catch (const std::system_error& error) {
      log::info("waiting for {} without a notice: {}", path, error.what());
    }
  }
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;
  ~Watcher() {
    {
      const std::lock_guard guard{mutex_};
      isDone_ = true;
    }
    done_.notify_one();
    if (thread_.joinable()) thread_.join();
  }

 private:
  void watch(int fd, const std::string& path) {
    std::unique_lock guard{mutex_};
    if (done_.wait_for(guard, kPatience, [this] { return isDone_; })) return;
    try {
      tellOf(fd, path);
    } catch (const std::exception& error) {
      log::info("{}: {}", path, error.what());
    }
  }

  std::mutex mutex_;
  std::condition_variable done_;
  bool isDone_ = false;
  std::thread thread_;  // last: it uses the others
};

// Only for those who have asked for a time limit.
void waitAtMost(int fd, int operation, const std::string& path, std::int64_t milliseconds) {
  constexpr std::chrono::milliseconds kPause{20};
  const std::int64_t start = sys::monotonicMs();
  const bool isExclusive = operation == LOCK_EX;
  for (bool isTold = false; !sys::tryFlock(fd, isExclusive);) {
    const std::int64_t waited = sys::monotonicMs() - start;
    if (waited >= milliseconds) {
      throw Error::make(Kind::failed, "{} has locked {}", lockHolder(fd), path)
          .code("locked")
          .hint("wait for it to end, or give it more time with --lock-timeout");
    }
    if (!isTold && waited >= std::chrono::milliseconds{kPatience}.count()) {
      tellOf(fd, path);
      isTold = true;
    }
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace

void setLockTimeout(std::optional<std::int64_t> milliseconds) {
  timeout = milliseconds;
}

// proc_locks(5): "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF"; "->" marks one that waits.
std::string lockHolder(int fd) {
  const struct stat st = sys::fstat(fd);
  const std::string file =
      fmt::format("{:02x}:{:02x}:{}", major(st.st_dev), minor(st.st_dev), st.st_ino);
  const std::string locks = fs::tryReadFile(AT_FDCWD, "/proc/locks").value_or("");
  for (const std::string& line : text::split(locks, '\n')) {
    std::istringstream words{line};
    std::string number, kind, advisory, mode, pid, where;
    words >> number >> kind >> advisory >> mode >> pid >> where;
    if (kind != "FLOCK" || where != file || pid.starts_with('0')) continue;
    const auto name = fs::tryReadFile(AT_FDCWD, "/proc/" + pid + "/comm", 64);
    if (!name) continue;
    return fmt::format("process {} ({})", pid, text::escape(text::trim(*name)));
  }
  return "another process";
}

void waitForLock(int fd, int operation, const std::string& path) {
  if (sys::tryFlock(fd, operation == LOCK_EX)) return;
  if (timeout) return waitAtMost(fd, operation, path, *timeout);
  const Watcher watcher{fd, path};
  sys::check([&] { return ::flock(fd, operation); }, "lock {}", path);
}

}  // namespace img
