// Child processes with a pidfd, whose failure comes back as the Error it was.
// fork() is called from a single-threaded process only; a child may start threads of its own
// afterwards.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace img {

// How a process ended. code: 0..255 by exit, 128+n by signal n.
struct ExitStatus {
  int code = 0;
  int signal = 0;
};

// A forked child of ours. Killed and reaped by the destructor if still running.
class [[nodiscard]] Child {
 public:
  Child() = default;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  Child(Child&& other) noexcept;
  Child& operator=(Child&& other) noexcept;
  ~Child();

  // Runs `work` in a forked child. What it returns is the child's result(); what it throws comes
  // back out of finish(). The child dies with its parent (PR_SET_PDEATHSIG) and inherits no signal
  // handlers.
  static Child fork(const std::function<std::string()>& work);

  explicit operator bool() const { return pid_ > 0; }
  [[nodiscard]] pid_t pid() const { return pid_; }
  // Readable when the child has ended (poll).
  [[nodiscard]] int pidfd() const { return pidfd_.get(); }
  void kill(int signal) const;

  // Waits for the end, returns the result or throws the child's Error.
  std::string finish();

 private:
  pid_t pid_ = -1;
  Fd pidfd_;
  Fd result_;  // the child's answer: '=' + result or '!' + Error as JSON; may exceed a pipe, hence
               // a memfd
};

ExitStatus waitFor(pid_t pid);

// Runs a host program with the given argv (PATH lookup by us), stdin from /dev/null, output
// captured.
struct Output {
  ExitStatus status;
  std::string out;
  std::string err;
};
Output runProgram(const std::vector<std::string>& argv, const std::string& input = {});

// The same for a program that must get what is listed here and nothing else: every other descriptor
// is closed, and it dies with us.
struct Program {
  std::vector<std::string> argv;         // the first is looked up in our PATH unless it has a '/'
  std::vector<std::string> environment;  // "K=V", all of it
  std::string input;
  std::vector<int> fds;  // become 3, 4, ...
  // What it starts ends with it (a pid namespace, where that is allowed).
  bool endsWhatItStarts = false;
};
Output runProgram(const Program& program);

}  // namespace img
