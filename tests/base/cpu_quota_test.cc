#include "lib/base/cpu_quota.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <filesystem>

#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::TempDir;

/// A file under a made-up root, its folders with it.
void Put(const TempDir& root, const std::string& path, std::string_view content) {
  std::filesystem::create_directories(std::filesystem::path(root / path).parent_path());
  testing::WriteFile(root / path, content);
}

TEST(CpuQuota, NoneWhereNothingLimits) {
  const TempDir root;
  EXPECT_EQ(CpuQuota(root.path()), std::nullopt);  // no /proc/self/cgroup
  Put(root, "proc/self/cgroup", "0::/user.slice\n");
  EXPECT_EQ(CpuQuota(root.path()), std::nullopt);  // no cpu.max
  Put(root, "sys/fs/cgroup/user.slice/cpu.max", "max 100000\n");
  EXPECT_EQ(CpuQuota(root.path()), std::nullopt);
  Put(root, "sys/fs/cgroup/user.slice/cpu.max", "nonsense\n");
  EXPECT_EQ(CpuQuota(root.path()), std::nullopt);
  Put(root, "sys/fs/cgroup/user.slice/cpu.max", "100000 0\n");
  EXPECT_EQ(CpuQuota(root.path()), std::nullopt);
}

TEST(CpuQuota, Version2TheSmallestUpTheHierarchy) {
  const TempDir root;
  Put(root, "proc/self/cgroup", "0::/a/b/c\n");
  Put(root, "sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
  Put(root, "sys/fs/cgroup/a/b/cpu.max", "150000 100000\n");
  Put(root, "sys/fs/cgroup/a/cpu.max", "800000 100000\n");
  EXPECT_EQ(CpuQuota(root.path()), 1.5);
  Put(root, "sys/fs/cgroup/a/cpu.max", "50000 100000\n");
  EXPECT_EQ(CpuQuota(root.path()), 0.5);
}

// A container sees its own group at the root of the mount; /proc/self/cgroup says "/", or the path
// that the host knows.
TEST(CpuQuota, Version2InsideAContainer) {
  const TempDir root;
  Put(root, "proc/self/cgroup", "0::/\n");
  Put(root, "sys/fs/cgroup/cpu.max", "300000 100000\n");
  EXPECT_EQ(CpuQuota(root.path()), 3.0);
  Put(root, "proc/self/cgroup", "0::/docker/0123456789abcdef\n");
  EXPECT_EQ(CpuQuota(root.path()), 3.0);
}

TEST(CpuQuota, Version1) {
  const TempDir root;
  Put(root, "proc/self/cgroup", "9:memory:/m\n4:cpu,cpuacct:/docker/x\n1:name=systemd:/\n");
  Put(root, "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us", "-1\n");
  Put(root, "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(CpuQuota(root.path()), std::nullopt);
  Put(root, "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us", "250000\n");
  EXPECT_EQ(CpuQuota(root.path()), 2.5);
  // The same controller where systems link it by its name alone.
  Put(root, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n");
  Put(root, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "50000\n");
  EXPECT_EQ(CpuQuota(root.path()), 2.0);
}

TEST(CpuQuota, BothVersionsMounted) {
  const TempDir root;
  Put(root, "proc/self/cgroup", "3:cpu:/one\n0::/two\n");
  Put(root, "sys/fs/cgroup/cpu/one/cpu.cfs_quota_us", "400000\n");
  Put(root, "sys/fs/cgroup/cpu/one/cpu.cfs_period_us", "100000\n");
  Put(root, "sys/fs/cgroup/unified/two/cpu.max", "700000 100000\n");
  EXPECT_EQ(CpuQuota(root.path()), 4.0);
}

TEST(CpuQuota, UsableCoresAreAQuotaRoundedUp) {
  cpu_set_t set;
  ASSERT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
  const int allowed = CPU_COUNT(&set);
  const TempDir root;
  EXPECT_EQ(UsableCores(root.path()), allowed);
  Put(root, "proc/self/cgroup", "0::/\n");
  Put(root, "sys/fs/cgroup/cpu.max", "10000 100000\n");
  EXPECT_EQ(UsableCores(root.path()), 1);
  Put(root, "sys/fs/cgroup/cpu.max", "110000 100000\n");
  EXPECT_EQ(UsableCores(root.path()), std::min(allowed, 2));
  Put(root, "sys/fs/cgroup/cpu.max", "100000000 100000\n");
  EXPECT_EQ(UsableCores(root.path()), allowed);
}

}  // namespace
}  // namespace smelt
