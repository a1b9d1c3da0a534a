// SHA-256 of a stream beside what else is done with its bytes (side_work.h).
#pragma once

#include <cstdint>
#include <span>

#include "base/digest.h"
#include "store/side_work.h"

namespace img::store {

class SideHasher {
 public:
  // The bytes must stay as they are until the next call of anything.
  void start(std::span<const std::byte> bytes) { work_.start(bytes); }
  // Afterwards nothing of what was given is looked at any more.
  void wait() { work_.wait(); }
  [[nodiscard]] std::uint64_t size() const { return work_.size(); }
  Digest finish() {
    wait();
    return hasher_.finish();
  }

 private:
  Hasher hasher_;  // of whoever works on a block
  SideWork work_{[this](std::span<const std::byte> bytes) { hasher_.update(bytes); }};
};

}  // namespace img::store
