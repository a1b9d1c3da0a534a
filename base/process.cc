#include "base/process.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "base/sys.h"

namespace img {
namespace {

constexpr char kSuccess = '=';
constexpr char kFailure = '!';
constexpr int kUntold = 2;  // exit status: neither could be written

ExitStatus decode(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return {info.si_status, 0};
  return {128 + info.si_status, info.si_status};
}

[[noreturn]] void runChild(const std::function<std::string()>& work, int result, pid_t parent) {
  // The parent may have died between fork and prctl: nobody would then end this child.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD}) ::signal(signal, SIG_DFL);
  std::string answer;
  int status = 0;
  try {
    answer = kSuccess + work();
  } catch (...) {
    answer = kFailure + currentError().toJson();
    status = 1;
  }
  try {
    writeAll(result, answer, "result");
  } catch (...) {
    status = kUntold;
  }
  ::_exit(status);
}

}  // namespace

Child::Child(Child&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)),
      result_(std::move(other.result_)) {}

Child& Child::operator=(Child&& other) noexcept {
  if (this != &other) {
    Child old{std::move(*this)};
    pid_ = std::exchange(other.pid_, -1);
    pidfd_ = std::move(other.pidfd_);
    result_ = std::move(other.result_);
  }
  return *this;
}

Child::~Child() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

Child Child::fork(const std::function<std::string()>& work) {
  Child child;
  child.result_ = Fd{
      sys::check([] { return ::memfd_create("result", MFD_CLOEXEC); }, "create a result buffer")};
  const pid_t parent = ::getpid();
  child.pid_ = sys::check([] { return ::fork(); }, "fork");
  if (child.pid_ == 0) {
    const int result = child.result_.get();
    child.pid_ = -1;
    runChild(work, result, parent);
  }
  child.pidfd_ = sys::pidfdOpen(child.pid_);
  return child;
}

void Child::kill(int signal) const {
  if (pid_ > 0) ::kill(pid_, signal);
}

std::string Child::finish() {
  const ExitStatus status = waitFor(std::exchange(pid_, -1));
  pidfd_.reset();
  sys::check([&] { return ::lseek(result_.get(), 0, SEEK_SET); }, "rewind a result");
  std::string answer = readAll(result_.get(), "result of a child process");
  result_.reset();
  if (!answer.empty() && answer[0] == kSuccess && status.code == 0) return answer.substr(1);
  if (status.signal == 0 && status.code == kUntold) {
    throw Error{Kind::failed, "a worker process could not tell its result"}.why(
        "what it wrote into memory was refused: memory, or the size of files (ulimit -f), is too "
        "small");
  }
  if (!answer.empty() && answer[0] == kFailure)
    throw Error::fromJson(std::string_view{answer}.substr(1));
  if (status.signal != 0) {
    throw Error::make(Kind::failed, "a worker process was killed by signal {}", status.signal);
  }
  throw Error::make(Kind::internal, "a worker process ended with status {}", status.code);
}

ExitStatus waitFor(pid_t pid) {
  siginfo_t info{};
  sys::check([&] { return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED); },
             "wait for process {}", pid);
  return decode(info);
}

