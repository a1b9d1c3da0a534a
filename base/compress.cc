#include "base/compress.h"

#include <sched.h>
#include <zstd.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/gzip_blocks.h"

namespace img {
namespace {

constexpr int kGzipMax = 9;
constexpr unsigned kMaxThreads = 16;  // what each holds in memory is what bounds them
// What one worker takes at a time. zstd's own choice grows with the level and reaches hundreds of
// MiB.
constexpr int kZstdJobBytes = 4 << 20;

class ZstdSink final : public CompressingSink {
 public:
  ZstdSink(Sink& inner, int level, unsigned threads)
      : inner_(inner), buffer_(::ZSTD_CStreamOutSize()), context_(::ZSTD_createCCtx()) {
    if (!context_) throw Error{Kind::failed, "zstd: no memory"};
    set(ZSTD_c_compressionLevel, level);
    set(ZSTD_c_checksumFlag, 1);
    // zstd.h, ZSTD_c_nbWorkers: with workers the input is cut into jobs, and how many workers there
    // are does not change the result. None would, so there is always one.
    // A library without threads (Debian 12's static one) knows neither parameter.
    if (::ZSTD_cParam_getBounds(ZSTD_c_nbWorkers).upperBound < 1) return;
    set(ZSTD_c_nbWorkers, static_cast<int>(threads));
    set(ZSTD_c_jobSize, kZstdJobBytes);
  }

  void write(std::span<const std::byte> bytes) override { pump(bytes, ZSTD_e_continue); }
  void finish() override { pump({}, ZSTD_e_end); }

 private:
  struct Deleter {
    void operator()(ZSTD_CCtx* context) const { ::ZSTD_freeCCtx(context); }
  };

  void set(ZSTD_cParameter parameter, int value) {
    const size_t result = ::ZSTD_CCtx_setParameter(context_.get(), parameter, value);
    if (::ZSTD_isError(result) != 0)
      throw Error::make(Kind::internal, "zstd: {}", ::ZSTD_getErrorName(result));
  }

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

unsigned compressionThreads(size_t jobs) {
  cpu_set_t cpus;
  if (::sched_getaffinity(0, sizeof cpus, &cpus) != 0) return 1;
  const auto count = static_cast<unsigned>(CPU_COUNT(&cpus));
  return std::clamp(count / static_cast<unsigned>(std::max(jobs, size_t{1})), 1U, kMaxThreads);
}

std::unique_ptr<CompressingSink> compressTo(Sink& inner, Compression compression,
                                            std::optional<int> level, unsigned threads) {
  const unsigned count = threads == 0 ? compressionThreads(1) : threads;
  switch (compression) {
    case Compression::gzip: return gzipTo(inner, level.value_or(kGzipDefaultLevel), count);
    case Compression::zstd:
      return std::make_unique<ZstdSink>(inner, level.value_or(ZSTD_CLEVEL_DEFAULT), count);
    default: break;
  }
  throw Error::make(Kind::unsupported, "nothing here compresses with {}",
                    compressionName(compression));
}

}  // namespace img
