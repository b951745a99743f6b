#include "lib/base/cpu_quota.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::TempDir;

/// Files below a made-up root.
using Tree = std::vector<std::pair<std::string, std::string>>;

void Put(const TempDir& root, const Tree& tree) {
  for (const auto& [path, content] : tree) {
    std::filesystem::create_directories(std::filesystem::path(root / path).parent_path());
    testing::WriteFile(root / path, content);
  }
}

std::optional<double> QuotaOf(const Tree& tree) {
  const TempDir root;
  Put(root, tree);
  return CpuQuota(root.path());
}

const std::string kOwnGroup = "proc/self/cgroup", kGroupRoot = "sys/fs/cgroup/";

TEST(CpuQuota, NoneWhereNothingLimits) {
  EXPECT_EQ(QuotaOf({}), std::nullopt);
  EXPECT_EQ(QuotaOf({{kOwnGroup, "0::/user.slice\n"}}), std::nullopt);
  for (const char* limit : {"max 100000\n", "nonsense\n", "100000 0\n"}) {
    EXPECT_EQ(
        QuotaOf({{kOwnGroup, "0::/user.slice\n"}, {kGroupRoot + "user.slice/cpu.max", limit}}),
        std::nullopt)
        << limit;
  }
}

TEST(CpuQuota, Version2TheSmallestUpTheHierarchy) {
  for (const auto& [outermost, quota] :
       {std::pair("800000 100000\n", 1.5), std::pair("50000 100000\n", 0.5)}) {
    EXPECT_EQ(QuotaOf({{kOwnGroup, "0::/a/b/c\n"},
                       {kGroupRoot + "a/b/c/cpu.max", "max 100000\n"},
                       {kGroupRoot + "a/b/cpu.max", "150000 100000\n"},
                       {kGroupRoot + "a/cpu.max", outermost}}),
              quota);
  }
}

// A container sees its own group at the root of the mount; /proc/self/cgroup says "/", or the path
// that the host knows.
TEST(CpuQuota, Version2InsideAContainer) {
  for (const char* own : {"0::/\n", "0::/docker/0123456789abcdef\n"})
    EXPECT_EQ(QuotaOf({{kOwnGroup, own}, {kGroupRoot + "cpu.max", "300000 100000\n"}}), 3.0) << own;
}

TEST(CpuQuota, Version1) {
  const std::string own = "9:memory:/m\n4:cpu,cpuacct:/docker/x\n1:name=systemd:/\n";
  for (const auto& [limit, quota] :
       {std::pair("-1\n", std::optional<double>()), std::pair("250000\n", std::optional(2.5))}) {
    EXPECT_EQ(QuotaOf({{kOwnGroup, own},
                       {kGroupRoot + "cpu,cpuacct/docker/x/cpu.cfs_quota_us", limit},
                       {kGroupRoot + "cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000\n"}}),
              quota);
  }
  // The same controller where systems link it by its name alone.
  EXPECT_EQ(QuotaOf({{kOwnGroup, own},
                     {kGroupRoot + "cpu/cpu.cfs_quota_us", "100000\n"},
                     {kGroupRoot + "cpu/cpu.cfs_period_us", "50000\n"}}),
            2.0);
}

TEST(CpuQuota, BothVersionsMounted) {
  EXPECT_EQ(QuotaOf({{kOwnGroup, "3:cpu:/one\n0::/two\n"},
                     {kGroupRoot + "cpu/one/cpu.cfs_quota_us", "400000\n"},
                     {kGroupRoot + "cpu/one/cpu.cfs_period_us", "100000\n"},
                     {kGroupRoot + "unified/two/cpu.max", "700000 100000\n"}}),
            4.0);
}

TEST(CpuQuota, UsableCoresAreAQuotaRoundedUp) {
  cpu_set_t set;
  ASSERT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
  const int allowed = CPU_COUNT(&set);
  const TempDir root;
  EXPECT_EQ(UsableCores(root.path()), allowed);
  for (const auto& [limit, cores] :
       {std::pair("10000 100000\n", 1), std::pair("110000 100000\n", std::min(allowed, 2)),
        std::pair("100000000 100000\n", allowed)}) {
    Put(root, {{kOwnGroup, "0::/\n"}, {kGroupRoot + "cpu.max", limit}});
    EXPECT_EQ(UsableCores(root.path()), cores) << limit;
  }
}

}  // namespace
}  // namespace smelt
