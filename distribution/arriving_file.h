// A file that a download fills, read from its beginning while it arrives: a thread of its own
// receives as fast as the other side sends, however slow the reader is, and what lies between the
// two is in the file. The registry is not kept waiting by the unpacking, and the bytes are on the
// disk by the time the unpacking ends.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

#include "base/stream.h"

namespace img::distribution {

class ArrivingFile final : public Source {
 public:
  // Reading `download` adds to `file` what it returns; it is read to its end by the thread alone,
  // which then calls `settle`. Both outlive this.
  ArrivingFile(Source& download, int file, std::function<void()> settle);
  ~ArrivingFile() override;  // waits until the read under way has returned

  // What the thread threw comes out of this, after the bytes before it.
  size_t read(std::span<std::byte> into) override;
  // Waits until everything has arrived. Rethrows what the thread threw.
  void finish();

 private:
  void receive();
  void receiveAll();

  Source& download_;
  const int file_;
  const std::function<void()> settle_;
  std::uint64_t at_ = 0;  // of the reader

  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t arrived_ = 0;   // guarded by mutex_
  bool ended_ = false;          // guarded by mutex_: nothing follows
  bool settled_ = false;        // guarded by mutex_: the thread is through
  bool stopped_ = false;        // guarded by mutex_: the reader is gone
  std::exception_ptr failure_;  // guarded by mutex_
  std::jthread thread_;
};

}  // namespace img::distribution
