#include "lib/base/cpu_quota.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <thread>

#include "lib/base/control_groups.h"

namespace smelt {
namespace {

std::optional<double> Quotient(std::string_view quota, std::string_view period) {
  const std::optional<double> q = PositiveNumber(quota), p = PositiveNumber(period);
  if (!q || !p) return std::nullopt;
  return *q / *p;
}

std::optional<double> QuotaOfGroup(const std::string& folder, bool unified) {
  if (unified) {
    const std::string text = ReadSmallFile(folder + "/cpu.max");  // "QUOTA PERIOD", "max PERIOD"
    std::string_view rest = text;
    const std::string_view quota = TakeUpTo(rest, ' ');
    return Quotient(quota, rest);
  }
  return Quotient(ReadSmallFile(folder + "/cpu.cfs_quota_us"),
                  ReadSmallFile(folder + "/cpu.cfs_period_us"));
}

}  // namespace

std::optional<double> CpuQuota(const std::string& root) {
  std::optional<double> smallest;
  VisitControlGroups(root, "cpu", [&](const std::string& folder, bool unified) {
    const std::optional<double> quota = QuotaOfGroup(folder, unified);
    if (quota && (!smallest || *quota < *smallest)) smallest = quota;
  });
  return smallest;
}

int UsableCores(const std::string& root) {
  cpu_set_t set;
  const int cores = sched_getaffinity(0, sizeof(set), &set) == 0
                        ? CPU_COUNT(&set)
                        : static_cast<int>(std::thread::hardware_concurrency());
  const double quota = CpuQuota(root).value_or(cores);
  return std::max(1, static_cast<int>(std::min<double>(cores, std::ceil(quota))));
}

}  // namespace smelt
