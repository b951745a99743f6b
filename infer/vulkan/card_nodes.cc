#include "infer/vulkan/card_nodes.h"

#ifdef __linux__
#include <dirent.h>

#include <cerrno>
#include <memory>
#include <new>
#include <string_view>
#endif

namespace smelt::vulkan {
namespace {

#ifdef __linux__

/// Whether the folder has a file whose name begins so, or cannot be read. Not by std::filesystem,
/// whose iterator ends the process where it finds no memory.
bool MayHave(const std::string& folder, std::string_view begin) {
  const std::unique_ptr<DIR, int (*)(DIR*)> open(opendir(folder.c_str()), closedir);
  if (open == nullptr) {
    if (errno == ENOMEM) throw std::bad_alloc();
    return errno != ENOENT;
  }
  while (const dirent* const entry = readdir(open.get())) {
    if (std::string_view(entry->d_name).starts_with(begin)) return true;
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
