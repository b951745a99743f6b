#include "infer/vulkan/device.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "infer/vulkan/shaders.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"

namespace smelt::vulkan {
namespace {

constexpr uint64_t kStaging = 8ull << 20;  // of a frame
// Of a frame: all frames together are done within two seconds by a card that does 5e10 operations
// a second, the slowest there are; drivers take a submission for hung after some two seconds.
constexpr double kMostWork = 1.25e10;
constexpr double kMostSoftwareWork = 1.25e7;
// What a command can be.
constexpr VkPipelineStageFlags kStages =
    VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;

bool Touches(std::span<const Range> some, std::span<const Range> others) {
  return std::ranges::any_of(some, [&](const Range& a) {
    return std::ranges::any_of(others, [&](const Range& b) {
      return a.address < b.address + b.bytes && b.address < a.address + a.bytes;
    });
  });
}

void AddRanges(std::span<const Range> some, std::vector<Range>& to) {
  std::ranges::copy_if(some, std::back_inserter(to), [](const Range& r) { return r.bytes > 0; });
}

}  // namespace

absl::StatusOr<std::shared_ptr<Device>> Device::Open(const PhysicalDevice& physical,
                                                     uint64_t memory_limit, uint64_t patience) {
  std::shared_ptr<Device> device(new Device(physical, patience));
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
  VkPhysicalDeviceShaderIntegerDotProductFeatures dot{};
  dot.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES;
  dot.shaderIntegerDotProduct = VK_TRUE;
  if (physical_.integer_dot) features.pNext = &dot;
  const char* const extension = VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME;
  VkDeviceCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO;
  if (physical_.integer_dot && physical_.integer_dot_extension) {
    info.enabledExtensionCount = 1;
    info.ppEnabledExtensionNames = &extension;
  }
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
  VkFenceCreateInfo fence{};
  fence.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO;
  for (Frame& frame : frames_) {
    SMELT_VK(vkAllocateCommandBuffers, handle_, &commands, &frame.commands);
    SMELT_VK(vkCreateFence, handle_, &fence, nullptr, &frame.fence);
  }

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

  const uint64_t most = std::min(physical_.memory / 10 * 9, physical_.available);
  arena_ = std::make_unique<Arena>(*this, physical_.handle, handle_,
                                   memory_limit == 0 ? most : std::min(memory_limit, most),
                                   physical_.largest_allocation);
  return MakeStaging();
}

absl::Status Device::MakeStaging() {
  const uint64_t bytes = frames_.size() * kStaging;
  constexpr VkBufferUsageFlags kUsage =
      VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT |
      VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
  SMELT_RETURN_IF_ERROR(
      MakeBuffer(physical_.handle, handle_, bytes + sizeof(uint32_t), kUsage,
                 VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
                 staging_, staging_memory_));
  VkBufferDeviceAddressInfo address{};
  address.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO;
  address.buffer = staging_;
  report_address_ = vkGetBufferDeviceAddress(handle_, &address) + bytes;
  void* mapped = nullptr;
  SMELT_VK(vkMapMemory, handle_, staging_memory_, 0, VK_WHOLE_SIZE, 0, &mapped);
  staged_ = static_cast<std::byte*>(mapped);
  report_ = staged_ + bytes;
  TakeReport();
  return absl::OkStatus();
}

Device::~Device() {
  if (handle_ == VK_NULL_HANDLE) return;
  if (given_up_) {
    // Whatever waits for it would wait for ever, and what it may still write to stays.
    static auto* const kept = new std::vector<std::pair<VkDevice, Arena*>>;
    kept->emplace_back(handle_, arena_.release());
    return;
  }
  vkDeviceWaitIdle(handle_);
  arena_.reset();
  for (const auto& [name, pipeline] : pipelines_) vkDestroyPipeline(handle_, pipeline, nullptr);
  vkDestroyBuffer(handle_, staging_, nullptr);
  vkFreeMemory(handle_, staging_memory_, nullptr);
  vkDestroyPipelineCache(handle_, cache_, nullptr);
  vkDestroyPipelineLayout(handle_, layout_, nullptr);
  for (const Frame& frame : frames_) vkDestroyFence(handle_, frame.fence, nullptr);
  vkDestroyCommandPool(handle_, pool_, nullptr);
  vkDestroyDevice(handle_, nullptr);
}

uint32_t Device::TakeReport() {
  uint32_t word = 0;
  std::memcpy(&word, report_, sizeof(word));
  std::memset(report_, 0, sizeof(word));
  return word;
}

double Device::most_work() const { return physical_.software ? kMostSoftwareWork : kMostWork; }

absl::StatusOr<Memory> Device::Allocate(uint64_t bytes) {
  for (;;) {
    absl::StatusOr<Memory> memory = arena_->Allocate(bytes);
    if (memory.ok() || CodeOf(memory.status()) != ErrorCode::kOutOfMemory) return memory;
    // What was released may be free after a while.
    SMELT_RETURN_IF_ERROR(Submit());
    SMELT_ASSIGN_OR_RETURN(const bool waited, WaitForOldest());
    if (!waited) return memory;
  }
}

void Device::Release(const Memory& memory) {
  const Arena::Piece piece{memory.buffer(), memory.offset(), memory.size()};
  const bool used = recording_ || std::ranges::any_of(frames_, &Frame::submitted);
  if (used && failed_.ok()) {
    frame().released.push_back(piece);
  } else {
    arena_->Free(piece);
  }
}

absl::Status Device::Record(const Command& command, const Access& access) {
  SMELT_RETURN_IF_ERROR(failed_);
  if (!recording_) {
    VkCommandBufferBeginInfo begin{};
    begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
    begin.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
    SMELT_VK(vkBeginCommandBuffer, frame().commands, &begin);
    recording_ = true;
  }
  if (Touches(access.writes, read_) || Touches(access.writes, written_) ||
      Touches(access.reads, written_)) {
    EmitAll();
    read_.clear();
    written_.clear();
    VkMemoryBarrier barrier{};
    barrier.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
    barrier.srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
    barrier.dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                            VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
    vkCmdPipelineBarrier(frame().commands, kStages, kStages, 0, 1, &barrier, 0, nullptr, 0,
                         nullptr);
    ++counts_.barriers;
  }
  together_.push_back(command);
  AddRanges(access.reads, read_);
  AddRanges(access.writes, written_);
  return absl::OkStatus();
}

void Device::Emit(const Command& command) {
  VkCommandBuffer commands = frame().commands;
  if (command.pipeline != VK_NULL_HANDLE) {
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, command.pipeline);
    vkCmdPushConstants(commands, layout_, VK_SHADER_STAGE_COMPUTE_BIT, 0, command.push_bytes,
                       command.push.data());
    vkCmdDispatch(commands, command.groups.x, command.groups.y, command.groups.z);
  } else if (command.from != VK_NULL_HANDLE) {
    vkCmdCopyBuffer(commands, command.from, command.to, 1, &command.region);
  } else {
    vkCmdFillBuffer(commands, command.to, command.region.dstOffset, command.region.size, 0);
  }
}

