#include "cli/daemon.h"

#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/sys.h"
#include "cli/rootless.h"

namespace img::cli {
namespace {

// All descriptors of our own close on exec: one that does not was inherited from the caller, whose
// reader would wait for us to close it.
void closeInherited() {
  for (const fs::Entry& entry : fs::list(sys::openDirectory(AT_FDCWD, "/proc/self/fd").get())) {
    const int fd = std::stoi(entry.name);
    const int flags = ::fcntl(fd, F_GETFD);
    if (fd > 2 && flags >= 0 && (flags & FD_CLOEXEC) == 0) ::close(fd);
  }
}

[[noreturn]] void runDaemon(const std::function<void(const Ready&)>& work, Fd report) {
  try {
    becomeDaemon();
    const auto stay = stayInNamespace();
    work([&](const std::string& answer) {
      writeAll(report.get(), "=" + answer, "report");
      report.reset();
    });
  } catch (...) {
    const std::string answer = "!" + currentError().toJson();
    // The reader may be gone; there is nobody else to tell.
    if (report && ::write(report.get(), answer.data(), answer.size()) < 0) ::_exit(2);
    ::_exit(1);
  }
  ::_exit(0);
}

}  // namespace

void becomeDaemon() {
  ::setsid();
  sys::chdir("/");
  const Fd null = sys::openat(AT_FDCWD, "/dev/null", O_RDWR);
  for (int fd = 0; fd <= 2; ++fd) {
    sys::check([&] { return ::dup2(null.get(), fd); }, "redirect descriptor {}", fd);
  }
  closeInherited();
}

std::string spawnDaemon(const std::function<void(const Ready& ready)>& work,
                        const std::function<void()>& inParent) {
  Pipe report = Pipe::make();
  const pid_t pid = sys::check([] { return ::fork(); }, "fork");
  if (pid == 0) {
    report.read.reset();
    runDaemon(work, std::move(report.write));
  }
  inParent();
  report.write.reset();
  const std::string answer = readAll(report.read.get(), "the report of a background process");
  if (answer.starts_with('=')) return answer.substr(1);
  if (answer.starts_with('!')) throw Error::fromJson(std::string_view{answer}.substr(1));
  throw Error{Kind::failed, "the background process died before the command ran"}.exitCode(125);
}

}  // namespace img::cli
