// Networks for the RUN steps of one build: each a namespace of its own, connected once and used by
// one step after the other. Steps that run at the same time have different ones, so that they do
// not meet each other's ports. No process holds them: they go with the build's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "network/connection.h"
#include "network/settings.h"

namespace img::network {

class NetworkPool {
 public:
  struct Network {
    Fd netns;
    Connection connection;
  };
  // A network for as long as it lives; another step may have it afterwards.
  class [[nodiscard]] Use {
   public:
    Use(NetworkPool& pool, std::unique_ptr<Network> network, bool isReusable)
        : pool_(&pool), network_(std::move(network)), isReusable_(isReusable) {}
    Use(Use&& other) noexcept = default;
    Use& operator=(Use&&) = delete;
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use();
    [[nodiscard]] int netns() const { return network_->netns.get(); }
    [[nodiscard]] const Connection& connection() const { return network_->connection; }

   private:
    NetworkPool* pool_;
    std::unique_ptr<Network> network_;
    bool isReusable_;
  };

  explicit NetworkPool(Settings settings) : settings_(std::move(settings)) {}

  // isFresh: nobody had it before, and nobody gets it afterwards (a step that may change anything
  // in it).
  Use take(bool isFresh);

 private:
  Settings settings_;
  std::vector<std::unique_ptr<Network>> idle_;
};

}  // namespace img::network