void Device::EmitAll() {
  if (reversed) std::ranges::reverse(together_);
  for (const Command& command : together_) Emit(command);
  together_.clear();
}

absl::Status Device::Submit() {
  staging_used_ = 0;
  if (!recording_) return absl::OkStatus();
  EmitAll();
  recording_ = false;
  work_ = 0;
  ++counts_.submits;
  const auto submit = [&]() -> absl::Status {
    VkMemoryBarrier barrier{};
    barrier.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
    barrier.srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_SHADER_WRITE_BIT;
    barrier.dstAccessMask = VK_ACCESS_HOST_READ_BIT;
    vkCmdPipelineBarrier(frame().commands, kStages, VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &barrier, 0,
                         nullptr, 0, nullptr);
    SMELT_VK(vkEndCommandBuffer, frame().commands);
    VkSubmitInfo info{};
    info.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO;
    info.commandBufferCount = 1;
    info.pCommandBuffers = &frame().commands;
    SMELT_VK(vkQueueSubmit, queue_, 1, &info, frame().fence);
    frame().submitted = true;
    frame_ = (frame_ + 1) % frames_.size();
    return WaitFor(frame());
  };
  failed_ = submit();
  return failed_;
}

absl::Status Device::WaitFor(Frame& frame) {
  if (frame.submitted) {
    const uint64_t most = patience_ == kForever ? UINT64_MAX : patience_ * 1'000'000'000;
    const VkResult done = vkWaitForFences(handle_, 1, &frame.fence, VK_TRUE, most);
    given_up_ = done == VK_TIMEOUT;
    if (given_up_) {
      return Error(ErrorCode::kIo, "the device has not done in ", patience_,
                   " seconds what takes a part of one; use --device cpu");
    }
    SMELT_RETURN_IF_ERROR(CheckVk(done, "vkWaitForFences"));
    SMELT_VK(vkResetFences, handle_, 1, &frame.fence);
    frame.submitted = false;
  }
  for (const Arena::Piece& piece : frame.released) arena_->Free(piece);
  frame.released.clear();
  return absl::OkStatus();
}

absl::StatusOr<bool> Device::WaitForOldest() {
  SMELT_RETURN_IF_ERROR(failed_);
  for (size_t i = 1; i < frames_.size(); ++i) {
    Frame& oldest = frames_[(frame_ + i) % frames_.size()];
    if (!oldest.submitted) continue;
    failed_ = WaitFor(oldest);
    SMELT_RETURN_IF_ERROR(failed_);
    return true;
  }
  // Nobody uses what was released since.
  const bool released = !frame().released.empty();
  SMELT_RETURN_IF_ERROR(WaitFor(frame()));
  return released;
}

