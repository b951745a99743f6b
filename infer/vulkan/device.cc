#include "infer/vulkan/device.h"

#include <algorithm>
#include <cstring>

#include "infer/vulkan/shaders.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"

namespace smelt::vulkan {
namespace {

constexpr uint64_t kStaging = 8ull << 20;
// Drivers take a submission for hung after some two seconds; slow devices do a hundredth of this.
constexpr double kMostWork = 4e10;
constexpr double kMostSoftwareWork = 5e7;

}  // namespace

absl::StatusOr<std::shared_ptr<Device>> Device::Open(const PhysicalDevice& physical,
                                                     uint64_t memory_limit) {
  std::shared_ptr<Device> device(new Device(physical));
  SMELT_RETURN_IF_ERROR(device->Initialize(memory_limit));
  return device;
}

absl::Status Device::Initialize(uint64_t memory_limit) {
  const float priority = 1;
  VkDeviceQueueCreateInfo queue{};
  queue.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO;
  queue.queueFamilyIndex = physical_.queue_family;
  queue.queueCount = 1;
  queue.pQueuePriorities = &priority;
  VkPhysicalDeviceVulkan12Features features{};
  features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
  features.bufferDeviceAddress = VK_TRUE;
  VkDeviceCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO;
  info.pNext = &features;
  info.queueCreateInfoCount = 1;
  info.pQueueCreateInfos = &queue;
  SMELT_VK(vkCreateDevice, physical_.handle, &info, nullptr, &handle_);
  vkGetDeviceQueue(handle_, physical_.queue_family, 0, &queue_);

  VkCommandPoolCreateInfo pool{};
  pool.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
  pool.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT;
  pool.queueFamilyIndex = physical_.queue_family;
  SMELT_VK(vkCreateCommandPool, handle_, &pool, nullptr, &pool_);
  VkCommandBufferAllocateInfo commands{};
  commands.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
  commands.commandPool = pool_;
  commands.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  commands.commandBufferCount = 1;
  SMELT_VK(vkAllocateCommandBuffers, handle_, &commands, &commands_);
  VkFenceCreateInfo fence{};
  fence.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO;
  SMELT_VK(vkCreateFence, handle_, &fence, nullptr, &fence_);

  VkPushConstantRange push{};
  push.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT;
  push.size = 128;
  VkPipelineLayoutCreateInfo layout{};
  layout.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO;
  layout.pushConstantRangeCount = 1;
  layout.pPushConstantRanges = &push;
  SMELT_VK(vkCreatePipelineLayout, handle_, &layout, nullptr, &layout_);
  VkPipelineCacheCreateInfo cache{};
  cache.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO;
  SMELT_VK(vkCreatePipelineCache, handle_, &cache, nullptr, &cache_);

  const uint64_t most = physical_.memory / 10 * 9;
  arena_ = std::make_unique<Arena>(*this, physical_.handle, handle_,
                                   memory_limit == 0 ? most : std::min(memory_limit, most),
                                   physical_.largest_allocation);
  return MakeStaging();
}

absl::Status Device::MakeStaging() {
  SMELT_RETURN_IF_ERROR(
      MakeBuffer(physical_.handle, handle_, kStaging,
                 VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
                 VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
                 staging_, staging_memory_));
  void* mapped = nullptr;
  SMELT_VK(vkMapMemory, handle_, staging_memory_, 0, kStaging, 0, &mapped);
  staged_ = static_cast<std::byte*>(mapped);
  return absl::OkStatus();
}

Device::~Device() {
  if (handle_ == VK_NULL_HANDLE) return;
  vkDeviceWaitIdle(handle_);
  arena_.reset();
  for (const auto& [name, pipeline] : pipelines_) vkDestroyPipeline(handle_, pipeline, nullptr);
  vkDestroyBuffer(handle_, staging_, nullptr);
  vkFreeMemory(handle_, staging_memory_, nullptr);
  vkDestroyPipelineCache(handle_, cache_, nullptr);
  vkDestroyPipelineLayout(handle_, layout_, nullptr);
  vkDestroyFence(handle_, fence_, nullptr);
  vkDestroyCommandPool(handle_, pool_, nullptr);
  vkDestroyDevice(handle_, nullptr);
}

double Device::most_work() const { return physical_.software ? kMostSoftwareWork : kMostWork; }

void Device::Release(const Memory& memory) {
  // Whatever still uses it must be done. Where that fails, nothing more is recorded, and who goes
  // on hears of it.
  static_cast<void>(Wait());
  arena_->Free(memory.buffer(), memory.offset(), memory.size());
}

absl::Status Device::Record() {
  SMELT_RETURN_IF_ERROR(failed_);
  if (!recording_) {
    VkCommandBufferBeginInfo begin{};
    begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
    begin.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
    SMELT_VK(vkBeginCommandBuffer, commands_, &begin);
    recording_ = true;
    return absl::OkStatus();
  }
  VkMemoryBarrier barrier{};
  barrier.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
  barrier.srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
  barrier.dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                          VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
  constexpr VkPipelineStageFlags kStages =
      VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
  vkCmdPipelineBarrier(commands_, kStages, kStages, 0, 1, &barrier, 0, nullptr, 0, nullptr);
  return absl::OkStatus();
}

absl::Status Device::Wait() {
  if (!recording_) return absl::OkStatus();
  recording_ = false;
  staging_used_ = 0;
  work_ = 0;
  const auto submit = [&]() -> absl::Status {
    VkMemoryBarrier barrier{};
    barrier.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
    barrier.srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
    barrier.dstAccessMask = VK_ACCESS_HOST_READ_BIT;
    vkCmdPipelineBarrier(commands_, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0,
                         1, &barrier, 0, nullptr, 0, nullptr);
    SMELT_VK(vkEndCommandBuffer, commands_);
    VkSubmitInfo info{};
    info.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO;
    info.commandBufferCount = 1;
    info.pCommandBuffers = &commands_;
    SMELT_VK(vkQueueSubmit, queue_, 1, &info, fence_);
    SMELT_VK(vkWaitForFences, handle_, 1, &fence_, VK_TRUE, UINT64_MAX);
    SMELT_VK(vkResetFences, handle_, 1, &fence_);
    return absl::OkStatus();
  };
  failed_ = submit();
  return failed_;
}

absl::Status Device::Write(const Memory& to, uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (staging_used_ == kStaging) SMELT_RETURN_IF_ERROR(Wait());
    const uint64_t count = std::min<uint64_t>(bytes.size(), kStaging - staging_used_);
    SMELT_RETURN_IF_ERROR(Record());
    std::memcpy(staged_ + staging_used_, bytes.data(), count);
    const VkBufferCopy region{staging_used_, to.offset() + offset, count};
    vkCmdCopyBuffer(commands_, staging_, to.buffer(), 1, &region);
    staging_used_ += count;
    // Copies begin at multiples of four.
    staging_used_ = std::min((staging_used_ + 15) / 16 * 16, kStaging);
    offset += count;
    bytes = bytes.subspan(count);
  }
  return absl::OkStatus();
}

