#include "store/share_work.h"

#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

namespace img::store {
namespace {

constexpr size_t kWorthAThread = 48;  // starting one takes as long as a few small files

class Share {
 public:
  Share(size_t count, const std::function<void(size_t)>& work) : count_(count), work_(work) {}

  void run() {
    try {
      for (size_t i = next_++; i < count_; i = next_++) work_(i);
    } catch (...) {
      next_ = count_;
      const std::lock_guard guard{mutex_};
      if (!failure_) failure_ = std::current_exception();
    }
  }
  void finish() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  size_t count_;
  const std::function<void(size_t)>& work_;
  std::atomic<size_t> next_{0};
  std::mutex mutex_;
  std::exception_ptr failure_;
};

}  // namespace

void shareWork(size_t count, const std::function<void(size_t)>& work) {
  Share share{count, work};
  {
    std::jthread helper;
    if (count >= kWorthAThread) {
      try {
        helper = std::jthread{[&] { share.run(); }};
      } catch (const std::system_error&) {
        // The system gives no more threads: this one does it alone.
      }
    }
    share.run();
  }
  share.finish();
}

}  // namespace img::store
