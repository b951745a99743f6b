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

/// `sides`: models whose heads have the same number of rows and, last, where `with_reference`, what
/// each of them is compared with. `losses`: [model][target].
absl::Status ComputeLoss(const Layout& layout, std::span<const LossSide> sides, bool with_reference,
                         std::span<const Target> targets, Precision precision,
                         std::span<TokenLoss> losses);

absl::Status TokenLogits(const Layout& layout, const LossSide& side,
                         std::span<const uint32_t> tokens, Precision precision,
                         std::span<float> logits);

}  // namespace smelt::cpu
