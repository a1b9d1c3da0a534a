// Starts a container and follows it to its end: the parent side. The child side is init.h.
// The calling process must be single-threaded. A container whose Container object dies is killed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/process.h"
#include "runtime/spec.h"

namespace img::runtime {

class [[nodiscard]] Container {
 public:
  struct Impl;
  explicit Container(std::unique_ptr<Impl> impl);
  Container(const Container&) = delete;
  Container& operator=(const Container&) = delete;
  Container(Container&&) noexcept;
  Container& operator=(Container&&) = delete;
  ~Container();

  [[nodiscard]] pid_t pid() const;  // PID 1 of the container, as the host sees it
  [[nodiscard]] int pidfd() const;  // readable when it has ended
  Fd takeTerminal();                // the pty master (spec.tty)
  void kill(int signal) const;
  // Waits for PID 1 to end and for the pid namespace to be empty; removes the cgroup.
  ExitStatus wait();
  // After wait(): the kernel's OOM killer struck in its cgroup; the most memory in use until then.
  [[nodiscard]] bool outOfMemory() const;
  [[nodiscard]] std::optional<std::uint64_t> peakMemory() const;
  // Of the control groups it started in; empty: it has none.
  [[nodiscard]] std::vector<std::string> cgroupFolders() const;

 private:
  std::unique_ptr<Impl> impl_;
};

// Returns when the program has been executed (execve succeeded). Throws what failed in the child:
// exit code 125 for setup, 126/127 for a command that is not executable / not found
// (Error::exitCode), with the step named.
Container start(const Spec& spec);

}  // namespace img::runtime
