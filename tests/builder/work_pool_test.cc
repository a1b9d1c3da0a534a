#include "builder/work_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <stdexcept>

namespace img::builder {
namespace {

constexpr size_t kMuch = 1'000'000;  // enough for every thread there may be

TEST(WorkPool, DoesAllJobsAlsoThoseThatJobsAdd) {
  for (const size_t threads : {0U, 3U}) {
    WorkPool pool{{}, threads};
    std::atomic<int> done = 0;
    for (int i = 0; i < 100; ++i) {
      pool.add([&](WorkPool::Worker&) {
        pool.expect(kMuch);
        for (int below = 0; below < 10; ++below) pool.add([&](WorkPool::Worker&) { ++done; });
        ++done;
      });
    }
    pool.run();
    EXPECT_EQ(done, 1100);
    EXPECT_EQ(pool.hadThreads(), threads != 0);
  }
}

TEST(WorkPool, TakesTheLastJobFirstAndNoThreadForLittleWork) {
  WorkPool pool{{}, 3};
  std::vector<int> order;
  for (int i = 0; i < 3; ++i) {
    pool.add([&, i](WorkPool::Worker& worker) {
      EXPECT_TRUE(worker.isCaller);
      order.push_back(i);
    });
  }
  pool.run();
  EXPECT_EQ(order, (std::vector<int>{2, 1, 0}));
  EXPECT_FALSE(pool.hadThreads());
}

TEST(WorkPool, ThrowsTheFailureOfAJobAndLeavesTheRest) {
  for (const size_t threads : {0U, 2U}) {
    WorkPool pool{{}, threads};
    std::atomic<int> begun = 0;
    for (int i = 0; i < 1000; ++i) {
      pool.add([&](WorkPool::Worker&) {
        pool.expect(kMuch);
        ++begun;
        throw std::runtime_error{"bad"};
      });
    }
    EXPECT_THROW(pool.run(), std::runtime_error);
    EXPECT_LE(begun, static_cast<int>(threads) + 1);
    EXPECT_FALSE(pool.isInterrupted());
  }
}

// The failures of jobs and an interruption are told apart: after the one the work is tried again.
TEST(WorkPool, IsInterruptedByItsPulseWhichOnlyTheCallerCalls) {
  const auto caller = std::this_thread::get_id();
  int calls = 0;
  const auto pulse = [&] {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    if (++calls == 3) throw std::logic_error{"interrupted"};
  };
  WorkPool pool{pulse, 2};
  for (int i = 0; i < 100; ++i) {
    pool.add([&](WorkPool::Worker& worker) {
      pool.expect(kMuch);
      for (;;) pool.pulse(worker);
    });
  }
  EXPECT_THROW(pool.run(), std::logic_error);
  EXPECT_TRUE(pool.isInterrupted());
  EXPECT_EQ(calls, 3);
}

// The caller has nothing to do, and the one job of another thread does not end.
TEST(WorkPool, IsInterruptedWhileOthersWork) {
  std::atomic<bool> isInOther = false;
  const auto pulse = [&] {
    if (isInOther) throw std::logic_error{"interrupted"};
  };
  WorkPool pool{pulse, 1};
  const auto job = [&](WorkPool::Worker& worker) {
    if (worker.isCaller) {
      while (!isInOther) std::this_thread::yield();
      return;
    }
    isInOther = true;
    for (;;) pool.pulse(worker);
  };
  pool.add(job);
  pool.add(job);
  pool.expect(kMuch);
  EXPECT_THROW(pool.run(), std::logic_error);
  EXPECT_TRUE(pool.isInterrupted());
}

// Whatever else fails between the throw and its arrival.
TEST(WorkPool, AnInterruptionCountsMoreThanAFailureThatComesAfterIt) {
  std::atomic<bool> isInOther = false, isInterrupted = false;
  const auto pulse = [&] {
    if (isInOther && !isInterrupted) throw std::logic_error{"interrupted"};
  };
  WorkPool pool{pulse, 1};
  const auto job = [&](WorkPool::Worker& worker) {
    if (!worker.isCaller) {
      isInOther = true;
      while (!isInterrupted) std::this_thread::yield();
      throw std::runtime_error{"bad"};
    }
    const auto pulseUntilItThrows = [&] {
      for (;;) pool.pulse(worker);
    };
    try {
      pulseUntilItThrows();
    } catch (const std::logic_error&) {
      isInterrupted = true;
      EXPECT_ANY_THROW(pulseUntilItThrows());  // the other one has failed
      throw;
    }
  };
  pool.add(job);
  pool.add(job);
  pool.expect(kMuch);
  EXPECT_THROW(pool.run(), std::logic_error);
  EXPECT_TRUE(pool.isInterrupted());
}

}  // namespace
}  // namespace img::builder
