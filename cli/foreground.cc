#include "cli/foreground.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <csignal>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/fd.h"
#include "base/process.h"
#include "base/sys.h"
#include "cli/daemon.h"

namespace img::cli {
namespace {

constexpr char kLeft = 'd', kResult = '=', kFailure = '!';

// What somebody sends to this process is meant for the child. What the terminal sends comes to both
// (they are one process group), as SI_KERNEL.
class SignalsForChild {
 public:
  SignalsForChild() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH}) {
      ::sigaddset(&set, signal);
    }
    ::sigprocmask(SIG_BLOCK, &set, &before_);  // NOLINT(concurrency-mt-unsafe): one thread
    fd_ = Fd{
        sys::check([&] { return ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK); }, "signalfd")};
  }
  SignalsForChild(const SignalsForChild&) = delete;
  SignalsForChild& operator=(const SignalsForChild&) = delete;
  ~SignalsForChild() { restore(); }
  void restore() const {
    ::sigprocmask(SIG_SETMASK, &before_, nullptr);  // NOLINT(concurrency-mt-unsafe): one thread
  }
  [[nodiscard]] int fd() const { return fd_.get(); }
  void passTo(pid_t child) const {
    signalfd_siginfo info{};
    while (::read(fd_.get(), &info, sizeof info) == sizeof info) {
      if (info.ssi_code <= 0) ::kill(child, static_cast<int>(info.ssi_signo));
    }
  }

 private:
  Fd fd_;
  sigset_t before_{};
};

// A child that died has not put the terminal back.
class TerminalState {
 public:
  TerminalState() {
    termios now{};
    if (::tcgetattr(STDIN_FILENO, &now) == 0) before_ = now;
  }
  void restore() const {
    if (before_) ::tcsetattr(STDIN_FILENO, TCSANOW, &*before_);
  }

 private:
  std::optional<termios> before_;
};

[[noreturn]] void runChild(const std::function<int(const Detach& detach)>& work, Fd report,
                           pid_t parent) {
  try {
    sys::prctl(PR_SET_PDEATHSIG, SIGKILL, "die with the caller");
    if (::getppid() != parent) ::_exit(1);
    const int status = work([&] {
      sys::prctl(PR_SET_PDEATHSIG, 0, "outlive the caller");
      becomeDaemon();
      writeAll(report.get(), std::string(1, kLeft), "report");
      report.reset();
    });
    if (report) writeAll(report.get(), kResult + std::to_string(status), "report");
  } catch (...) {
    const std::string answer = kFailure + currentError().toJson();
    if (report && ::write(report.get(), answer.data(), answer.size()) < 0) ::_exit(2);
  }
  ::_exit(0);
}

// All that the child has to say; its death ends it as well.
std::string awaitReport(const Fd& report, const SignalsForChild& signals, pid_t child) {
  std::string answer;
  for (;;) {
    pollfd polls[] = {{report.get(), POLLIN, 0}, {signals.fd(), POLLIN, 0}};
    sys::check([&] { return ::poll(polls, 2, -1); }, "poll");
    if (polls[1].revents != 0) signals.passTo(child);
    if (polls[0].revents == 0) continue;
    char chunk[4096];
    const ssize_t count =
        sys::check([&] { return ::read(report.get(), chunk, sizeof chunk); }, "read the report");
    if (count == 0) return answer;
    answer.append(chunk, static_cast<size_t>(count));
  }
}

}  // namespace

int runInForeground(const std::function<int(const Detach& detach)>& work,
                    const std::function<void()>& inParent) {
  const TerminalState terminal;
  Pipe report = Pipe::make();
  const pid_t parent = ::getpid();
  const SignalsForChild signals;
  const pid_t child = sys::check([] { return ::fork(); }, "fork");
  if (child == 0) {
    report.read.reset();
    signals.restore();
    runChild(work, std::move(report.write), parent);
  }
  inParent();
  report.write.reset();
  const std::string answer = awaitReport(report.read, signals, child);
  if (answer.starts_with(kLeft)) return 0;
  waitFor(child);
  if (answer.starts_with(kResult)) return std::stoi(answer.substr(1));
  if (answer.starts_with(kFailure)) throw Error::fromJson(std::string_view{answer}.substr(1));
  terminal.restore();
  throw Error{Kind::failed, "the process that kept the container was killed"}.exitCode(137);
}

}  // namespace img::cli
