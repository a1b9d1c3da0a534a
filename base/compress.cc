#include "base/compress.h"

#include <libdeflate.h>
#include <sched.h>
#include <zstd.h>

#include <algorithm>
#include <utility>

#include "base/block_compression.h"
#include "base/error.h"

namespace img {
namespace {

constexpr int kGzipMax = 9;
// libdeflate's 3 is between what docker (zlib's 6) and podman (pgzip) make of the same layers, in
// 0.7 of the time of its 6: Debian with python 36.1 % of its size (6: 35.0, docker 35.4, podman
// 37.2), a mixed tree of 200 MB 58.5 % (6: 57.8, docker 59.0, podman 60.4).
constexpr int kGzipDefault = 3;
// zstd's strategy of its level 2 (`fast`), over the whole of a block and with the largest table
// that stays in a CPU's cache: 0.74 of the time of level 3, and as large within a fiftieth.
// Debian 31.0 % of its size (level 3: 30.4, level 2: 32.6), the mixed tree 58.9 % (58.0, 59.3;
// podman 58.7).
constexpr std::pair<ZSTD_cParameter, int> kZstdDefault[] = {{ZSTD_c_strategy, ZSTD_fast},
                                                            {ZSTD_c_windowLog, 22},
                                                            {ZSTD_c_hashLog, 17},
                                                            {ZSTD_c_minMatch, 6},
                                                            {ZSTD_c_targetLength, 0}};
constexpr unsigned kMaxThreads = 16;  // what each holds in memory is what bounds them
// Each block begins without what went before it. gzip looks back 32 KiB, zstd 2 MiB and more at
// its usual levels: these sizes cost it about a percent.
constexpr size_t kGzipBlock = size_t{1} << 20;
constexpr size_t kZstdBlock = size_t{4} << 20;

class GzipCompressor final : public BlockCompressor {
 public:
  explicit GzipCompressor(int level) : raw_(::libdeflate_alloc_compressor(level)) {
    if (!raw_) throw Error{Kind::failed, "gzip: no memory"};
  }

  // libdeflate.h, libdeflate_gzip_compress: one member, with no time and no name in its header.
  size_t compress(std::span<const std::byte> in, std::span<std::byte> out) override {
    const size_t size =
        ::libdeflate_gzip_compress(raw_.get(), in.data(), in.size(), out.data(), out.size());
    if (size == 0) throw Error{Kind::internal, "gzip: a block did not fit its bound"};
    return size;
  }

 private:
  struct Deleter {
    void operator()(libdeflate_compressor* raw) const { ::libdeflate_free_compressor(raw); }
  };
  std::unique_ptr<libdeflate_compressor, Deleter> raw_;
};

// Debian's libzstd.a has no workers of its own (ZSTD_c_nbWorkers), so ours cut the input.
class ZstdCompressor final : public BlockCompressor {
 public:
  explicit ZstdCompressor(std::optional<int> level) : raw_(::ZSTD_createCCtx()) {
    if (!raw_) throw Error{Kind::failed, "zstd: no memory"};
    set(ZSTD_c_compressionLevel, level.value_or(ZSTD_CLEVEL_DEFAULT));
    set(ZSTD_c_checksumFlag, 1);
    if (level) return;
    for (const auto& [parameter, value] : kZstdDefault) set(parameter, value);
  }

  size_t compress(std::span<const std::byte> in, std::span<std::byte> out) override {
    return check(::ZSTD_compress2(raw_.get(), out.data(), out.size(), in.data(), in.size()));
  }

 private:
  struct Deleter {
    void operator()(ZSTD_CCtx* raw) const { ::ZSTD_freeCCtx(raw); }
  };
  void set(ZSTD_cParameter parameter, int value) {
    check(::ZSTD_CCtx_setParameter(raw_.get(), parameter, value));
  }
  static size_t check(size_t result) {
    if (::ZSTD_isError(result) == 0) return result;
    throw Error::make(Kind::failed, "zstd: {}", ::ZSTD_getErrorName(result));
  }
  std::unique_ptr<ZSTD_CCtx, Deleter> raw_;
};

BlockFormat formatOf(Compression compression, std::optional<int> level) {
  if (compression == Compression::gzip) {
    const int wanted = level.value_or(kGzipDefault);
    return {kGzipBlock, ::libdeflate_gzip_compress_bound(nullptr, kGzipBlock),
            [wanted] { return std::make_unique<GzipCompressor>(wanted); }};
  }
  return {kZstdBlock, ::ZSTD_compressBound(kZstdBlock),
          [level] { return std::make_unique<ZstdCompressor>(level); }};
}

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
  if (compression != Compression::gzip && compression != Compression::zstd) {
    throw Error::make(Kind::unsupported, "nothing here compresses with {}",
                      compressionName(compression));
  }
  return compressBlocks(inner, formatOf(compression, level),
                        threads == 0 ? compressionThreads(1) : threads);
}

}  // namespace img
