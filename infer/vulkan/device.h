// A device that computes: its memory, its programs, and the work that is recorded for it. Not
// thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "infer/backend.h"
#include "infer/vulkan/memory.h"
#include "infer/vulkan/physical_device.h"

namespace smelt::vulkan {

inline constexpr uint64_t kForever = 0;   ///< seconds that a device may take
inline constexpr size_t kMostPush = 128;  ///< bytes that every device takes

/// A shader by its name, and the values of its specialization constants 0 and 1.
struct Shader {
  Shader(std::string_view name, uint32_t first = 0, uint32_t second = 0)
      : name(name), constants{first, second} {}
  std::string_view name;
  std::array<uint32_t, 2> constants;
};

/// Workgroups of a dispatch.
struct Groups {
  uint32_t x = 1, y = 1, z = 1;
};
/// That every device takes in a dimension.
inline constexpr uint32_t kMostGroups = 65535;

/// Bytes of the device's memory.
struct Range {
  uint64_t address = 0, bytes = 0;
};
inline Range RangeOf(const Memory& memory) { return {memory.address(), memory.size()}; }

/// What a command touches; what it reads and writes is among the writes.
struct Access {
  Range reads[12] = {};
  Range writes[4] = {};
};

/// What is called first is done first, and sees what came before: between commands of which one
/// writes what the other touches stands a barrier, others may run at the same time. All is done at
/// the latest when Read or Wait come back. Until then the host goes on, a few hand-overs ahead of
/// the device: while that computes, what the next products need is brought. Memory that is released
/// is used again when what was called before is done.
class Device : public std::enable_shared_from_this<Device> {
 public:
  /// `memory_limit`: bytes of its memory in use at most; 0: all but a reserve. `patience`: seconds
  /// for what is handed over at once; a device that takes longer is given up, which is an error.
  static absl::StatusOr<std::shared_ptr<Device>> Open(const PhysicalDevice& physical,
                                                      uint64_t memory_limit,
                                                      uint64_t patience = kForever);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const PhysicalDevice& physical() const { return physical_; }
  Arena& arena() { return *arena_; }
  const CommandCounts& counts() const { return counts_; }
  /// For tests: commands without a barrier between them are done in the reverse of their order,
  /// which changes nothing where Access says what is so.
  static inline bool reversed = false;

  absl::StatusOr<Memory> Allocate(uint64_t bytes);
  void Release(const Memory& memory);

  absl::Status Write(const Memory& to, uint64_t offset, std::span<const std::byte> bytes);
  absl::Status Read(const Memory& from, uint64_t offset, std::span<std::byte> bytes);
  absl::Status Copy(const Memory& from, uint64_t from_offset, const Memory& to, uint64_t to_offset,
                    uint64_t bytes);
  absl::Status Clear(const Memory& memory);

  /// A word of the host's memory that is 0 until a shader writes to it.
  uint64_t report_address() const { return report_address_; }
  /// What was written there since it was last asked for. Of all that was called, after Read or
  /// Wait.
  uint32_t TakeReport();

  /// Operations that a dispatch should stay below, so that no driver takes it for hung.
  double most_work() const;

  /// Runs a shader; `push`: its push constants. `work`: operations, roughly.
  template <typename Push>
  absl::Status Dispatch(const Shader& shader, const Push& push, Groups groups, double work,
                        const Access& access) {
    static_assert(sizeof(Push) <= kMostPush && std::is_trivially_copyable_v<Push>);
    return DispatchBytes(shader, std::as_bytes(std::span(&push, 1)), groups, work, access);
  }

  /// Hands over what is recorded, and does not wait for it.
  absl::Status Submit();
  absl::Status Wait();

 private:
  /// What is handed over at once, with a part of the staging memory.
  struct Frame {
    VkCommandBuffer commands = VK_NULL_HANDLE;
    VkFence fence = VK_NULL_HANDLE;
    bool submitted = false;
    std::vector<Arena::Piece> released;  ///< that it may still use
  };
  Device(const PhysicalDevice& physical, uint64_t patience)
      : physical_(physical), patience_(patience) {}
  absl::Status Initialize(uint64_t memory_limit);
  absl::Status MakeStaging();
  absl::Status DispatchBytes(const Shader& shader, std::span<const std::byte> push, Groups groups,
                             double work, const Access& access);
  absl::StatusOr<VkPipeline> PipelineOf(const Shader& shader);
  absl::StatusOr<VkPipeline> MakePipeline(const Shader& shader);
  /// A command that goes to the command buffer when a barrier, or the end, is due.
  struct Command {
    VkPipeline pipeline =
        VK_NULL_HANDLE;  ///< of a dispatch; else a copy, or zeros where from is null
    std::array<std::byte, kMostPush> push = {};
    uint32_t push_bytes = 0;
    Groups groups = {};
    VkBuffer from = VK_NULL_HANDLE, to = VK_NULL_HANDLE;
    VkBufferCopy region = {};
  };
  absl::Status Record(const Command& command, const Access& access);
  Frame& frame() { return frames_[frame_]; }
  absl::Status WaitFor(Frame& frame);
  /// Waits for the oldest of what is handed over, while nothing is recorded, and frees what that
  /// used; false: there was nothing.
  absl::StatusOr<bool> WaitForOldest();
  /// Room for a part of so many bytes: how much of them, and where in the staging memory.
  absl::StatusOr<uint64_t> Stage(uint64_t bytes, uint64_t& at);
  void Emit(const Command& command);
  void EmitAll();

  const PhysicalDevice physical_;
  const uint64_t patience_;  // seconds, or kForever
  bool given_up_ = false;    // it may be at work for ever
  VkDevice handle_ = VK_NULL_HANDLE;
  VkQueue queue_ = VK_NULL_HANDLE;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  VkPipelineCache cache_ = VK_NULL_HANDLE;
  std::unique_ptr<Arena> arena_;
  std::map<std::tuple<std::string, std::array<uint32_t, 2>>, VkPipeline, std::less<>> pipelines_;
  // What goes to the device and comes from it goes through here.
  VkBuffer staging_ = VK_NULL_HANDLE;
  VkDeviceMemory staging_memory_ = VK_NULL_HANDLE;
  std::byte* staged_ = nullptr;
  std::byte* report_ = nullptr;  // behind it
  uint64_t report_address_ = 0;
  uint64_t staging_used_ = 0;    // of the frame's part
  std::array<Frame, 8> frames_;  // in turn
  size_t frame_ = 0;             // that is recorded
  bool recording_ = false;
  absl::Status failed_;  // of a submission: nothing after it is done
  double work_ = 0;      // of what is recorded
  // Since the last barrier.
  std::vector<Command> together_;
  std::vector<Range> read_, written_;
  CommandCounts counts_;
};

}  // namespace smelt::vulkan
