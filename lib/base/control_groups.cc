#include "lib/base/control_groups.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "lib/base/fd.h"

namespace smelt {
namespace {

bool Lists(std::string_view controllers, std::string_view wanted) {
  while (!controllers.empty()) {
    if (TakeUpTo(controllers, ',') == wanted) return true;
  }
  return false;
}

}  // namespace

// Files of /proc and /sys tell no size.
std::string ReadSmallFile(const std::string& path) {
  std::string text;
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return text;
  char part[4096];
  ssize_t n;
  while (text.size() < (1u << 20) && (n = read(fd.get(), part, sizeof(part))) > 0)
    text.append(part, static_cast<size_t>(n));
  return text;
}

std::string_view TakeUpTo(std::string_view& rest, char end) {
  const size_t at = std::min(rest.find(end), rest.size());
  const std::string_view head = rest.substr(0, at);
  rest.remove_prefix(std::min(at + 1, rest.size()));
  return head;
}

std::optional<double> PositiveNumber(std::string_view text) {
  long long value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end == text.data() || value <= 0) return std::nullopt;
  return static_cast<double>(value);
}

void VisitControlGroups(const std::string& root, std::string_view controller,
                        absl::FunctionRef<void(const std::string& folder, bool unified)> visit) {
  const std::string text = ReadSmallFile(root + "/proc/self/cgroup");
  const std::string mounts = root + "/sys/fs/cgroup";
  const auto climb = [&](const std::string& mount, std::string_view own, bool unified) {
    if (own.ends_with('/')) own.remove_suffix(1);
    for (std::string group(own);; group.resize(std::min(group.rfind('/'), group.size()))) {
      visit(mount + group, unified);
      if (group.empty()) return;
    }
  };
  for (std::string_view lines = text; !lines.empty();) {
    std::string_view group = TakeUpTo(lines, '\n');  // NUMBER:CONTROLLERS:PATH
    const std::string_view number = TakeUpTo(group, ':'), controllers = TakeUpTo(group, ':');
    if (!group.starts_with('/')) continue;
    if (number == "0" && controllers.empty()) {
      climb(mounts, group, true);
      climb(mounts + "/unified", group, true);
    } else if (Lists(controllers, controller)) {
      climb(mounts + "/" + std::string(controller), group, false);
      climb(mounts + "/" + std::string(controllers), group, false);
    }
  }
}

}  // namespace smelt
