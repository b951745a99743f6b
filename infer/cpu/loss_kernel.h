// Online softmax statistics of 32 positions, updated tile by tile of the vocabulary.
#pragma once

#include <cstddef>
#include <cstdint>

#include "infer/cpu/layout.h"

namespace smelt::cpu {

/// Of one model: largest logit so far and its id (first of equals), sum of exp(logit - largest).
struct SideStats {
  alignas(64) float top[kPanel];
  alignas(64) double sum[kPanel];
  alignas(64) int32_t best[kPanel];
  alignas(64) float not_finite[kPanel];  ///< 0 while every logit was finite, else NaN
  alignas(64) float target[kPanel];      ///< the next token's logit, once its tile went by
};

struct PanelStats {
  SideStats model, reference;
  alignas(64) double gap[kPanel];  ///< sum of exp(reference logit - largest) (reference logit -
                                   ///< model logit)
};

void ClearStats(PanelStats& stats);

/// logits = cap(scale (logits + bias)) for `rows` rows of 32.
void FinishLogits(float* logits, size_t rows, const float* bias, float scale, float cap);

/// Logits [rows][32] of ids first_id ..; `reference` logits or nullptr.
void UpdateStats(const float* model, const float* reference, size_t rows, int32_t first_id,
                 PanelStats& stats);

/// `more` covers the ids that follow those of `stats`.
void MergeStats(const PanelStats& more, bool with_reference, PanelStats& stats);

}  // namespace smelt::cpu
