#include "tests/base/fuzz_inflate.h"

#include <zlib.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "base/error.h"
#include "base/inflate.h"

namespace img::testing {
namespace {

class PieceSource final : public Source {
 public:
  PieceSource(std::string_view bytes, size_t piece) : inner_(std::string{bytes}), piece_(piece) {}
  size_t read(std::span<std::byte> into) override {
    return inner_.read(into.first(std::min(into.size(), piece_)));
  }

 private:
  StringSource inner_;
  size_t piece_;
};

}  // namespace

std::optional<std::string> inflateOurs(std::string_view packed, size_t piece) {
  PieceSource source{packed, piece};
  DecoderInput input{source};
  Inflater inflater{input, "test"};
  std::string text;
  try {
    inflater.start(input.begin());
    for (;;) {
      const auto bytes = inflater.next();
      if (bytes.empty()) return text;
      text.append(asText(bytes));
    }
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::optional<std::string> inflateZlib(std::string_view packed) {
  z_stream stream{};
  if (::inflateInit2(&stream, -15) != Z_OK) std::abort();
  std::string input{packed};
  stream.next_in = reinterpret_cast<Bytef*>(input.data());
  stream.avail_in = static_cast<uInt>(input.size());
  std::string text;
  std::vector<char> buffer(64 << 10);
  int status = Z_OK;
  while (status == Z_OK) {
    stream.next_out = reinterpret_cast<Bytef*>(buffer.data());
    stream.avail_out = static_cast<uInt>(buffer.size());
    status = ::inflate(&stream, Z_NO_FLUSH);
    text.append(buffer.data(), buffer.size() - stream.avail_out);
  }
  ::inflateEnd(&stream);
  if (status != Z_STREAM_END) return std::nullopt;
  return text;
}

void fuzzInflate(std::string_view bytes) {
  if (bytes.empty()) return;
  const size_t piece = static_cast<unsigned char>(bytes[0]) + size_t{1};
  const std::string_view packed = bytes.substr(1);
  if (inflateOurs(packed, piece) != inflateZlib(packed)) std::abort();
}

}  // namespace img::testing
