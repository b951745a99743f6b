// Losses and logits: heads of models, some tokens at a time.
#pragma once

#include <span>

#include "absl/status/status.h"
#include "infer/vulkan/backend.h"
#include "infer/vulkan/kernels.h"

namespace smelt::vulkan {

/// A model's head and its last activations.
struct LossSide {
  const Head* head = nullptr;
  const DeviceBuffer* x = nullptr;
};

/// As Backend::Loss; the reference, where there is one, is the last of `sides`.
absl::Status ComputeLoss(Kernels& kernels, std::span<const LossSide> sides, bool with_reference,
                         std::span<const Target> targets, Precision precision,
                         std::span<TokenLoss> losses);

/// As Backend::Logits.
absl::Status TokenLogits(Kernels& kernels, const LossSide& side, std::span<const uint32_t> tokens,
                         Precision precision, std::span<float> logits);

}  // namespace smelt::vulkan
