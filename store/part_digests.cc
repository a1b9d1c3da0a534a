#include "store/part_digests.h"

#include <algorithm>
#include <utility>

namespace img::store {

void PartDigests::announce(std::uint64_t begin, std::uint64_t length, Tell tell) {
  if (length == 0) return tell(Digest::of(""));
  const std::lock_guard lock{mutex_};
  parts_.push_back({begin, begin + length, std::move(tell)});
}

// A deque leaves its elements in their place when others are appended.
PartDigests::Part* PartDigests::front() {
  const std::lock_guard lock{mutex_};
  return parts_.empty() ? nullptr : &parts_.front();
}

void PartDigests::endFront() {
  const std::lock_guard lock{mutex_};
  parts_.pop_front();
}

void PartDigests::update(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    Part* const part = front();
    const std::uint64_t next = part == nullptr ? offset_ + bytes.size() : part->begin;
    const bool isBetween = offset_ < next;
    const std::uint64_t end = isBetween ? next : part->end;
    const auto piece =
        bytes.first(static_cast<size_t>(std::min<std::uint64_t>(bytes.size(), end - offset_)));
    if (isBetween) {
      twin_.outer(piece);
    } else {
      twin_.both(piece);
    }
    offset_ += piece.size();
    bytes = bytes.subspan(piece.size());
    if (isBetween || offset_ != end) continue;
    part->tell(twin_.finishInner());
    endFront();
  }
}

}  // namespace img::store
