// The body of a blob on its way into a pipe. However many answers it comes in, the pipe gets each
// byte once, in order, and never more than the blob has. When the pipe is full the transfer waits.
#pragma once

#include <cstdint>
#include <string>

#include "base/fd.h"
#include "registry/http.h"

namespace img::registry {

class BlobReceiver final : public BodyReceiver {
 public:
  enum class Trouble {
    none,
    wrongLength,  // longer or shorter than the blob
    wrongRange,   // another part than the one asked for
    unasked,      // a part, although the whole was asked for; or no body at all
  };

  // `pipe`: a write end; delivery begins with the byte at `offset`.
  BlobReceiver(Fd pipe, std::uint64_t offset, std::uint64_t size);

  // Before each request: is a part asked for, from position() on?
  void expect(bool isPart);
  bool begin(const HttpAnswer& answer) override;
  bool write(std::span<const std::byte> bytes) override;
  [[nodiscard]] int blockedOn() const override { return left_.empty() ? -1 : pipe_.get(); }
  void flush() override;
  // All is delivered: whoever reads sees the end.
  void close() { pipe_.reset(); }

  [[nodiscard]] std::uint64_t position() const { return position_; }  // the next byte to come
  [[nodiscard]] std::uint64_t received() const { return received_; }  // of all answers together
  [[nodiscard]] bool isComplete() const { return position_ == size_; }
  [[nodiscard]] Trouble trouble() const { return trouble_; }

 private:
  void deliver(std::string_view bytes);

  Fd pipe_;
  std::uint64_t position_, size_;
  std::uint64_t skip_ = 0;  // what this answer repeats
  std::uint64_t received_ = 0;
  std::string left_;  // taken from libcurl, and the pipe was full
  bool isPart_ = false;
  Trouble trouble_ = Trouble::none;
};

}  // namespace img::registry
