// What stands for a container: a process in a network namespace of its own with a few services.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/process.h"
#include "network/ports.h"

namespace img::network {

// TCP services of an Inside, by port.
inline constexpr std::uint16_t kEcho = 7;     // sends back what comes
inline constexpr std::uint16_t kCount = 9;    // reads to the end, then tells how much it was
inline constexpr std::uint16_t kSource = 19;  // reads a number and a line end, sends so many bytes
inline constexpr std::uint16_t kReset = 66;   // reads one byte, then resets
inline constexpr std::uint16_t kPeer = 70;    // tells the address of its peer
inline constexpr std::uint16_t kNobody = 81;  // nobody listens
// UDP: echo with "re: " before it.

class Inside {
 public:
  // `address`: of an interface inside; empty: loopback alone.
  explicit Inside(const std::string& address = "");
  [[nodiscard]] pid_t pid() const { return child_.pid(); }

 private:
  Child child_;
};

// The byte at an offset of what kSource sends: no period that a lost block could hide in.
char patternAt(size_t offset);

// A client's side, blocking, with a time limit on each call.
Fd connectTo(const std::string& ip, std::uint16_t port);
void sendText(const Fd& socket, const std::string& text);
// To the end of file; errno text when the connection breaks.
std::string receiveAll(const Fd& socket);
std::string receiveSome(const Fd& socket, size_t count);
void endSending(const Fd& socket);

}  // namespace img::network
