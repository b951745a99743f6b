#include "infer/vulkan/backend.h"

#include "infer/vulkan/executor.h"
#include "infer/vulkan/kernels.h"
#include "infer/vulkan/loss.h"
#include "infer/vulkan/state.h"
#include "infer/vulkan/weights.h"
#include "lib/base/status.h"

namespace smelt::vulkan {
namespace {

class VulkanBackend : public Backend {
 public:
  explicit VulkanBackend(std::shared_ptr<Device> device)
      : device_(std::move(device)), kernels_(*device_) {}

  absl::Status Open() { return kernels_.Open(); }

  absl::StatusOr<WeightPtr> LoadWeight(const ModelSource& source, TensorRef tensor,
                                       WeightUse use) override {
    return DeviceWeight::Load(source, tensor, use);
  }

  absl::StatusOr<std::unique_ptr<Program>> Compile(Graph graph, Precision precision) override {
    if (precision != Precision::kF32) {
      return Error(
          ErrorCode::kUnsupported,
          "devices compute with f32 activations only; use --activations f32, or --device cpu");
    }
    auto program = std::make_unique<DeviceProgram>();
    program->graph = std::move(graph);
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

  std::unique_ptr<State> NewState(size_t sequences, Place) override {
    return std::make_unique<DeviceState>(device_, sequences);
  }

  bool Owns(const State& state) const override {
    const auto* own = dynamic_cast<const DeviceState*>(&state);
    return own != nullptr && &own->device() == device_.get();
  }

  // The rest is for a layer's weights, or parts of them.
  uint64_t activation_bytes() const override { return device_->arena().limit() / 3; }

  // The host decodes the rows: few of a table that may be the largest tensor of a model.
  absl::Status Embed(const Batch& batch, const Weight& table, const Weight* positions, float scale,
                     std::span<const int32_t> ids, Buffer& x) override {
    const DeviceBatch& of = static_cast<const DeviceBatch&>(batch);
    const DeviceBuffer& to = static_cast<const DeviceBuffer&>(x);
    const cpu::CpuWeight& rows = static_cast<const DeviceWeight&>(table).host();
    const uint64_t width = rows.columns();
    std::vector<float> values(width * ids.size()), place(width);
    for (const DeviceBatch::Segment& s : of.segments) {
      for (uint32_t t = s.first; t < s.first + s.tokens; ++t) {
        float* row = values.data() + t * width;
        SMELT_RETURN_IF_ERROR(rows.Decode(static_cast<uint64_t>(ids[t]), 1, 0, width, row, width));
        for (uint64_t i = 0; i < width; ++i) row[i] *= scale;
        if (positions == nullptr) continue;
        const cpu::CpuWeight& p = static_cast<const DeviceWeight&>(*positions).host();
        const uint64_t position = s.position + (t - s.first);
        if (position >= p.rows()) {
          return Error(ErrorCode::kInvalidInput, "position ", position, " is beyond the model's ",
                       p.rows(), " learned positions; use a shorter context");
        }
        SMELT_RETURN_IF_ERROR(p.Decode(position, 1, 0, width, place.data(), width));
        for (uint64_t i = 0; i < width; ++i) row[i] += place[i];
      }
    }
    return device_->Write(to.memory, 0, std::as_bytes(std::span(values)));
  }

  absl::Status Run(const Program& program, Batch& batch, State& state, Buffer& x, Buffer* inputs,
                   Tap* tap) override {
    if (tap != nullptr) return NoTaps();
    return Executor(kernels_, static_cast<const DeviceProgram&>(program).graph,
                    static_cast<DeviceBatch&>(batch), static_cast<DeviceState&>(state),
                    static_cast<DeviceBuffer&>(x), static_cast<DeviceBuffer*>(inputs))
        .RunAll();
  }

  absl::Status Watch(const Batch&, const Matrix&, const Buffer&, Tap&) override { return NoTaps(); }

  absl::Status Loss(const Batch&, std::span<const HeadInput> models, const HeadInput* reference,
                    std::span<const Target> targets, Precision,
                    std::span<TokenLoss> losses) override {
    std::vector<LossSide> sides;
    for (const HeadInput& model : models) sides.push_back(SideOf(model));
    if (reference != nullptr) sides.push_back(SideOf(*reference));
    return ComputeLoss(kernels_, sides, reference != nullptr, targets, losses);
  }

  absl::Status Logits(const Batch&, const Head& head, const Buffer& x,
                      std::span<const uint32_t> tokens, Precision,
                      std::span<float> logits) override {
    return TokenLogits(kernels_, {&head, &static_cast<const DeviceBuffer&>(x)}, tokens, logits);
  }

 private:
  static LossSide SideOf(const HeadInput& input) {
    return {input.head, static_cast<const DeviceBuffer*>(input.x)};
  }
  static absl::Status NoTaps() {
    return Error(ErrorCode::kUnsupported,
                 "statistics of activations are gathered on the processor only; use --device cpu");
  }

  const std::shared_ptr<Device> device_;
  Kernels kernels_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> NewBackend(const PhysicalDevice& physical,
                                                    uint64_t memory_limit) {
  SMELT_ASSIGN_OR_RETURN(std::shared_ptr<Device> device, Device::Open(physical, memory_limit));
  auto backend = std::make_unique<VulkanBackend>(std::move(device));
  SMELT_RETURN_IF_ERROR(backend->Open());
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace smelt::vulkan
