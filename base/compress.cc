#include "base/compress.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <vector>

#include "base/error.h"

namespace img {
namespace {

constexpr size_t kBufferBytes = size_t{128} << 10;
constexpr int kGzipWindow = 15 + 16;  // zlib.h, deflateInit2: 16 asks for the gzip wrapper
constexpr int kGzipMemory = 8;
constexpr int kGzipMax = 9;

class GzipSink final : public CompressingSink {
 public:
  GzipSink(Sink& inner, int level) : inner_(inner), buffer_(kBufferBytes) {
    if (::deflateInit2(&stream_, level, Z_DEFLATED, kGzipWindow, kGzipMemory, Z_DEFAULT_STRATEGY) !=
        Z_OK) {
      throw Error{Kind::failed, "gzip: no memory"};
    }
  }
  GzipSink(const GzipSink&) = delete;
  GzipSink& operator=(const GzipSink&) = delete;
  ~GzipSink() override { ::deflateEnd(&stream_); }

  void write(std::span<const std::byte> bytes) override {
    constexpr size_t kPiece = size_t{1} << 30;  // avail_in is 32 bits wide
    while (!bytes.empty()) {
      const auto piece = bytes.first(std::min(bytes.size(), kPiece));
      // zlib.h: next_in is not const, and not written to.
      stream_.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(piece.data()));
      stream_.avail_in = static_cast<uInt>(piece.size());
      pump(Z_NO_FLUSH);
      bytes = bytes.subspan(piece.size());
    }
  }

  void finish() override { pump(Z_FINISH); }

 private:
  void pump(int flush) {
    do {
      stream_.next_out = reinterpret_cast<Bytef*>(buffer_.data());
      stream_.avail_out = static_cast<uInt>(buffer_.size());
      ::deflate(&stream_, flush);
      inner_.write(std::span{buffer_}.first(buffer_.size() - stream_.avail_out));
    } while (stream_.avail_out == 0);
  }

  Sink& inner_;
  std::vector<std::byte> buffer_;
  z_stream stream_{};
};

class ZstdSink final : public CompressingSink {
 public:
  ZstdSink(Sink& inner, int level)
      : inner_(inner), buffer_(::ZSTD_CStreamOutSize()), context_(::ZSTD_createCCtx()) {
    if (!context_) throw Error{Kind::failed, "zstd: no memory"};
    ::ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, level);
    ::ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_checksumFlag, 1);
  }

  void write(std::span<const std::byte> bytes) override { pump(bytes, ZSTD_e_continue); }
  void finish() override { pump({}, ZSTD_e_end); }

 private:
  struct Deleter {
    void operator()(ZSTD_CCtx* context) const { ::ZSTD_freeCCtx(context); }
  };

  void pump(std::span<const std::byte> bytes, ZSTD_EndDirective directive) {
    ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
    for (;;) {
      ZSTD_outBuffer out{buffer_.data(), buffer_.size(), 0};
      const size_t left = ::ZSTD_compressStream2(context_.get(), &out, &in, directive);
      if (::ZSTD_isError(left) != 0)
        throw Error::make(Kind::failed, "zstd: {}", ::ZSTD_getErrorName(left));
      inner_.write(std::span{buffer_}.first(out.pos));
      const bool isDone = directive == ZSTD_e_end ? left == 0 : in.pos == in.size;
      if (isDone) return;
    }
  }

  Sink& inner_;
  std::vector<std::byte> buffer_;
  std::unique_ptr<ZSTD_CCtx, Deleter> context_;
};

}  // namespace

void checkCompressionLevel(Compression compression, int level) {
  const int most = compression == Compression::gzip   ? kGzipMax
                   : compression == Compression::zstd ? ::ZSTD_maxCLevel()
                                                      : 0;
  if (level >= 1 && level <= most) return;
  if (most == 0) {
    throw Error::make(Kind::usage, "compression {} has no levels", compressionName(compression));
  }
  throw Error::make(Kind::usage, "compression level {}: {} has 1 to {}", level,
                    compressionName(compression), most);
}

std::unique_ptr<CompressingSink> compressTo(Sink& inner, Compression compression,
                                            std::optional<int> level) {
  switch (compression) {
    case Compression::gzip:
      return std::make_unique<GzipSink>(inner, level.value_or(Z_DEFAULT_COMPRESSION));
    case Compression::zstd:
      return std::make_unique<ZstdSink>(inner, level.value_or(ZSTD_CLEVEL_DEFAULT));
    default: break;
  }
  throw Error::make(Kind::unsupported, "nothing here compresses with {}",
                    compressionName(compression));
}

}  // namespace img
