#include "lib/base/available_memory.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "tests/testing/sanitized.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::TempDir;

std::optional<uint64_t> Available(const std::vector<std::pair<std::string, std::string>>& files) {
  const TempDir root;
  for (const auto& [path, content] : files) {
    std::filesystem::create_directories(std::filesystem::path(root / path).parent_path());
    testing::WriteFile(root / path, content);
  }
  return AvailableMemory(root.path());
}

const std::pair<std::string, std::string> kMachine = {
    "proc/meminfo",
    "MemTotal:  4000 kB\nMemFree:  10 kB\nMemAvailable:   3000 kB\nBuffers: 1 kB\n"};
const std::string kOwn = "proc/self/cgroup", kGroups = "sys/fs/cgroup/";

TEST(AvailableMemory, OfTheMachine) {
  EXPECT_EQ(Available({}), std::nullopt);
  EXPECT_EQ(Available({{"proc/meminfo", "nonsense"}}), std::nullopt);
  EXPECT_EQ(Available({kMachine}), 3000u * 1024);
}

// What files occupy of a group's memory is given back when it is wanted.
TEST(AvailableMemory, OfControlGroups) {
  EXPECT_EQ(Available({kMachine,
                       {kOwn, "0::/a/b\n"},
                       {kGroups + "a/b/memory.max", "max\n"},
                       {kGroups + "a/b/memory.current", "999999999\n"},
                       {kGroups + "a/memory.max", "1000000\n"},
                       {kGroups + "a/memory.current", "700000\n"},
                       {kGroups + "a/memory.stat",
                        "anon 500000\ninactive_file 100000\nactive_file 50000\n"}}),
            450000u);
  EXPECT_EQ(Available({kMachine,
                       {kOwn, "12:memory:/box\n3:cpu,cpuacct:/box\n"},
                       {kGroups + "memory/box/memory.limit_in_bytes", "2000000\n"},
                       {kGroups + "memory/box/memory.usage_in_bytes", "1500000\n"},
                       {kGroups + "memory/box/memory.stat",
                        "inactive_file 7\ntotal_inactive_file 1000\ntotal_active_file 2000\n"}}),
            503000u);
  EXPECT_EQ(Available({kMachine,
                       {kOwn, "0::/a\n"},
                       {kGroups + "a/memory.max", "2000000\n"},
                       {kGroups + "a/memory.high", "900000\n"},
                       {kGroups + "a/memory.current", "100000\n"}}),
            800000u);
  EXPECT_EQ(Available({kMachine,
                       {kOwn, "12:memory:/box\n"},
                       {kGroups + "memory/memory.limit_in_bytes", "9223372036854771712\n"},
                       {kGroups + "memory/memory.usage_in_bytes", "1000\n"},
                       {kGroups + "memory/memory.stat", "hierarchical_memory_limit 6000\n"}}),
            5000u);
  // A group that is beyond its limit has nothing left.
  EXPECT_EQ(Available({kMachine,
                       {kOwn, "0::/\n"},
                       {kGroups + "memory.max", "1000\n"},
                       {kGroups + "memory.current", "5000\n"}}),
            0u);
}

TEST(AvailableMemory, OfTheProcessItself) {
  if (SMELT_SANITIZED) GTEST_SKIP() << "SKIPPED: a sanitizer maps more than the limit allows";
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_DATA, &before), 0);
  rlimit limit = before;
  limit.rlim_cur = 1u << 30;
  ASSERT_EQ(setrlimit(RLIMIT_DATA, &limit), 0);
  const std::optional<uint64_t> available = AvailableMemory();
  setrlimit(RLIMIT_DATA, &before);
  ASSERT_TRUE(available);
  EXPECT_LT(*available, 1u << 30);
}

}  // namespace
}  // namespace smelt
