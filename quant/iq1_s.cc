// IQ1_S: eight groups of 32. Bytes: d; qs[32], low 8 bits of a grid index per octet; qh[8] words: 3
// upper bits per octet, the scale s at bits 12 .. 14, the sign of delta in bit 15. Value: d (2 s +
// 1) (grid + delta), delta 1/8; codes are eight times that.
#include "quant/block_bytes.h"
#include "quant/block_format.h"
#include "quant/iq_tables.h"

namespace smelt {
namespace {

/// Eight times (grid + delta), delta = -1/8 where `negative`, else +1/8.
void ShiftedOctet(const int8_t* grid, bool negative, int8_t* codes) {
  for (int k = 0; k < 8; ++k) codes[k] = static_cast<int8_t>(8 * grid[k] + (negative ? -1 : 1));
}

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const IqTables& tables = GetIqTables();
  const float d = LoadF16(block);
  for (int g = 0; g < 8; ++g) {
    const uint32_t qh = LoadU16(block + 34 + 2 * g);
    scales[g] = d * static_cast<float>(2 * ((qh >> 12) & 7) + 1) * 0.125f;
    for (int l = 0; l < 4; ++l) {
      const uint32_t index = block[2 + 4 * g + l] | (((qh >> (3 * l)) & 7) << 8);
      ShiftedOctet(tables.iq1[index], qh >> 15 != 0, codes + 32 * g + 8 * l);
    }
  }
}

}  // namespace

const BlockFormat kFormatIQ1_S = {
    .type = TensorType::kIQ1_S,
    .elements = 256,
    .bytes = 50,
    .group = 32,
    .minimum = false,
    .code_min = 0,
    .code_max = 0,
    .scale_min = 0,
    .scale_max = 0,
    .searched = false,
    .unpack = Unpack,
    .fast_unpack = nullptr,
    .pack = nullptr,
    .valid = FiniteF16At<0>,
};

}  // namespace smelt
