#include "network/pool.h"

#include "network/namespace.h"

namespace img::network {

NetworkPool::Use::~Use() {
  if (network_ && isReusable_) pool_->idle_.push_back(std::move(network_));
}

NetworkPool::Use NetworkPool::take(bool isFresh) {
  if (!isFresh && !idle_.empty()) {
    std::unique_ptr<Network> network = std::move(idle_.back());
    idle_.pop_back();
    return {*this, std::move(network), true};
  }
  // Nobody looks a step up by name.
  auto network = std::make_unique<Network>(
      Network{makeNamespace(), Connection::open(settings_, ConnectionRequest{})});
  network->connection.attach(network->netns.get());
  return {*this, std::move(network), !isFresh};
}

}  // namespace img::network
