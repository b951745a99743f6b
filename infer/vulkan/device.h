// A device that computes: its memory, its programs, and the work that is recorded for it. Not
// thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "absl/status/statusor.h"
#include "infer/vulkan/memory.h"
#include "infer/vulkan/physical_device.h"

namespace smelt::vulkan {

/// Workgroups of a dispatch.
struct Groups {
  uint32_t x = 1, y = 1, z = 1;
};
/// That every device takes in a dimension.
inline constexpr uint32_t kMostGroups = 65535;

/// What is called first is done first, and sees what came before; it is done at the latest when
/// Read, Wait or Release come back.
class Device : public std::enable_shared_from_this<Device> {
 public:
  /// `memory_limit`: bytes of its memory in use at most; 0: all but a reserve.
  static absl::StatusOr<std::shared_ptr<Device>> Open(const PhysicalDevice& physical,
                                                      uint64_t memory_limit);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const PhysicalDevice& physical() const { return physical_; }
  Arena& arena() { return *arena_; }
  uint64_t dispatches() const { return dispatches_; }  ///< so far

  absl::StatusOr<Memory> Allocate(uint64_t bytes) { return arena_->Allocate(bytes); }
  void Release(const Memory& memory);

  absl::Status Write(const Memory& to, uint64_t offset, std::span<const std::byte> bytes);
  absl::Status Read(const Memory& from, uint64_t offset, std::span<std::byte> bytes);
  absl::Status Copy(const Memory& from, uint64_t from_offset, const Memory& to, uint64_t to_offset,
                    uint64_t bytes);
  absl::Status Clear(const Memory& memory);

  /// Operations that a dispatch should stay below, so that no driver takes it for hung.
  double most_work() const;

  /// Runs a shader, whose constant 0 has the value `constant`; `push`: its push constants. `work`:
  /// operations, roughly.
  template <typename Push>
  absl::Status Dispatch(std::string_view shader, uint32_t constant, const Push& push, Groups groups,
                        double work) {
    static_assert(sizeof(Push) <= 128 && std::is_trivially_copyable_v<Push>);
    return DispatchBytes(shader, constant, std::as_bytes(std::span(&push, 1)), groups, work);
  }

  absl::Status Wait();

 private:
  explicit Device(const PhysicalDevice& physical) : physical_(physical) {}
  absl::Status Initialize(uint64_t memory_limit);
  absl::Status MakeStaging();
  absl::Status DispatchBytes(std::string_view shader, uint32_t constant,
                             std::span<const std::byte> push, Groups groups, double work);
  absl::StatusOr<VkPipeline> PipelineOf(std::string_view shader, uint32_t constant);
  /// Makes the command buffer ready for one thing more, which sees what came before.
  absl::Status Record();

  const PhysicalDevice physical_;
  VkDevice handle_ = VK_NULL_HANDLE;
  VkQueue queue_ = VK_NULL_HANDLE;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  VkCommandBuffer commands_ = VK_NULL_HANDLE;
  VkFence fence_ = VK_NULL_HANDLE;
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  VkPipelineCache cache_ = VK_NULL_HANDLE;
  std::unique_ptr<Arena> arena_;
  std::map<std::pair<std::string, uint32_t>, VkPipeline> pipelines_;
  // What goes to the device and comes from it goes through here.
  VkBuffer staging_ = VK_NULL_HANDLE;
  VkDeviceMemory staging_memory_ = VK_NULL_HANDLE;
  std::byte* staged_ = nullptr;
  uint64_t staging_used_ = 0;
  bool recording_ = false;
  absl::Status failed_;  // of a submission: nothing after it is done
  double work_ = 0;      // of what is recorded
  uint64_t dispatches_ = 0;
};

}  // namespace smelt::vulkan
