#include "infer/vulkan/card_nodes.h"

#include <filesystem>
#include <string_view>
#include <system_error>

namespace smelt::vulkan {
namespace {

#ifdef __linux__

/// Whether the folder has a file whose name begins so, or cannot be read.
bool MayHave(const std::string& folder, std::string_view begin) {
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  if (error) return error != std::errc::no_such_file_or_directory;
  for (; entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    if (error || entry->path().filename().native().starts_with(begin)) return true;
  }
  return false;
}

#endif

}  // namespace

bool MayHaveCard([[maybe_unused]] const std::string& devices) {
#ifdef __linux__
  // Drivers of the kernel's own kind; NVIDIA's; WSL's; of telephones and small boards.
  if (MayHave(devices + "/dri", "renderD")) return true;
  for (const char* name : {"nvidia", "nvgpu", "dxg", "kgsl", "mali"})
    if (MayHave(devices, name)) return true;
  return false;
#else
  return true;
#endif
}

}  // namespace smelt::vulkan
