// The device's memory: pieces of a few large blocks.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "infer/vulkan/api.h"

namespace smelt::vulkan {

class Device;

/// A piece of the device's memory, given back when it goes. Keeps the device.
class Memory {
 public:
  Memory() = default;
  Memory(Memory&& other) noexcept { Swap(other); }
  Memory& operator=(Memory&& other) noexcept {
    Memory gone(std::move(other));
    Swap(gone);
    return *this;
  }
  ~Memory();

  uint64_t size() const { return size_; }  ///< bytes; 0: none
  uint64_t address() const { return address_; }
  VkBuffer buffer() const { return buffer_; }
  uint64_t offset() const { return offset_; }  ///< in the buffer

 private:
  friend class Arena;
  void Swap(Memory& other) noexcept;

  std::shared_ptr<Device> device_;
  VkBuffer buffer_ = VK_NULL_HANDLE;
  uint64_t offset_ = 0, size_ = 0, address_ = 0;
};

/// Blocks of memory that shaders read and write. Not thread-safe.
class Arena {
 public:
  /// `limit`: bytes in all; `largest`: of a block.
  Arena(Device& device, VkPhysicalDevice physical, VkDevice handle, uint64_t limit,
        uint64_t largest);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// kOutOfMemory when the limit, or the device, has no room for it.
  absl::StatusOr<Memory> Allocate(uint64_t bytes);
  struct Piece {
    VkBuffer buffer = VK_NULL_HANDLE;
    uint64_t offset = 0, bytes = 0;
  };
  /// Nobody may use the piece any more.
  void Free(const Piece& piece);
  uint64_t limit() const { return limit_; }

 private:
  struct Block {
    VkBuffer buffer = VK_NULL_HANDLE;
    VkDeviceMemory memory = VK_NULL_HANDLE;
    uint64_t size = 0, address = 0;
    std::map<uint64_t, uint64_t> free;  ///< offset: bytes
    bool unused() const { return free.size() == 1 && free.begin()->second == size; }
  };
  absl::Status AddBlock(uint64_t bytes);
  absl::Status FillBlock(Block& block);
  void Destroy(Block& block);
  /// Gives blocks that nobody uses back to the device; false: there were none.
  bool DropUnused();

  Device& device_;
  const VkPhysicalDevice physical_;
  const VkDevice handle_;
  const uint64_t limit_, largest_;
  uint64_t taken_ = 0;
  std::vector<std::unique_ptr<Block>> blocks_;
};

/// A buffer with memory of its own, of a kind with all of `wanted`, on the largest heap that has
/// it. What was made stands in `buffer` and `memory` after a failure too. kUnsupported where the
/// device has no such memory.
absl::Status MakeBuffer(VkPhysicalDevice physical, VkDevice handle, uint64_t size,
                        VkBufferUsageFlags usage, VkMemoryPropertyFlags wanted, VkBuffer& buffer,
                        VkDeviceMemory& memory);

}  // namespace smelt::vulkan
