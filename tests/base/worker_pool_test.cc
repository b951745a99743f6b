#include "lib/base/worker_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace smelt {
namespace {

TEST(WorkerPool, EachWorkerIsCalledAtMostOnceAndTheCallerAlways) {
  for (int round = 0; round < 20000; ++round) {
    std::atomic<int> calls[4] = {};
    WorkerPool::Get().Run(4, [&](int worker) { ++calls[worker]; });
    ASSERT_EQ(calls[0], 1);
    for (const std::atomic<int>& call : calls) ASSERT_LE(call, 1);
  }
}

TEST(WorkerPool, ReturnsWhenNoCallIsRunning) {
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> begun{0}, ended{0};
    WorkerPool::Get().Run(3, [&](int worker) {
      ++begun;
      if (worker != 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
      ++ended;
    });
    ASSERT_EQ(begun, ended);
  }
}

TEST(WorkerPool, WorkersComeWhenTheCallerIsBusy) {
  std::atomic<bool> other{false};
  WorkerPool::Get().Run(2, [&](int worker) {
    if (worker != 0) other = true;
    while (!other) std::this_thread::yield();  // hangs if nobody comes
  });
}

TEST(WorkerPool, SeveralCallersAtATime) {
  std::atomic<int> sum{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 2000; ++round) {
        std::atomic<int> next{0};
        WorkerPool::Get().Run(3, [&](int) {
          while (next.fetch_add(1) < 10) ++sum;
        });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum, 4 * 2000 * 10);
}

}  // namespace
}  // namespace smelt
