// How many processors this process may use.
#pragma once

#include <optional>
#include <string>

namespace smelt {

/// Processors' worth of time that the control groups of this process grant: the smallest quota from
/// its own group up to the root of the hierarchy (cpu.max of version 2, cpu.cfs_quota_us over
/// cpu.cfs_period_us of version 1). Containers are limited so. Empty: no quota. `root`: where
/// /proc and /sys/fs/cgroup are looked for, empty for the system's own.
std::optional<double> CpuQuota(const std::string& root = {});

/// Processors that the scheduler's mask allows, but no more than the quota, rounded up; at least 1.
int UsableCores(const std::string& root = {});

}  // namespace smelt
