// The network of an ordinary user: a program that turns what a namespace sends into sockets of its
// own (pasta(1), slirp4netns(1)). It needs no privilege outside, and listens on nothing: published
// ports are the business of the caller. It ends with the object, and when the caller is killed.
#pragma once

#include <optional>
#include <string>

#include "base/fd.h"
#include "network/address.h"

namespace img::network {

struct StackOptions {
  // Connections to the gateway's address reach the host's loopback. Off: a container must not talk
  // to what listens for the host alone.
  bool reachesHost = false;
};

class [[nodiscard]] UserStack {
 public:
  enum class Program { pasta, slirp4netns };
  struct Found {
    Program program;
    std::string path;
  };
  // pasta first; IMG_NETWORK_STACK names the only one to take.
  static std::optional<Found> find();

  // Returns when the namespace has its interface. Throws with the program's own words.
  UserStack(const Found& found, int netns, const StackOptions& options);
  UserStack(const UserStack&) = delete;
  UserStack& operator=(const UserStack&) = delete;
  ~UserStack();

  // Readable when it has ended.
  [[nodiscard]] int pidfd() const { return guard_.get(); }
  [[nodiscard]] std::optional<Ipv4> address() const { return address_; }
  [[nodiscard]] std::optional<Ipv4> gateway() const { return gateway_; }
  [[nodiscard]] int prefix() const { return prefix_; }
  [[nodiscard]] const std::string& mac() const { return mac_; }

  // Answers questions for names on behalf of the host's resolver, whatever that is.
  static std::string nameServer(Program program);

 private:
  void waitUntilReady(int netns, const Fd& messages);
  void stop() noexcept;

  Fd guard_;  // pidfd of the first process of the program's own pid namespace
  std::optional<Ipv4> address_, gateway_;
  int prefix_ = 0;
  std::string mac_;
};

}  // namespace img::network