namespace {

std::vector<char*> rawWords(const std::vector<std::string>& words) {
  std::vector<char*> raw;
  raw.reserve(words.size() + 1);
  for (const std::string& word : words) raw.push_back(const_cast<char*>(word.c_str()));
  raw.push_back(nullptr);
  return raw;
}

// Puts `fds` at 3, 4, ... and marks all above for closing. First out of the way, so that no dup2
// hits one that is still wanted.
bool placeDescriptors(std::vector<int> fds) {
  constexpr int kFree = 64;
  for (int& fd : fds) {
    if ((fd = ::fcntl(fd, F_DUPFD, kFree)) < 0) return false;
  }
  int place = 3;
  for (const int fd : fds) {
    if (::dup2(fd, place++) < 0) return false;
  }
  return ::close_range(static_cast<unsigned>(place), ~0U, CLOSE_RANGE_CLOEXEC) == 0;
}

struct Streams {
  int in, out, err;
};

[[noreturn]] void execProgram(const std::vector<std::string>& argv, const Streams& streams) {
  if (::dup2(streams.in, 0) < 0 || ::dup2(streams.out, 1) < 0 || ::dup2(streams.err, 2) < 0)
    ::_exit(126);
  const std::vector<char*> raw = rawWords(argv);
  ::execvp(raw[0], raw.data());
  ::_exit(errno == ENOENT ? 127 : 126);
}

[[noreturn]] void relayEnd(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

// pid_namespaces(7): when the first process of a namespace ends, the kernel kills the others. We
// wait for it outside, because it is our child that the caller waits for.
void enterPidNamespace() {
  if (::unshare(CLONE_NEWPID) != 0) return;
  const pid_t pid = ::fork();
  if (pid < 0) ::_exit(126);
  if (pid > 0) relayEnd(pid);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
}

[[noreturn]] void execProgram(const Program& program, const Streams& streams, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  ::signal(SIGPIPE, SIG_DFL);
  ::signal(SIGXFSZ, SIG_DFL);
  if (::dup2(streams.in, 0) < 0 || ::dup2(streams.out, 1) < 0 || ::dup2(streams.err, 2) < 0 ||
      !placeDescriptors(program.fds))
    ::_exit(126);
  if (program.endsWhatItStarts) enterPidNamespace();
  const std::vector<char*> argv = rawWords(program.argv);
  const std::vector<char*> environment = rawWords(program.environment);
  ::execvpe(argv[0], argv.data(), environment.data());
  ::_exit(errno == ENOENT ? 127 : 126);
}

// Feeds `input` and collects both outputs without ever blocking on one of them.
void pump(Fd in, Fd out, Fd err, std::string_view input, Output& result) {
  sys::setNonBlocking(in.get(), true);
  while (in || out || err) {
    if (in && input.empty()) in.reset();
    pollfd polls[3] = {{in.get(), POLLOUT, 0}, {out.get(), POLLIN, 0}, {err.get(), POLLIN, 0}};
    sys::check([&] { return ::poll(polls, 3, -1); }, "poll");
    if (in && polls[0].revents != 0) {
      const ssize_t count = ::write(in.get(), input.data(), input.size());
      if (count > 0) input.remove_prefix(static_cast<size_t>(count));
      if (count < 0 && errno != EAGAIN && errno != EINTR) in.reset();
    }
    const auto collect = [](Fd& fd, short events, std::string& into) {
      if (!fd || events == 0) return;
      char buffer[65536];
      const ssize_t count = ::read(fd.get(), buffer, sizeof buffer);
      if (count > 0) into.append(buffer, static_cast<size_t>(count));
      if (count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN)) fd.reset();
    };
    collect(out, polls[1].revents, result.out);
    collect(err, polls[2].revents, result.err);
  }
}

}  // namespace

namespace {

Output runWith(const std::function<void(const Streams&)>& exec, const std::string& input) {
  Pipe in = Pipe::make();
  Pipe out = Pipe::make();
  Pipe err = Pipe::make();
  const pid_t pid = sys::check([] { return ::fork(); }, "fork");
  if (pid == 0) exec({in.read.get(), out.write.get(), err.write.get()});
  in.read.reset();
  out.write.reset();
  err.write.reset();
  Output result;
  pump(std::move(in.write), std::move(out.read), std::move(err.read), input, result);
  result.status = waitFor(pid);
  return result;
}

}  // namespace

Output runProgram(const std::vector<std::string>& argv, const std::string& input) {
  return runWith([&](const Streams& streams) { execProgram(argv, streams); }, input);
}

Output runProgram(const Program& program) {
  const pid_t parent = ::getpid();
  return runWith([&](const Streams& streams) { execProgram(program, streams, parent); },
                 program.input);
}

}  // namespace img
