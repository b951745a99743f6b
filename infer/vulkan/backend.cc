#include "infer/vulkan/backend.h"

#include <bit>
#include <map>
#include <tuple>

#include "infer/vulkan/executor.h"
#include "infer/vulkan/kernels.h"
#include "infer/vulkan/loss.h"
#include "infer/vulkan/state.h"
#include "infer/vulkan/weights.h"
#include "infer/watch.h"
#include "lib/base/status.h"

namespace smelt::vulkan {
namespace {

class VulkanBackend : public Backend {
 public:
  explicit VulkanBackend(std::shared_ptr<Device> device)
      : device_(std::move(device)), kernels_(*device_) {}

  absl::Status Open() { return kernels_.Open(); }

  CommandCounts counts() const override { return device_->counts(); }

  absl::StatusOr<WeightPtr> LoadWeight(const ModelSource& source, TensorRef tensor,
                                       WeightUse use) override {
    // Parts of a fused tensor are one weight.
    std::weak_ptr<const DeviceWeight>& known =
        weights_[{&source, tensor, use == WeightUse::kValues}];
    std::shared_ptr<const DeviceWeight> weight = known.lock();
    if (weight == nullptr) {
      SMELT_ASSIGN_OR_RETURN(weight, DeviceWeight::Load(source, tensor, use));
      known = weight;
    }
    return WeightPtr(std::move(weight));
  }

  absl::StatusOr<std::unique_ptr<Program>> Compile(Graph graph, Precision precision) override {
    if (precision == Precision::kQ8 && !device_->physical().integer_dot) {
      return Error(ErrorCode::kUnsupported,
                   "the device has no integer dot products, which --activations q8 needs; use "
                   "--activations f32, or --device cpu");
    }
    auto program = std::make_unique<DeviceProgram>();
    program->graph = std::move(graph);
    program->precision = precision;
    return std::unique_ptr<Program>(std::move(program));
  }

  absl::StatusOr<std::unique_ptr<Batch>> NewBatch(std::span<const Sequence> sequences,
                                                  uint64_t length) override {
    return std::unique_ptr<Batch>(std::make_unique<DeviceBatch>(*device_, sequences, length));
  }

  absl::StatusOr<std::unique_ptr<Buffer>> NewBuffer(const Batch& batch, uint32_t features,
                                                    Place) override {
    const uint64_t tokens = static_cast<const DeviceBatch&>(batch).tokens;
    SMELT_ASSIGN_OR_RETURN(Memory memory, device_->Allocate(tokens * features * sizeof(float)));
    return std::unique_ptr<Buffer>(
        std::make_unique<DeviceBuffer>(*device_, std::move(memory), features));
  }

  std::unique_ptr<State> NewState(size_t sequences, Place, CacheType cache) override {
    return std::make_unique<DeviceState>(device_, sequences, cache == CacheType::kF16);
  }

  bool Owns(const State& state) const override {
    const auto* own = dynamic_cast<const DeviceState*>(&state);
    return own != nullptr && &own->device() == device_.get();
  }

  // The rest is for a layer's weights, or parts of them.
  uint64_t activation_bytes() const override { return device_->arena().limit() / 3; }

  uint64_t resident_bytes() const override { return device_->arena().limit() - activation_bytes(); }

  absl::Status Write(const Batch&, uint32_t first, std::span<const float> values,
                     Buffer& to) override {
    const DeviceBuffer& buffer = static_cast<const DeviceBuffer&>(to);
    return device_->Write(buffer.memory, uint64_t{first} * buffer.features * sizeof(float),
                          std::as_bytes(values));
  }

  absl::Status Read(const Batch&, uint32_t first, const Buffer& from,
                    std::span<float> values) override {
    const DeviceBuffer& buffer = static_cast<const DeviceBuffer&>(from);
    SMELT_RETURN_IF_ERROR(device_->Read(buffer.memory,
                                        uint64_t{first} * buffer.features * sizeof(float),
                                        std::as_writable_bytes(values)));
    return CheckCaches();
  }

  absl::Status Run(const Program& program, Batch& batch, State& state, Buffer& x, Buffer* inputs,
                   Tap* tap) override {
    return Executor(kernels_, static_cast<const DeviceProgram&>(program),
                    static_cast<DeviceBatch&>(batch), static_cast<DeviceState&>(state),
                    static_cast<DeviceBuffer&>(x), static_cast<DeviceBuffer*>(inputs), tap)
        .RunAll();
  }

  absl::Status Watch(const Batch& batch, const Matrix& matrix, const Buffer& x, Tap& tap) override {
    const DeviceBuffer& from = static_cast<const DeviceBuffer&>(x);
    std::vector<float> rows(uint64_t{static_cast<const DeviceBatch&>(batch).tokens} *
                            from.features);
    SMELT_RETURN_IF_ERROR(device_->Read(from.memory, 0, std::as_writable_bytes(std::span(rows))));
    return WatchRows(tap, {&matrix}, 0, rows);
  }

  absl::Status Loss(const Batch&, std::span<const HeadInput> models, const HeadInput* reference,
                    std::span<const Target> targets, Precision precision,
                    std::span<TokenLoss> losses) override {
    std::vector<LossSide> sides;
    for (const HeadInput& model : models) sides.push_back(SideOf(model));
    if (reference != nullptr) sides.push_back(SideOf(*reference));
    SMELT_RETURN_IF_ERROR(
        ComputeLoss(kernels_, sides, reference != nullptr, targets, precision, losses));
    return CheckCaches();
  }

  absl::Status Logits(const Batch&, const Head& head, const Buffer& x,
                      std::span<const uint32_t> tokens, Precision precision,
                      std::span<float> logits) override {
    SMELT_RETURN_IF_ERROR(TokenLogits(kernels_, {&head, &static_cast<const DeviceBuffer&>(x)},
                                      tokens, precision, logits));
    return CheckCaches();
  }

 private:
  // Of what has been run: the device says so when it has done it.
  absl::Status CheckCaches() {
    const uint32_t bits = device_->TakeReport();
    if (bits == 0) return absl::OkStatus();
    return Error(ErrorCode::kUnsupported, "a key or value of ", std::bit_cast<float>(bits),
                 " is more than f16 holds; leave out --cache-type f16");
  }

  static LossSide SideOf(const HeadInput& input) {
    return {input.head, static_cast<const DeviceBuffer*>(input.x)};
  }

  const std::shared_ptr<Device> device_;
  Kernels kernels_;
  std::map<std::tuple<const ModelSource*, TensorRef, bool>, std::weak_ptr<const DeviceWeight>>
      weights_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> NewBackend(const PhysicalDevice& physical,
                                                    uint64_t memory_limit, uint64_t patience) {
  SMELT_ASSIGN_OR_RETURN(std::shared_ptr<Device> device,
                         Device::Open(physical, memory_limit, patience));
  auto backend = std::make_unique<VulkanBackend>(std::move(device));
  SMELT_RETURN_IF_ERROR(backend->Open());
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace smelt::vulkan
