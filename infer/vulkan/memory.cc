#include "infer/vulkan/memory.h"

#include <algorithm>
#include <utility>

#include "infer/vulkan/device.h"
#include "lib/base/status.h"

namespace smelt::vulkan {
namespace {

constexpr uint64_t kAlignment = 256;
constexpr uint64_t kBlock = 64ull << 20;  // for pieces that do not fill one

// Of the kinds of memory that are `allowed`, one with all of `wanted`.
absl::StatusOr<uint32_t> MemoryType(VkPhysicalDevice physical, uint32_t allowed,
                                    VkMemoryPropertyFlags wanted) {
  VkPhysicalDeviceMemoryProperties memory;
  vkGetPhysicalDeviceMemoryProperties(physical, &memory);
  uint32_t best = memory.memoryTypeCount;
  uint64_t most = 0;
  for (uint32_t i = 0; i < memory.memoryTypeCount; ++i) {
    const VkMemoryType& type = memory.memoryTypes[i];
    const uint64_t heap = memory.memoryHeaps[type.heapIndex].size;
    if ((allowed >> i & 1) == 0 || (type.propertyFlags & wanted) != wanted || heap <= most)
      continue;
    best = i;
    most = heap;
  }
  if (best == memory.memoryTypeCount)
    return Error(ErrorCode::kUnsupported, "the device has no memory of the kind that is needed");
  return best;
}

uint64_t Aligned(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

Memory::~Memory() {
  if (device_ != nullptr) device_->Release(*this);
}

void Memory::Swap(Memory& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(buffer_, other.buffer_);
  std::swap(offset_, other.offset_);
  std::swap(size_, other.size_);
  std::swap(address_, other.address_);
}

Arena::Arena(Device& device, VkPhysicalDevice physical, VkDevice handle, uint64_t limit,
             uint64_t largest)
    : device_(device), physical_(physical), handle_(handle), limit_(limit), largest_(largest) {}

Arena::~Arena() {
  for (const auto& block : blocks_) Destroy(*block);
}

absl::StatusOr<Memory> Arena::Allocate(uint64_t bytes) {
  const uint64_t size = Aligned(std::max<uint64_t>(bytes, 1));
  for (int attempt = 0;; ++attempt) {
    for (const auto& block : blocks_) {
      const auto fits = std::find_if(block->free.begin(), block->free.end(),
                                     [&](const auto& piece) { return piece.second >= size; });
      if (fits == block->free.end()) continue;
      const auto [offset, room] = *fits;
      block->free.erase(fits);
      if (room > size) block->free.emplace(offset + size, room - size);
      Memory memory;
      memory.device_ = device_.shared_from_this();
      memory.buffer_ = block->buffer;
      memory.offset_ = offset;
      memory.size_ = size;
      memory.address_ = block->address + offset;
      return memory;
    }
    // A block holds many pieces, but a small limit is not used up by a few.
    absl::Status added = AddBlock(std::max(size, std::min(kBlock, Aligned(limit_ / 16))));
    if (!added.ok() && CodeOf(added) == ErrorCode::kOutOfMemory && attempt == 0 && DropUnused())
      added = AddBlock(size);
    SMELT_RETURN_IF_ERROR(added);
  }
}

absl::Status Arena::AddBlock(uint64_t bytes) {
  if (bytes > largest_) {
    return Error(ErrorCode::kOutOfMemory, "the device gives at most ", largest_,
                 " bytes at once, and ", bytes, " are needed; use --device cpu");
  }
  if (bytes > limit_ || taken_ > limit_ - bytes) {
    return Error(ErrorCode::kOutOfMemory, "no room for ", bytes, " bytes more in the ", limit_,
                 " bytes of the device's memory in use; use a shorter context, a larger "
                 "--device-memory, or --device cpu");
  }
  auto block = std::make_unique<Block>();
  block->size = bytes;
  const absl::Status filled = FillBlock(*block);
  if (!filled.ok()) {
    Destroy(*block);
    return filled;
  }
  block->free.emplace(0, bytes);
  taken_ += bytes;
  blocks_.push_back(std::move(block));
  return absl::OkStatus();
}

absl::Status Arena::FillBlock(Block& block) {
  constexpr VkBufferUsageFlags kUsage =
      VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT |
      VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT;
  SMELT_RETURN_IF_ERROR(MakeBuffer(physical_, handle_, block.size, kUsage,
                                   VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, block.buffer,
                                   block.memory));
  VkBufferDeviceAddressInfo address{};
  address.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO;
  address.buffer = block.buffer;
  block.address = vkGetBufferDeviceAddress(handle_, &address);
  return absl::OkStatus();
}

void Arena::Free(const Piece& freed) {
  const auto found = std::find_if(blocks_.begin(), blocks_.end(),
                                  [&](const auto& block) { return block->buffer == freed.buffer; });
  std::map<uint64_t, uint64_t>& free = (*found)->free;
  auto piece = free.emplace(freed.offset, freed.bytes).first;
  const auto next = std::next(piece);
  if (next != free.end() && piece->first + piece->second == next->first) {
    piece->second += next->second;
    free.erase(next);
  }
  if (piece == free.begin()) return;
  const auto before = std::prev(piece);
  if (before->first + before->second != piece->first) return;
  before->second += piece->second;
  free.erase(piece);
}

bool Arena::DropUnused() {
  return std::erase_if(blocks_, [&](const auto& block) {
           if (!block->unused()) return false;
           taken_ -= block->size;
           Destroy(*block);
           return true;
         }) > 0;
}

void Arena::Destroy(Block& block) {
  vkDestroyBuffer(handle_, block.buffer, nullptr);
  vkFreeMemory(handle_, block.memory, nullptr);
}

absl::Status MakeBuffer(VkPhysicalDevice physical, VkDevice handle, uint64_t size,
                        VkBufferUsageFlags usage, VkMemoryPropertyFlags wanted, VkBuffer& buffer,
                        VkDeviceMemory& memory) {
  VkBufferCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
  info.size = size;
  info.usage = usage;
  SMELT_VK(vkCreateBuffer, handle, &info, nullptr, &buffer);
  VkMemoryRequirements needs;
  vkGetBufferMemoryRequirements(handle, buffer, &needs);
  VkMemoryAllocateFlagsInfo flags{};
  flags.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO;
  flags.flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT;
  VkMemoryAllocateInfo allocate{};
  allocate.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
  if ((usage & VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT) != 0) allocate.pNext = &flags;
  allocate.allocationSize = needs.size;
  SMELT_ASSIGN_OR_RETURN(allocate.memoryTypeIndex,
                         MemoryType(physical, needs.memoryTypeBits, wanted));
  SMELT_VK(vkAllocateMemory, handle, &allocate, nullptr, &memory);
  SMELT_VK(vkBindBufferMemory, handle, buffer, memory, 0);
  return absl::OkStatus();
}

}  // namespace smelt::vulkan
