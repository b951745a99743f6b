// How much memory this process may still use.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace smelt {

/// Bytes that can be allocated before the machine, a control group of this process (memory.max of
/// version 2, memory.limit_in_bytes of version 1) or a limit of the process itself (setrlimit) is
/// exhausted. What files have in memory counts as available: it can be read again. Empty: not
/// known. `root`: where /proc and /sys/fs/cgroup are looked for, empty for the system's own.
std::optional<uint64_t> AvailableMemory(const std::string& root = {});

}  // namespace smelt
