// Losses by tiles of the vocabulary, without a matrix of logits.
#pragma once

#include <span>

#include "absl/status/status.h"
#include "infer/backend.h"
#include "infer/cpu/layout.h"
#include "infer/cpu/memory.h"

namespace smelt::cpu {

/// A model's head and its last activations.
struct LossSide {
  const Head* head = nullptr;
  const Array<float>* x = nullptr;
};

absl::Status ComputeLoss(const Layout& layout, const LossSide& model, const LossSide* reference,
                         std::span<const Target> targets, Precision precision,
                         std::span<TokenLoss> losses);

absl::Status TokenLogits(const Layout& layout, const LossSide& side,
                         std::span<const uint32_t> tokens, Precision precision,
                         std::span<float> logits);

}  // namespace smelt::cpu
