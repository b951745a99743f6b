// Jobs that stop, observers that are called by one thread at a time, and mapped files that shrink.
#include "lib/base/job_scope.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "lib/base/mapped_file.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::TempDir;
using testing::WriteFile;

TEST(JobScope, CallbacksComeFromOneThreadAtATime) {
  std::atomic<int> inside{0}, most{0}, calls{0};
  const auto enter = [&] {
    most = std::max<int>(most, ++inside);
    std::this_thread::yield();
    ++calls;
    --inside;
  };
  Observer observer;
  observer.progress = [&](const Progress&) { enter(); };
  observer.note = [&](NoteKind, const std::string&) { enter(); };
  observer.cancelled = [&] {
    enter();
    return false;
  };
  const JobScope job(observer);
  SetThreads(8);
  SMELT_EXPECT_OK(ParallelFor(4000, 1, [&](uint64_t begin, uint64_t) {
    job.observer().Report({.phase = "x", .done = begin, .total = 4000, .unit = "pieces"});
    if (begin % 3 == 0) job.observer().Warn("w");
    return GoOn();
  }));
  SetThreads(0);
  EXPECT_GE(calls, 8000);
  EXPECT_EQ(most, 1);
}

TEST(JobScope, ACallbackMayRunAJobOfItsOwn) {
  Observer observer;
  absl::Status inner = absl::UnknownError("not run");
  observer.progress = [&](const Progress&) {
    const JobScope nested{Observer()};
    inner = GoOn();
  };
  observer.cancelled = [] { return false; };
  const JobScope job(observer);
  job.observer().Report({});
  SMELT_EXPECT_OK(inner);
}

TEST(JobScope, AJobStopsInsideTheWorkOfOtherThreads) {
  SMELT_EXPECT_OK(GoOn());  // no job
  std::atomic<bool> stop{false};
  Observer observer;
  observer.cancelled = [&] { return stop.load(); };
  std::atomic<uint64_t> pieces{0};
  {
    const JobScope job(observer);
    const JobScope inner{Observer()};  // stops with the outer one
    SetThreads(4);
    const absl::Status status = ParallelFor(1'000'000, 1, [&](uint64_t, uint64_t) {
      if (++pieces == 100) stop = true;
      std::this_thread::sleep_for(std::chrono::microseconds(50));
      return absl::OkStatus();
    });
    SetThreads(0);
    EXPECT_EQ(CodeOf(status), ErrorCode::kCancelled);
    EXPECT_LT(pieces, 100'000u);
    stop = false;
    EXPECT_EQ(CodeOf(GoOn()), ErrorCode::kCancelled) << "once stopped, always stopped";
  }
  SMELT_EXPECT_OK(GoOn());
}

// Reads one byte of each page.
uint64_t Touch(std::span<const std::byte> bytes) {
  uint64_t sum = 0;
  for (size_t i = 0; i < bytes.size(); i += 4096) sum += static_cast<uint64_t>(bytes[i]);
  return sum;
}

TEST(MappedFile, WhatAShrunkFileHasLostReadsAsZerosAndIsAnError) {
  CatchLostPages();
  const TempDir dir;
  const std::string path = dir / "shrinks\x1b.bin";
  WriteFile(path, std::string(10 * 4096, '\1'));
  {
    const auto file = OpenFile(path);
    SMELT_ASSERT_OK(file);
    const auto bytes = (*file)->Map();
    SMELT_ASSERT_OK(bytes);
    EXPECT_EQ(Touch(*bytes), 10u);
    SMELT_EXPECT_OK(CheckMappedFiles());
    ASSERT_EQ(truncate(path.c_str(), 2 * 4096 + 1), 0);
    EXPECT_EQ(Touch(*bytes), 3u);
    const absl::Status status = CheckMappedFiles();
    EXPECT_EQ(CodeOf(status), ErrorCode::kIo);
    const std::string sentence(status.message());
    EXPECT_NE(sentence.find("shrinks\\x1b.bin: the file became shorter"), std::string::npos);
    EXPECT_NE(sentence.find("8193 of 40960 bytes left"), std::string::npos) << sentence;
    const JobScope job{Observer()};
    EXPECT_EQ(CodeOf(GoOn()), ErrorCode::kIo);
    // Zeros were read: it stays an error when the file is whole again.
    WriteFile(path, std::string(10 * 4096, '\1'));
    EXPECT_EQ(CodeOf(CheckMappedFiles()), ErrorCode::kIo);
  }
  SMELT_EXPECT_OK(CheckMappedFiles());
}

TEST(MappedFile, AFileThatLosesAFewBytesOfItsLastPageIsAnErrorToo) {
  const TempDir dir;
  WriteFile(dir / "f", std::string(5000, '\1'));
  const auto file = OpenFile(dir / "f");
  SMELT_ASSERT_OK(file);
  SMELT_ASSERT_OK((*file)->Map());
  ASSERT_EQ(truncate((dir / "f").c_str(), 4999), 0);
  EXPECT_EQ(CodeOf(CheckMappedFiles()), ErrorCode::kIo);
}

TEST(MappedFileDeathTest, AFaultElsewhereStillEndsTheProcess) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  const TempDir dir;
  WriteFile(dir / "f", std::string(8192, '\1'));
  EXPECT_EXIT(
      {
        signal(SIGBUS, SIG_DFL);  // a sanitizer has one of its own
        CatchLostPages();
        const std::string path = dir / "f";
        std::FILE* file = std::fopen(path.c_str(), "r");
        const void* mapping = mmap(nullptr, 8192, PROT_READ, MAP_SHARED, fileno(file), 0);
        if (truncate(path.c_str(), 0) != 0) std::exit(1);
        std::exit(static_cast<int>(
            Touch(std::span(static_cast<const std::byte*>(mapping), size_t{8192}))));
      },
      ::testing::KilledBySignal(SIGBUS), "");
}

}  // namespace
}  // namespace smelt
