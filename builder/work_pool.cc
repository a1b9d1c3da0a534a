#include "builder/work_pool.h"

#include <algorithm>
#include <system_error>

namespace img::builder {
namespace {

// Below this a thread costs more than it brings.
constexpr size_t kWorthwhile = 700;
constexpr size_t kMostThreads = 7;
constexpr std::chrono::milliseconds kPulse{50};

}  // namespace

size_t WorkPool::usualThreads() {
  const size_t processors = std::max(1U, std::thread::hardware_concurrency());
  return std::min(processors - 1, kMostThreads);
}

void WorkPool::add(Job job) {
  const std::lock_guard lock{mutex_};
  jobs_.push_back(std::move(job));
  if (!threads_.empty()) changed_.notify_one();
}

void WorkPool::expect(size_t units) {
  const std::lock_guard lock{mutex_};
  units_ += units;
  if (isStopped_) return;  // nobody waits for another thread
  try {
    while (units_ > kWorthwhile * (threads_.size() + 1) && threads_.size() < maxThreads_) {
      threads_.emplace_back([this] {
        Worker worker;
        work(worker);
      });
      hadThreads_ = true;
    }
  } catch (const std::system_error&) {
    maxThreads_ = threads_.size();  // the system gives no more
  }
}

void WorkPool::run() {
  Worker caller;
  caller.isCaller = true;
  work(caller);
  threads_.clear();  // joined
  if (error_) std::rethrow_exception(error_);
}

void WorkPool::pulse(Worker& worker) {
  if (isStopped_) throw Stopped{};
  // The function costs a system call.
  if (worker.isCaller && ++worker.ticks % 64 == 0) callPulse();
}

void WorkPool::callPulse() {
  if (!pulse_) return;
  try {
    pulse_();
  } catch (...) {
    const std::lock_guard lock{mutex_};
    isInterrupted_ = true;
    error_ = std::current_exception();  // this one counts
    throw;
  }
}

// Until all is done, or nothing more is wanted.
void WorkPool::work(Worker& worker) {
  std::unique_lock lock{mutex_};
  while (next(lock, worker)) {
    Job job = std::move(jobs_.back());
    jobs_.pop_back();
    ++busy_;
    lock.unlock();
    try {
      job(worker);
      job = nullptr;
      lock.lock();
    } catch (...) {
      job = nullptr;
      lock.lock();
      fail(lock);
    }
    --busy_;
  }
  changed_.notify_all();
}

// False: there is nothing to do for this thread any more.
bool WorkPool::next(std::unique_lock<std::mutex>& lock, Worker& worker) {
  const auto isReady = [&] { return !jobs_.empty() || busy_ == 0 || isStopped_; };
  while (!isReady()) {
    if (!worker.isCaller) {
      changed_.wait(lock, isReady);
    } else if (!changed_.wait_for(lock, kPulse, isReady)) {
      lock.unlock();
      try {
        callPulse();
        lock.lock();
      } catch (...) {
        lock.lock();
        fail(lock);
      }
    }
  }
  // The caller stays until nobody is in a job that it knows of.
  if (isStopped_) return false;
  return !jobs_.empty();
}

// In a handler. What is left is not done.
void WorkPool::fail(std::unique_lock<std::mutex>& /*held*/) {
  try {
    throw;
  } catch (const Stopped&) {
    // Somebody else's failure.
  } catch (...) {
    if (!error_) error_ = std::current_exception();
  }
  jobs_.clear();
  isStopped_ = true;
  changed_.notify_all();
}

}  // namespace img::builder
