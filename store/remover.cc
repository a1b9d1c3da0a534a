#include "store/remover.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/fs.h"
#include "base/log.h"
#include "base/process.h"
#include "base/sys.h"
#include "store/failpoint.h"

namespace img::store {
namespace {

// Removing as many takes a few milliseconds where the disk is good at it, and a tenth of a second
// where it is not.
constexpr int kFewEntries = 1000;
constexpr int kFewLevels = 32;
constexpr int kNiceness = 10;

// Counts down `left`; false when there are more than that, or they lie deeper than is looked.
bool hasFew(int dir, int& left, int levels) {
  for (const fs::Entry& entry : fs::list(dir)) {
    if (--left < 0) return false;
    if (entry.type != DT_DIR) continue;
    if (levels == 0) return false;
    const auto sub = sys::tryOpenat(dir, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (sub && !hasFew(sub->get(), left, levels - 1)) return false;
  }
  return true;
}

bool isSmall(const Fd& entry) {
  if (!S_ISDIR(sys::fstat(entry.get()).st_mode)) return true;
  int left = kFewEntries;
  return hasFew(entry.get(), left, kFewLevels);
}

// What was open in the command is closed: whoever reads its output would wait for the end of it,
// and its locks would stay taken. Neither is the remover a job of its terminal.
[[noreturn]] void removeAlone(int dir, const std::string& name, int locked) {
  const int folder = ::fcntl(dir, F_DUPFD_CLOEXEC, 3);
  const int lock = ::fcntl(locked, F_DUPFD_CLOEXEC, 3);
  if (folder < 0 || lock < 0) ::_exit(1);
  ::dup2(folder, 0);
  ::dup2(lock, 1);
  ::dup2(lock, 2);
  ::close_range(3, ~0U, 0);
  ::setsid();
  if (const pid_t pid = ::fork(); pid != 0) ::_exit(pid < 0 ? 1 : 0);

  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD}) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::prctl(PR_SET_NAME, "img-remover");
  ::setpriority(PRIO_PROCESS, 0, kNiceness);
  if (::chdir("/") != 0) ::_exit(1);
  try {
    failpoint("remover.begun");
    fs::removeTree(0, name);
  } catch (...) {
    ::_exit(1);  // nobody listens; the next recover() tries again
  }
  ::_exit(0);
}

// False: there is no such process; the caller has the lock still.
bool leaveToProcess(int dir, const std::string& name, const Fd& locked) {
  const pid_t pid = ::fork();
  if (pid == 0) removeAlone(dir, name, locked.get());
  return pid > 0 && waitFor(pid).code == 0;
}

}  // namespace

void removeSoon(int dir, const std::string& name, Fd locked) {
  if (!isSmall(locked) && leaveToProcess(dir, name, locked)) {
    log::debug("{} is removed by a process of its own", name);
    return;
  }
  fs::removeTree(dir, name);
}

}  // namespace img::store
