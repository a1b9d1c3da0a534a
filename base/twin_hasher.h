// SHA-256 of a stream and of parts of it in one pass: a tar and the files in it. Where the two
// agree on where a block begins they share its message schedule, and the rounds of one fill the
// waits of the other: on a processor with the SHA extensions the second digest costs next to
// nothing. One thread at a time.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "base/digest.h"

namespace img {

class TwinHasher {
 public:
  TwinHasher();
  // Bytes of the stream that are in no part.
  void outer(std::span<const std::byte> bytes);
  // Bytes of the stream that are also the next ones of the part.
  void both(std::span<const std::byte> bytes);
  // Bytes of the part that are not in the stream.
  void inner(std::span<const std::byte> bytes);
  Digest finishInner();  // the next part begins
  Digest finishOuter();  // a new stream begins

  // Only for tests: the same without the processor's extensions.
  void usePlain() { isFast_ = false; }

 private:
  struct alignas(8) State {
    std::byte raw[128];
  };
  State outer_, inner_;
  bool isFast_;
};

}  // namespace img
