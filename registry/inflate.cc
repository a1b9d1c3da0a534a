#include "registry/inflate.h"

#include <fcntl.h>
#include <isa-l/igzip_lib.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "base/fd.h"
#include "base/sys.h"
#include "registry/confine.h"

namespace img::registry {
namespace {

constexpr size_t kBuffer = size_t{256} << 10;

class Decoder {
 public:
  Decoder() : input_(kBuffer), output_(kBuffer) {
    ::isal_inflate_init(&state_);
    state_.avail_in = 0;
  }

  int run() {
    while (beginsMember()) {
      ::isal_inflate_reset(&state_);
      state_.crc_flag = ISAL_GZIP;  // header and trailer are its business
      if (const int status = decodeMember(); status != kInflated) return status;
    }
    return kInflated;
  }

 private:
  // Whether at least `count` bytes, a few, are there.
  bool tryLoad(size_t count) {
    while (state_.avail_in < count) {
      if (state_.avail_in > 0) std::memmove(input_.data(), state_.next_in, state_.avail_in);
      state_.next_in = input_.data();
      const auto room = input_.size() - state_.avail_in;
      const auto got = sys::check([&] { return ::read(0, input_.data() + state_.avail_in, room); },
                                  "read the input");
      if (got == 0) return false;
      state_.avail_in += static_cast<std::uint32_t>(got);
    }
    return true;
  }

  bool beginsMember() {
    return tryLoad(2) && state_.next_in[0] == 0x1f && state_.next_in[1] == 0x8b;
  }

  int decodeMember() {
    while (state_.block_state != ISAL_BLOCK_FINISH) {
      state_.next_out = output_.data();
      state_.avail_out = static_cast<std::uint32_t>(output_.size());
      const bool hasInput = tryLoad(1);
      const int result = ::isal_inflate(&state_);
      const size_t count = output_.size() - state_.avail_out;
      writeAll(1, std::as_bytes(std::span{output_}.first(count)), "the output");
      if (result == ISAL_INCORRECT_CHECKSUM) return kWrongChecksum;
      if (result != ISAL_DECOMP_OK && result != ISAL_END_INPUT) return kDamaged;
      const bool isStuck = !hasInput && count == 0;
      if (isStuck && state_.block_state != ISAL_BLOCK_FINISH) return kEndsTooEarly;
    }
    return kInflated;
  }

  std::vector<std::uint8_t> input_, output_;
  inflate_state state_{};
};

}  // namespace

int runInflate() {
  confine(2);
  return Decoder{}.run();
}

}  // namespace img::registry
