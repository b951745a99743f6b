#include "lib/base/available_memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <string_view>

#include "lib/base/control_groups.h"

namespace smelt {
namespace {

/// The number of a line "NAME 123" or "NAME: 123 kB"; 0 where there is none.
double Field(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    std::string_view line = TakeUpTo(text, '\n');
    if (!line.starts_with(name)) continue;
    line.remove_prefix(name.size());
    if (line.empty() || line.find_first_of(": \t") != 0) continue;
    line.remove_prefix(std::min(line.find_first_not_of(": \t"), line.size()));
    return PositiveNumber(line).value_or(0);
  }
  return 0;
}

struct MemoryFiles {
  const char* limit;
  const char* soft_limit;  ///< beyond it a group is slowed down to a crawl
  const char* usage;
  const char* inactive;
  const char* active;
};
constexpr MemoryFiles kVersion1 = {"/memory.limit_in_bytes", "", "/memory.usage_in_bytes",
                                   "total_inactive_file", "total_active_file"};
constexpr MemoryFiles kVersion2 = {"/memory.max", "/memory.high", "/memory.current",
                                   "inactive_file", "active_file"};

/// Empty where the group limits nothing.
std::optional<double> LeftInGroup(const std::string& folder, const MemoryFiles& files) {
  std::optional<double> limit;
  const std::string stat = ReadSmallFile(folder + "/memory.stat");
  // Of version 1 the limits of groups around this one, which a container does not see.
  const double around = Field(stat, "hierarchical_memory_limit");
  for (const std::optional<double>& bytes :
       {PositiveNumber(ReadSmallFile(folder + files.limit)),
        PositiveNumber(ReadSmallFile(folder + files.soft_limit)),
        around > 0 ? std::optional(around) : std::nullopt}) {
    if (bytes && (!limit || *bytes < *limit)) limit = bytes;
  }
  if (!limit) return std::nullopt;
  const double used = PositiveNumber(ReadSmallFile(folder + files.usage)).value_or(0);
  return *limit - used + Field(stat, files.inactive) + Field(stat, files.active);
}

}  // namespace

std::optional<uint64_t> AvailableMemory(const std::string& root) {
  std::optional<double> least;
  const auto consider = [&least](double bytes) {
    least = std::max(0.0, least ? std::min(*least, bytes) : bytes);
  };
  const std::string machine = ReadSmallFile(root + "/proc/meminfo");
  if (const double kib = Field(machine, "MemAvailable"); kib > 0) consider(kib * 1024);
  VisitControlGroups(root, "memory", [&](const std::string& folder, bool unified) {
    const std::optional<double> left = LeftInGroup(folder, unified ? kVersion2 : kVersion1);
    if (left) consider(*left);
  });
  const std::string own = ReadSmallFile(root + "/proc/self/status");
  for (const auto& [resource, field] : {std::pair(RLIMIT_DATA, "VmData"), {RLIMIT_AS, "VmSize"}}) {
    rlimit limit{};
    if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) continue;
    consider(static_cast<double>(limit.rlim_cur) - Field(own, field) * 1024);
  }
  if (!least) return std::nullopt;
  return static_cast<uint64_t>(*least);
}

}  // namespace smelt
