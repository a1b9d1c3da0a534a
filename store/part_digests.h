// The digests of a stream and of parts of it that one thread announces and another one hashes: a
// tar and the files in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <span>

#include "base/digest.h"
#include "base/twin_hasher.h"

namespace img::store {

class PartDigests {
 public:
  using Tell = std::function<void(const Digest& digest)>;
  // So many bytes from `begin` on, which update() must not have been given yet. Parts are announced
  // in their order and do not overlap. `tell` is called by the thread that updates.
  void announce(std::uint64_t begin, std::uint64_t length, Tell tell);

  void update(std::span<const std::byte> bytes);
  Digest finish() { return twin_.finishOuter(); }

 private:
  struct Part {
    std::uint64_t begin, end;
    Tell tell;
  };
  Part* front();
  void endFront();

  std::mutex mutex_;
  std::deque<Part> parts_;  // guarded by mutex_, the first one also used without it
  TwinHasher twin_;
  std::uint64_t offset_ = 0;
};

}  // namespace img::store
