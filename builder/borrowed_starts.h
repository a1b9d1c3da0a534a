// How many containers a build sets up in its own memory. What that leaves on our heap is lost
// (runtime/borrowed_clone.h): some kilobytes each, which the first steps may do. A build of more is
// none that anybody waits for milliseconds of.
#pragma once

namespace img::builder {

class BorrowedStarts {
 public:
  static constexpr int kMost = 300;
  // Whether one more may.
  [[nodiscard]] bool take() {
    if (count_ == kMost) return false;
    ++count_;
    return true;
  }

 private:
  int count_ = 0;
};

}  // namespace img::builder