absl::Status Device::Wait() {
  SMELT_RETURN_IF_ERROR(Submit());
  for (bool waited = true; waited;) {
    SMELT_ASSIGN_OR_RETURN(waited, WaitForOldest());
  }
  read_.clear();
  written_.clear();
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> Device::Stage(uint64_t bytes, uint64_t& at) {
  if (staging_used_ == kStaging) SMELT_RETURN_IF_ERROR(Submit());
  const uint64_t count = std::min(bytes, kStaging - staging_used_);
  at = frame_ * kStaging + staging_used_;
  // Copies begin at multiples of four.
  staging_used_ = std::min((staging_used_ + count + 15) / 16 * 16, kStaging);
  return count;
}

absl::Status Device::Write(const Memory& to, uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    uint64_t at = 0;
    SMELT_ASSIGN_OR_RETURN(const uint64_t count, Stage(bytes.size(), at));
    Command copy;
    copy.from = staging_, copy.to = to.buffer();
    copy.region = {at, to.offset() + offset, count};
    SMELT_RETURN_IF_ERROR(Record(copy, {.writes = {{to.address() + offset, count}}}));
    std::memcpy(staged_ + at, bytes.data(), count);
    offset += count;
    bytes = bytes.subspan(count);
  }
  return absl::OkStatus();
}

absl::Status Device::Read(const Memory& from, uint64_t offset, std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    uint64_t at = 0;
    SMELT_ASSIGN_OR_RETURN(const uint64_t count, Stage(bytes.size(), at));
    Command copy;
    copy.from = from.buffer(), copy.to = staging_;
    copy.region = {from.offset() + offset, at, count};
    SMELT_RETURN_IF_ERROR(Record(copy, {.reads = {{from.address() + offset, count}}}));
    SMELT_RETURN_IF_ERROR(Wait());
    std::memcpy(bytes.data(), staged_ + at, count);
    offset += count;
    bytes = bytes.subspan(count);
  }
  return absl::OkStatus();
}

absl::Status Device::Copy(const Memory& from, uint64_t from_offset, const Memory& to,
                          uint64_t to_offset, uint64_t bytes) {
  if (bytes == 0) return absl::OkStatus();
  Command copy;
  copy.from = from.buffer(), copy.to = to.buffer();
  copy.region = {from.offset() + from_offset, to.offset() + to_offset, bytes};
  return Record(copy, {.reads = {{from.address() + from_offset, bytes}},
                       .writes = {{to.address() + to_offset, bytes}}});
}

absl::Status Device::Clear(const Memory& memory) {
  Command fill;
  fill.to = memory.buffer();
  fill.region = {0, memory.offset(), memory.size()};
  return Record(fill, {.writes = {{memory.address(), memory.size()}}});
}

absl::Status Device::DispatchBytes(const Shader& shader, std::span<const std::byte> push,
                                   Groups groups, double work, const Access& access) {
  if (groups.x == 0 || groups.y == 0 || groups.z == 0) return absl::OkStatus();
  Command command;
  SMELT_ASSIGN_OR_RETURN(command.pipeline, PipelineOf(shader));
  if (work_ > 0 && work_ + work > most_work()) {
    SMELT_RETURN_IF_ERROR(Submit());
    SMELT_RETURN_IF_ERROR(GoOn());
  }
  std::ranges::copy(push, command.push.begin());
  command.push_bytes = static_cast<uint32_t>(push.size());
  command.groups = groups;
  SMELT_RETURN_IF_ERROR(Record(command, access));
  work_ += work;
  ++counts_.dispatches;
  return absl::OkStatus();
}

absl::StatusOr<VkPipeline> Device::PipelineOf(const Shader& shader) {
  const auto known = pipelines_.find(std::tuple(shader.name, shader.constants));
  if (known != pipelines_.end()) return known->second;
  SMELT_ASSIGN_OR_RETURN(const VkPipeline pipeline, MakePipeline(shader));
  pipelines_.emplace(std::tuple(std::string(shader.name), shader.constants), pipeline);
  return pipeline;
}

absl::StatusOr<VkPipeline> Device::MakePipeline(const Shader& shader) {
  const std::span<const uint32_t> code = ShaderCode(shader.name);
  if (code.empty()) return Error(ErrorCode::kInternal, "there is no shader '", shader.name, "'");
  VkShaderModuleCreateInfo module_info{};
  module_info.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO;
  module_info.codeSize = code.size_bytes();
  module_info.pCode = code.data();
  VkShaderModule module = VK_NULL_HANDLE;
  SMELT_VK(vkCreateShaderModule, handle_, &module_info, nullptr, &module);
  const VkSpecializationMapEntry entries[] = {{0, 0, sizeof(uint32_t)},
                                              {1, sizeof(uint32_t), sizeof(uint32_t)}};
  VkSpecializationInfo specialization{};
  specialization.mapEntryCount = 2;
  specialization.pMapEntries = entries;
  specialization.dataSize = sizeof(shader.constants);
  specialization.pData = shader.constants.data();
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
  return pipeline;
}

}  // namespace smelt::vulkan
