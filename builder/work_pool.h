// Jobs that make more jobs, last in, first out, done by the calling thread and, as soon as it pays,
// by one more for every other processor. With few jobs there is no thread at all.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace img::builder {

class WorkPool {
 public:
  // Each thread has one, for the length of a run.
  struct Worker {
    bool isCaller = false;
    unsigned ticks = 0;
    std::vector<std::byte> buffer;
  };
  using Job = std::function<void(Worker&)>;

  // `pulse` is called by the calling thread now and then, and may throw. `threads`: at most so many
  // besides the caller.
  WorkPool(std::function<void()> pulse, size_t threads)
      : pulse_(std::move(pulse)), maxThreads_(threads) {}
  WorkPool(const WorkPool&) = delete;
  WorkPool& operator=(const WorkPool&) = delete;
  ~WorkPool() = default;

  void add(Job job);
  // Says that work worth `units` (about a microsecond each) is there: enough of it brings threads.
  void expect(size_t units);
  // Until no job is left. Throws what pulse threw, else the first failure of a job; what was not
  // begun by then is not done.
  void run();
  // For the parts of jobs, every 16 MiB at most. Throws in the caller's thread what pulse throws,
  // and in all when the rest is not wanted any more.
  void pulse(Worker& worker);

  // Whether the last run failed by `pulse`, not by a job.
  [[nodiscard]] bool isInterrupted() const { return isInterrupted_; }
  [[nodiscard]] bool hadThreads() const { return hadThreads_; }
  // As many threads as there are other processors for us.
  static size_t usualThreads();

 private:
  struct Stopped {};
  void work(Worker& worker);
  void callPulse();
  bool next(std::unique_lock<std::mutex>& lock, Worker& worker);
  void fail(std::unique_lock<std::mutex>& lock);

  const std::function<void()> pulse_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Job> jobs_;  // guarded by mutex_, as all below but isStopped_
  size_t maxThreads_;
  size_t busy_ = 0;
  size_t units_ = 0;
  std::exception_ptr error_;
  bool isInterrupted_ = false, hadThreads_ = false;
  std::atomic<bool> isStopped_ = false;
  std::vector<std::jthread> threads_;  // last: they use the others
};

}  // namespace img::builder
