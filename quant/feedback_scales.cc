#include "lib/base/float16.h"
#include "quant/feedback_group.h"
#include "quant/search.h"
#include "quant/stored_scale.h"

namespace smelt {

void GroupFactor::Set(const float* feedback, uint64_t stride, const float* its_weights,
                      uint32_t its_size) {
  size = its_size;
  weights = its_weights;
  a.resize(static_cast<size_t>(size) * size);
  constant = 0;
  for (uint32_t k = 0; k < size; ++k) {
    float sum = 1;
    for (uint32_t j = 0; j < k; ++j) {
      a[k * size + j] = feedback[j * stride + k];
      sum += a[k * size + j];
    }
    ones[k] = sum;
    constant += weights[k] * (sum * sum);
  }
}

StoredRule::StoredRule(const BlockFormat& format) : has_minimum(format.minimum) {
  if (const CodebookFormat* codebook = format.codebook) {
    scale = codebook->scale;
    const int end =
        std::max(std::abs(codebook->values[0]), std::abs(codebook->values[codebook->levels - 1]));
    largest_code = codebook->shift == Shift::kNone ? end : 8 * end + 1;
    return;
  }
  largest_code = std::max(format.code_max, -format.code_min);
  scale = {.kind = ScaleKind::kF16};
  if (!format.super_block()) return;
  scale = {.kind = ScaleKind::kInteger, .low = format.scale_min, .high = format.scale_max};
  minimum = {.kind = ScaleKind::kInteger, .low = 0, .high = format.scale_max};
}

GroupScales StoredRule::Store(const float* wish, const float* least, const float* unit,
                              const BlockHalves& halves, int step) const {
  constexpr float kStep = 1.0f / 64;  // of halves, which lie closer than is worth trying
  GroupScales out;
  for (size_t row = 0; row < kFeedbackRows; ++row) {
    float d = wish[row] * unit[row], m = least[row] * unit[row];
    if (scale.kind == ScaleKind::kF16) {
      out.half[row] = ScaleToF16(d * (1 + kStep * static_cast<float>(step)), largest_code, 1);
      out.half_minimum[row] = F32ToF16(0.0f - m);
      d = F16ToF32(out.half[row]);
      m = 0.0f - F16ToF32(out.half_minimum[row]);
    } else {
      const float super = F16ToF32(halves.scale[row]);
      const int number = StepScale(scale, RoundScale(scale, super, d), step);
      out.number[row] = static_cast<int16_t>(number);
      d = ScaleOf(scale, super, number);
      if (has_minimum) {
        const float super_minimum = F16ToF32(halves.minimum[row]);
        const int least_number = RoundScale(minimum, super_minimum, m);
        out.minimum_number[row] = static_cast<int16_t>(least_number);
        m = ScaleOf(minimum, super_minimum, least_number);
      }
    }
    const float inverse = 1.0f / unit[row];  // powers of two
    const bool number = std::isfinite(d) && std::isfinite(m);
    out.scale[row] = number ? d * inverse : 0.0f;
    out.minimum[row] = number && has_minimum ? m * inverse : 0.0f;
  }
  return out;
}

}  // namespace smelt
