#include "distribution/growing_blob.h"

#include <fcntl.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/interruption.h"
#include "base/sys.h"
#include "distribution/messages.h"
#include "store/blobs.h"

namespace img::distribution {
namespace {

constexpr const char* kFile = "blob";
constexpr std::uint64_t kTold = std::uint64_t{1} << 20;

}  // namespace

GrowingBlob::GrowingBlob(const store::Layout& layout, Fd socket)
    : layout_(layout),
      socket_(std::move(socket)),
      folder_(layout),
      file_(sys::openat(folder_.fd(), kFile, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600)) {
  const Fd reader = sys::openat(folder_.fd(), kFile, O_RDONLY | O_NOFOLLOW);
  tell(reader.get());
}

// Who does not listen any more has given up; the blob is sent from its file afterwards.
void GrowingBlob::tell(int file) {
  if (socket_ && !sendMessage(socket_.get(), {{"size", size_}}, file)) socket_.reset();
  told_ = size_;
}

void GrowingBlob::write(std::span<const std::byte> bytes) try {
  throwIfInterrupted();
  hasher_.update(bytes);
  writeAll(file_.get(), bytes, "a blob");
  size_ += bytes.size();
  store::startWriteback(file_.get(), size_, writtenBack_);
  if (size_ - told_ >= kTold) tell();
} catch (Error& error) {
  store::addSpaceHint(error, layout_);
  throw;
}

store::Descriptor GrowingBlob::commit() try {
  tell();
  store::Descriptor blob;
  blob.digest = hasher_.finish();
  blob.size = size_;
  store::adoptBlob(layout_, folder_, kFile, blob.digest, size_);
  return blob;
} catch (Error& error) {
  store::addSpaceHint(error, layout_);
  throw;
}

}  // namespace img::distribution
