#include "lib/base/cpu_quota.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string_view>
#include <thread>

namespace smelt {
namespace {

// Files of /proc and /sys tell no size; these hold a few lines.
std::string ReadSmallFile(const std::string& path) {
  std::string text;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return text;
  char part[4096];
  ssize_t n;
  while (text.size() < (1u << 20) && (n = read(fd, part, sizeof(part))) > 0)
    text.append(part, static_cast<size_t>(n));
  close(fd);
  return text;
}

// The text up to `end`, which is taken off `rest` with it.
std::string_view Take(std::string_view& rest, char end) {
  const size_t at = std::min(rest.find(end), rest.size());
  const std::string_view head = rest.substr(0, at);
  rest.remove_prefix(std::min(at + 1, rest.size()));
  return head;
}

// Empty for "max", -1 and whatever else limits nothing.
std::optional<double> PositiveNumber(std::string_view text) {
  long long value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end == text.data() || value <= 0) return std::nullopt;
  return static_cast<double>(value);
}

std::optional<double> Quotient(std::string_view quota, std::string_view period) {
  const std::optional<double> q = PositiveNumber(quota), p = PositiveNumber(period);
  if (!q || !p) return std::nullopt;
  return *q / *p;
}

std::optional<double> QuotaOfGroup(const std::string& folder, bool unified) {
  if (unified) {
    const std::string text = ReadSmallFile(folder + "/cpu.max");  // "QUOTA PERIOD", "max PERIOD"
    std::string_view rest = text;
    const std::string_view quota = Take(rest, ' ');
    return Quotient(quota, rest);
  }
  return Quotient(ReadSmallFile(folder + "/cpu.cfs_quota_us"),
                  ReadSmallFile(folder + "/cpu.cfs_period_us"));
}

// The smallest quota of `group` and the groups around it. Inside of a container the path may be the
// host's, and then only the root is there: that is the container's own group.
std::optional<double> SmallestQuota(const std::string& mount, std::string group, bool unified) {
  std::optional<double> smallest;
  for (;;) {
    const std::optional<double> quota = QuotaOfGroup(mount + group, unified);
    if (quota && (!smallest || *quota < *smallest)) smallest = quota;
    if (group.empty()) return smallest;
    group.resize(std::min(group.rfind('/'), group.size()));
  }
}

bool Lists(std::string_view controllers, std::string_view wanted) {
  while (!controllers.empty()) {
    if (Take(controllers, ',') == wanted) return true;
  }
  return false;
}

}  // namespace

std::optional<double> CpuQuota(const std::string& root) {
  const std::string text = ReadSmallFile(root + "/proc/self/cgroup");
  const std::string mounts = root + "/sys/fs/cgroup";
  std::optional<double> smallest;
  const auto consider = [&](const std::string& mount, std::string_view group, bool unified) {
    if (group.ends_with('/')) group.remove_suffix(1);
    const std::optional<double> quota = SmallestQuota(mount, std::string(group), unified);
    if (quota && (!smallest || *quota < *smallest)) smallest = quota;
  };
  for (std::string_view lines = text; !lines.empty();) {
    std::string_view group = Take(lines, '\n');  // NUMBER:CONTROLLERS:PATH
    const std::string_view number = Take(group, ':'), controllers = Take(group, ':');
    if (!group.starts_with('/')) continue;
    if (number == "0" && controllers.empty()) {
      consider(mounts, group, true);
      consider(mounts + "/unified", group, true);
    } else if (Lists(controllers, "cpu")) {
      consider(mounts + "/cpu", group, false);
      consider(mounts + "/" + std::string(controllers), group, false);
    }
  }
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
