#include "base/unzstd.h"

#include <zstd.h>

#include <vector>

#include "base/error.h"

namespace img {
namespace {

constexpr int kMaxWindowLog = 27;

class UnzstdSource final : public Source {
 public:
  UnzstdSource(std::unique_ptr<Source> inner, std::string name)
      : inner_(std::move(inner)),
        name_(std::move(name)),
        buffer_(::ZSTD_DStreamInSize()),
        context_(::ZSTD_createDCtx()) {
    if (!context_) throw Error{Kind::failed, "zstd: no memory"};
    ::ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, kMaxWindowLog);
  }

  size_t read(std::span<std::byte> into) override {
    ZSTD_outBuffer out{into.data(), into.size(), 0};
    while (out.pos == 0) {
      if (in_.pos == in_.size && !hasMore_ && !load()) return 0;
      const size_t left = ::ZSTD_decompressStream(context_.get(), &out, &in_);
      if (::ZSTD_isError(left) != 0) fail(::ZSTD_getErrorName(left));
      isInFrame_ = left != 0;
      hasMore_ = isInFrame_ && out.pos == out.size;  // zstd may keep what had no room
    }
    return out.pos;
  }

 private:
  struct Deleter {
    void operator()(ZSTD_DCtx* context) const { ::ZSTD_freeDCtx(context); }
  };

  [[noreturn]] void fail(const char* what) const {
    throw Error::make(Kind::corrupt, "{}: damaged compressed data: {}", name_, what);
  }

  bool load() {
    const size_t count = inner_->read(buffer_);
    if (count == 0 && isInFrame_) fail("it ends too early");
    in_ = {buffer_.data(), count, 0};
    return count > 0;
  }

  std::unique_ptr<Source> inner_;
  std::string name_;
  std::vector<std::byte> buffer_;
  ZSTD_inBuffer in_{};
  bool isInFrame_ = false, hasMore_ = false;
  std::unique_ptr<ZSTD_DCtx, Deleter> context_;
};

}  // namespace

std::unique_ptr<Source> unzstd(std::unique_ptr<Source> inner, std::string name) {
  return std::make_unique<UnzstdSource>(std::move(inner), std::move(name));
}

}  // namespace img
