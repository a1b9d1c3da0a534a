#include "registry/blob_receiver.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "base/sys.h"
#include "base/text.h"
#include "registry/content_range.h"

namespace img::registry {
namespace {

constexpr int kPipeBytes = 1 << 20;

}  // namespace

BlobReceiver::BlobReceiver(Fd pipe, std::uint64_t offset, std::uint64_t size)
    : pipe_(std::move(pipe)), position_(offset), size_(size) {
  sys::setNonBlocking(pipe_.get(), true);
  // Fewer turns between the reader and us. Refused above the user's share of pipe memory: fine.
  ::fcntl(pipe_.get(), F_SETPIPE_SZ, kPipeBytes);
}

void BlobReceiver::expect(bool isPart) {
  isPart_ = isPart;
  trouble_ = Trouble::none;
  skip_ = 0;
}

bool BlobReceiver::begin(const HttpAnswer& answer) {
  if (answer.status == 200) {
    // The whole blob, maybe although a part would have done: what was delivered is left out.
    skip_ = position_;
    const auto length = text::parseUnsigned(answer.header("content-length"));
    if (length && *length != size_) trouble_ = Trouble::wrongLength;
  } else if (answer.status == 206 && isPart_) {
    const auto range = parseContentRange(answer.header("content-range"));
    const bool isRight = range && range->first == position_ && range->last < size_ &&
                         range->size.value_or(size_) == size_;
    if (!isRight) trouble_ = Trouble::wrongRange;
  } else {
    trouble_ = Trouble::unasked;
  }
  return trouble_ == Trouble::none;
}

bool BlobReceiver::write(std::span<const std::byte> bytes) {
  received_ += bytes.size();
  const std::uint64_t skipped = std::min<std::uint64_t>(skip_, bytes.size());
  skip_ -= skipped;
  const std::string_view rest = asText(bytes.subspan(skipped));
  if (rest.size() > size_ - position_) {  // security.md M2: not one byte more is taken
    trouble_ = Trouble::wrongLength;
    return false;
  }
  deliver(rest);
  return true;
}

void BlobReceiver::deliver(std::string_view bytes) {
  position_ += bytes.size();
  while (!bytes.empty()) {
    const ssize_t count = ::write(pipe_.get(), bytes.data(), bytes.size());
    if (count >= 0) {
      bytes.remove_prefix(static_cast<size_t>(count));
    } else if (errno == EAGAIN) {
      left_ = bytes;
      return;
    } else if (errno != EINTR) {
      throw Error::fromErrno(errno, "write a blob into its pipe");
    }
  }
}

void BlobReceiver::flush() {
  const std::string waiting = std::move(left_);
  left_.clear();
  position_ -= waiting.size();
  deliver(waiting);
}

}  // namespace img::registry
