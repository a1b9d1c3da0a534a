#include "base/gunzip.h"

#include <libdeflate.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/error.h"

namespace img {
namespace {

constexpr size_t kInput = size_t{256} << 10;
constexpr int kRawDeflate = -MAX_WBITS;  // zlib.h: the header and the checks are ours

// zlib inflates; its CRC-32 is left out, because libdeflate's, with carry-less multiplication, is
// 10 times as fast.
class GunzipSource final : public Source {
 public:
  GunzipSource(std::unique_ptr<Source> inner, std::string name)
      : inner_(std::move(inner)), name_(std::move(name)), input_(kInput) {
    if (::inflateInit2(&stream_, kRawDeflate) != Z_OK) throw Error{Kind::failed, "zlib: no memory"};
  }
  GunzipSource(const GunzipSource&) = delete;
  GunzipSource& operator=(const GunzipSource&) = delete;
  ~GunzipSource() override { ::inflateEnd(&stream_); }

  size_t read(std::span<std::byte> into) override {
    for (;;) {
      if (!isInMember_ && !beginMember()) return 0;
      if (const size_t count = inflateInto(into); count > 0) return count;
    }
  }

 private:
  // RFC 1952, 2.3.1.
  static constexpr unsigned kHeaderCrc = 2, kExtra = 4, kName = 8, kComment = 16, kReserved = 0xe0;
  static constexpr std::array<std::uint8_t, 2> kMagic{0x1f, 0x8b};
  static constexpr std::uint8_t kDeflate = 8;

  [[noreturn]] void fail(const char* what) const {
    throw Error::make(Kind::corrupt, "{}: damaged compressed data: {}", name_, what);
  }

  // Whether at least `count` bytes, a few, lie at next_in.
  bool tryLoad(size_t count) {
    while (stream_.avail_in < count) {
      std::copy_n(stream_.next_in, stream_.avail_in, input_.data());
      stream_.next_in = input_.data();
      const std::span<Bytef> free = std::span{input_}.subspan(stream_.avail_in);
      const size_t got = inner_->read(std::as_writable_bytes(free));
      if (got == 0) return false;
      stream_.avail_in += static_cast<uInt>(got);
    }
    return true;
  }

  std::uint8_t takeByte() {
    if (!tryLoad(1)) fail("it ends in a header");
    headerCrc_ = ::libdeflate_crc32(headerCrc_, stream_.next_in, 1);
    --stream_.avail_in;
    return *stream_.next_in++;
  }

  unsigned takeShort() {
    const unsigned low = takeByte();
    return low | static_cast<unsigned>(takeByte()) << 8;
  }

  void skipText() {
    while (takeByte() != 0) {
    }
  }

  // False: nothing follows, or nothing that is a member.
  bool beginMember() {
    const bool isThere =
        tryLoad(kMagic.size()) && std::equal(kMagic.begin(), kMagic.end(), stream_.next_in);
    if (!isThere) return false;
    headerCrc_ = 0;
    std::ignore = takeShort();
    if (takeByte() != kDeflate) fail("an unknown method");
    const unsigned flags = takeByte();
    if ((flags & kReserved) != 0) fail("unknown flags");
    for (int i = 0; i < 6; ++i) takeByte();  // time, hints, system
    if ((flags & kExtra) != 0) {
      for (unsigned left = takeShort(); left > 0; --left) takeByte();
    }
    if ((flags & kName) != 0) skipText();
    if ((flags & kComment) != 0) skipText();
    if ((flags & kHeaderCrc) != 0) {
      const unsigned expected = headerCrc_ & 0xffff;
      if (takeShort() != expected) fail("a damaged header");
    }
    ::inflateReset(&stream_);
    crc_ = 0;
    size_ = 0;
    isInMember_ = true;
    return true;
  }

  // 0: the member has ended.
  size_t inflateInto(std::span<std::byte> into) {
    into = into.first(std::min(into.size(), size_t{1} << 30));  // zlib counts in 32 bits
    stream_.next_out = reinterpret_cast<Bytef*>(into.data());
    stream_.avail_out = static_cast<uInt>(into.size());
    int result = Z_OK;
    while (result == Z_OK && stream_.avail_out == into.size()) {
      if (!tryLoad(1)) fail("it ends too early");
      result = ::inflate(&stream_, Z_NO_FLUSH);
    }
    if (result != Z_OK && result != Z_STREAM_END) {
      fail(stream_.msg != nullptr ? stream_.msg : ::zError(result));
    }
    const size_t count = into.size() - stream_.avail_out;
    crc_ = ::libdeflate_crc32(crc_, into.data(), count);
    size_ += static_cast<std::uint32_t>(count);  // modulo 2^32, as in the trailer
    if (result == Z_STREAM_END) endMember();
    return count;
  }

  void endMember() {
    std::array<std::uint32_t, 2> trailer{};
    if (!tryLoad(sizeof(trailer))) fail("it ends too early");
    std::memcpy(trailer.data(), stream_.next_in, sizeof(trailer));
    stream_.next_in += sizeof(trailer);
    stream_.avail_in -= static_cast<uInt>(sizeof(trailer));
    if (trailer[0] != crc_) fail("its CRC-32 is another one");
    if (trailer[1] != size_) fail("its length is another one");
    isInMember_ = false;
  }

  std::unique_ptr<Source> inner_;
  std::string name_;
  std::vector<Bytef> input_;
  z_stream stream_{};
  bool isInMember_ = false;
  std::uint32_t headerCrc_ = 0, crc_ = 0, size_ = 0;
};

Gunzip installed = gunzipHere;

}  // namespace

std::unique_ptr<Source> gunzip(std::unique_ptr<Source> inner, std::string name) {
  return installed(std::move(inner), std::move(name));
}

void installGunzip(Gunzip gunzip) {
  installed = gunzip;
}

std::unique_ptr<Source> gunzipHere(std::unique_ptr<Source> inner, std::string name) {
  return std::make_unique<GunzipSource>(std::move(inner), std::move(name));
}

}  // namespace img