absl::Status Device::Read(const Memory& from, uint64_t offset, std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    if (staging_used_ == kStaging) SMELT_RETURN_IF_ERROR(Wait());
    const uint64_t count = std::min<uint64_t>(bytes.size(), kStaging - staging_used_);
    SMELT_RETURN_IF_ERROR(Record());
    const std::byte* staged = staged_ + staging_used_;
    const VkBufferCopy region{from.offset() + offset, staging_used_, count};
    vkCmdCopyBuffer(commands_, from.buffer(), staging_, 1, &region);
    SMELT_RETURN_IF_ERROR(Wait());
    std::memcpy(bytes.data(), staged, count);
    offset += count;
    bytes = bytes.subspan(count);
  }
  return absl::OkStatus();
}

absl::Status Device::Copy(const Memory& from, uint64_t from_offset, const Memory& to,
                          uint64_t to_offset, uint64_t bytes) {
  if (bytes == 0) return absl::OkStatus();
  SMELT_RETURN_IF_ERROR(Record());
  const VkBufferCopy region{from.offset() + from_offset, to.offset() + to_offset, bytes};
  vkCmdCopyBuffer(commands_, from.buffer(), to.buffer(), 1, &region);
  return absl::OkStatus();
}

absl::Status Device::Clear(const Memory& memory) {
  SMELT_RETURN_IF_ERROR(Record());
  vkCmdFillBuffer(commands_, memory.buffer(), memory.offset(), memory.size(), 0);
  return absl::OkStatus();
}

absl::Status Device::DispatchBytes(std::string_view shader, uint32_t constant,
                                   std::span<const std::byte> push, Groups groups, double work) {
  if (groups.x == 0 || groups.y == 0 || groups.z == 0) return absl::OkStatus();
  SMELT_ASSIGN_OR_RETURN(const VkPipeline pipeline, PipelineOf(shader, constant));
  if (work_ > 0 && work_ + work > most_work()) {
    SMELT_RETURN_IF_ERROR(Wait());
    SMELT_RETURN_IF_ERROR(GoOn());
  }
  SMELT_RETURN_IF_ERROR(Record());
  vkCmdBindPipeline(commands_, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
  vkCmdPushConstants(commands_, layout_, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                     static_cast<uint32_t>(push.size()), push.data());
  vkCmdDispatch(commands_, groups.x, groups.y, groups.z);
  work_ += work;
  ++dispatches_;
  return absl::OkStatus();
}

absl::StatusOr<VkPipeline> Device::PipelineOf(std::string_view shader, uint32_t constant) {
  const std::pair<std::string, uint32_t> key(shader, constant);
  const auto known = pipelines_.find(key);
  if (known != pipelines_.end()) return known->second;
  const std::span<const uint32_t> code = ShaderCode(shader);
  if (code.empty()) return Error(ErrorCode::kInternal, "there is no shader '", shader, "'");
  VkShaderModuleCreateInfo module_info{};
  module_info.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO;
  module_info.codeSize = code.size_bytes();
  module_info.pCode = code.data();
  VkShaderModule module = VK_NULL_HANDLE;
  SMELT_VK(vkCreateShaderModule, handle_, &module_info, nullptr, &module);
  const VkSpecializationMapEntry entry{0, 0, sizeof(uint32_t)};
  VkSpecializationInfo specialization{};
  specialization.mapEntryCount = 1;
  specialization.pMapEntries = &entry;
  specialization.dataSize = sizeof(uint32_t);
  specialization.pData = &constant;
  VkComputePipelineCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO;
  info.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  info.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  info.stage.module = module;
  info.stage.pName = "main";
  info.stage.pSpecializationInfo = &specialization;
  info.layout = layout_;
  VkPipeline pipeline = VK_NULL_HANDLE;
  const VkResult made = vkCreateComputePipelines(handle_, cache_, 1, &info, nullptr, &pipeline);
  vkDestroyShaderModule(handle_, module, nullptr);
  SMELT_RETURN_IF_ERROR(CheckVk(made, "vkCreateComputePipelines"));
  pipelines_.emplace(key, pipeline);
  return pipeline;
}

}  // namespace smelt::vulkan
