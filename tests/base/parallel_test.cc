#include "lib/base/parallel.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "lib/base/guard.h"
#include "lib/base/per_thread.h"
#include "lib/base/status.h"
#include "tests/testing/sanitized.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

class Threaded : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override { SetThreads(GetParam()); }
  void TearDown() override { SetThreads(0); }
};
INSTANTIATE_TEST_SUITE_P(ParallelFor, Threaded, ::testing::Values(1, 2, 7, 64));

TEST_P(Threaded, CoversEverythingOnce) {
  for (const uint64_t n : {0u, 1u, 5u, 1000u}) {
    std::vector<std::atomic<int>> seen(n);
    SMELT_EXPECT_OK(ParallelFor(n, 7, [&](uint64_t begin, uint64_t end) {
      for (uint64_t i = begin; i < end; ++i) ++seen[i];
      return absl::OkStatus();
    }));
    for (const auto& count : seen) ASSERT_EQ(count, 1);
  }
}

TEST_P(Threaded, StopsAtTheFirstError) {
  std::atomic<int> calls{0};
  const absl::Status status = ParallelFor(1000000, 1, [&](uint64_t, uint64_t) {
    ++calls;
    return Error(ErrorCode::kIo, "no");
  });
  EXPECT_EQ(CodeOf(status), ErrorCode::kIo);
  EXPECT_LT(calls, 2000);
}

TEST_P(Threaded, WorkersHaveNumbersOfTheirOwn) {
  std::vector<std::atomic<int>> inside(static_cast<size_t>(GetParam()));
  std::atomic<bool> shared{false};
  SMELT_EXPECT_OK(ParallelForWorkers(2000, 1, [&](uint64_t, uint64_t, int worker) {
    ASSERT_LT(worker, GetParam());
    if (++inside[static_cast<size_t>(worker)] != 1) shared = true;
    --inside[static_cast<size_t>(worker)];
  }));
  EXPECT_FALSE(shared);
}

TEST_P(Threaded, MemoryThatRunsOutIsAStatusAndTheNextWorkGoesOn) {
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> calls{0};
    const absl::Status status = ParallelFor(1000000, 1, [&](uint64_t begin, uint64_t) {
      ++calls;
      if (begin >= 5) throw std::bad_alloc();
      return absl::OkStatus();
    });
    EXPECT_EQ(CodeOf(status), ErrorCode::kOutOfMemory);
    EXPECT_NE(status.message().find("fewer --threads"), absl::string_view::npos);
    EXPECT_LT(calls, 2000);
    const absl::Status workers = ParallelForWorkers(
        100, 1, [](uint64_t, uint64_t, int) { throw std::length_error("vector"); });
    EXPECT_EQ(CodeOf(workers), ErrorCode::kOutOfMemory);
    SMELT_EXPECT_OK(ParallelForWorkers(100, 1, [](uint64_t, uint64_t, int) {}));
  }
}

TEST_P(Threaded, NestedCallsRunOnTheirThread) {
  std::atomic<bool> elsewhere{false};
  SMELT_EXPECT_OK(ParallelFor(64, 1, [&](uint64_t, uint64_t) {
    const std::thread::id here = std::this_thread::get_id();
    return ParallelFor(10, 1, [&](uint64_t, uint64_t) {
      if (std::this_thread::get_id() != here) elsewhere = true;
      return absl::OkStatus();
    });
  }));
  EXPECT_FALSE(elsewhere);
}

TEST(Guarded, TellsWhatWasThrown) {
  EXPECT_EQ(CodeOf(Guarded([]() -> absl::Status { throw std::bad_alloc(); })),
            ErrorCode::kOutOfMemory);
  const absl::StatusOr<int> other =
      Guarded([]() -> absl::StatusOr<int> { throw std::runtime_error("no reason"); });
  EXPECT_EQ(CodeOf(other.status()), ErrorCode::kInternal);
  EXPECT_EQ(other.status().message(), "unexpected failure: no reason");
  EXPECT_EQ(*Guarded([]() -> absl::StatusOr<int> { return 3; }), 3);
}

TEST(PerThread, EveryThreadHasItsOwn) {
  static const PerThread<int> number;
  *number = 1;
  std::thread([] {
    EXPECT_EQ(*number, 0);
    *number = 2;
  }).join();
  EXPECT_EQ(*number, 1);
}

#if !SMELT_SANITIZED
void LimitData(rlim_t bytes) {
  const rlimit limit = {bytes, bytes};
  setrlimit(RLIMIT_DATA, &limit);
}

[[noreturn]] void WorkWithoutRoomForStacks() {
  LimitData(1);
  SetThreads(64);
  std::atomic<int> sum{0};
  const absl::Status status = ParallelFor(100, 1, [&](uint64_t, uint64_t) {
    ++sum;
    return absl::OkStatus();
  });
  std::fprintf(stderr, "%s, %d pieces, %d refused", status.ok() ? "ok" : "failed", sum.load(),
               RefusedThreads());
  std::_Exit(0);
}

[[noreturn]] void MeetAll(rlim_t data) {
  LimitData(data);
  SetThreads(64);
  std::atomic<int> running{0};
  const absl::Status status = ParallelFor(64, 1, [&](uint64_t, uint64_t) {
    ++running;
    while (running < 64 && RefusedThreads() == 0) std::this_thread::yield();
    return absl::OkStatus();
  });
  std::_Exit(status.ok() && RefusedThreads() == 0 ? 0 : 1);
}

TEST(ParallelForDeathTest, ThreadsThatTheSystemRefusesAreDoneWithout) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(WorkWithoutRoomForStacks(), ::testing::ExitedWithCode(0),
              "ok, 100 pieces, 63 refused");
}

// Stacks count as data: 8 MiB each, as the usual limit has them, would not fit.
TEST(ParallelForDeathTest, SixtyFourThreadsFitIntoALittle) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(MeetAll(100 << 20), ::testing::ExitedWithCode(0), "");
}
#endif

}  // namespace
}  // namespace smelt
