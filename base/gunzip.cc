#include "base/gunzip.h"

#include <libdeflate.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"
#include "base/inflate.h"

namespace img {
namespace {

class GunzipSource final : public Source {
 public:
  GunzipSource(std::unique_ptr<Source> inner, std::string name)
      : inner_(std::move(inner)),
        name_(std::move(name)),
        input_(*inner_),
        at_(input_.begin()),
        inflater_(input_, name_) {}

  size_t read(std::span<std::byte> into) override {
    while (ready_.empty()) {
      if (!isInMember_ && !beginMember()) return 0;
      ready_ = inflater_.next();
      if (ready_.empty()) {
        endMember();
        continue;
      }
      // libdeflate's: with carry-less multiplication, 10 times as fast as zlib's.
      crc_ = ::libdeflate_crc32(crc_, ready_.data(), ready_.size());
      size_ += static_cast<std::uint32_t>(ready_.size());  // modulo 2^32, as in the trailer
    }
    const size_t count = std::min(into.size(), ready_.size());
    std::memcpy(into.data(), ready_.data(), count);
    ready_ = ready_.subspan(count);
    return count;
  }

 private:
  // RFC 1952, 2.3.1.
  static constexpr unsigned kHeaderCrc = 2, kExtra = 4, kName = 8, kComment = 16, kReserved = 0xe0;
  static constexpr std::array<std::uint8_t, 2> kMagic{0x1f, 0x8b};
  static constexpr std::uint8_t kDeflate = 8;

  [[noreturn]] void fail(const char* what) const {
    throw Error::make(Kind::corrupt, "{}: damaged compressed data: {}", name_, what);
  }

  // At least `count` <= DecoderInput::kAhead bytes at at_.
  bool tryLoad(size_t count) {
    if (static_cast<size_t>(input_.end() - at_) < count) at_ = input_.refill(at_);
    return static_cast<size_t>(input_.end() - at_) >= count;
  }

  std::uint8_t takeByte() {
    if (!tryLoad(1)) fail("it ends in a header");
    header_[0] = *at_++;
    headerCrc_ = ::libdeflate_crc32(headerCrc_, header_.data(), 1);
    return header_[0];
  }

  void skipText() {
    while (takeByte() != 0) {
    }
  }

  // False: nothing follows, or nothing that is a member.
  bool beginMember() {
    if (hasEnded_) return false;
    const bool isThere = tryLoad(kMagic.size()) && std::equal(kMagic.begin(), kMagic.end(), at_);
    if (!isThere) {
      hasEnded_ = true;
      return false;
    }
    headerCrc_ = 0;
    for (size_t i = 0; i < kMagic.size(); ++i) takeByte();
    if (takeByte() != kDeflate) fail("an unknown method");
    const unsigned flags = takeByte();
    if ((flags & kReserved) != 0) fail("unknown flags");
    for (int i = 0; i < 6; ++i) takeByte();  // time, hints, system
    if ((flags & kExtra) != 0) {
      const unsigned low = takeByte();
      for (unsigned left = low | static_cast<unsigned>(takeByte()) << 8; left > 0; --left)
        takeByte();
    }
    if ((flags & kName) != 0) skipText();
    if ((flags & kComment) != 0) skipText();
    if ((flags & kHeaderCrc) != 0) {
      const std::uint32_t expected = headerCrc_ & 0xffff;
      const unsigned low = takeByte();
      if ((low | static_cast<unsigned>(takeByte()) << 8) != expected) fail("a damaged header");
    }
    inflater_.start(at_);
    crc_ = 0;
    size_ = 0;
    isInMember_ = true;
    return true;
  }

  void endMember() {
    at_ = inflater_.at();
    std::array<std::uint32_t, 2> trailer{};
    if (!tryLoad(sizeof(trailer))) fail("it ends too early");
    std::memcpy(trailer.data(), at_, sizeof(trailer));
    at_ += sizeof(trailer);
    if (trailer[0] != crc_) fail("its CRC-32 is another one");
    if (trailer[1] != size_) fail("its length is another one");
    isInMember_ = false;
  }

  std::unique_ptr<Source> inner_;
  std::string name_;
  DecoderInput input_;
  const std::uint8_t* at_;  // outside of a member
  Inflater inflater_;
  bool isInMember_ = false, hasEnded_ = false;
  std::span<const std::byte> ready_;
  std::array<std::uint8_t, 1> header_{};
  std::uint32_t headerCrc_ = 0, crc_ = 0, size_ = 0;
};

}  // namespace

std::unique_ptr<Source> gunzip(std::unique_ptr<Source> inner, std::string name) {
  return std::make_unique<GunzipSource>(std::move(inner), std::move(name));
}

}  // namespace img
