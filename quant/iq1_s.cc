// IQ1_S: eight groups of 32. Bytes: d; qs[32], low 8 bits of a grid index per octet; qh[8] words: 3
// upper bits per octet, the scale s at bits 12 .. 14, the sign of delta in bit 15. Value: d (2 s +
// 1) (grid + delta), delta 1/8; codes are eight times that.
#include <iterator>

#include "quant/block_bytes.h"
#include "quant/block_format.h"
#include "quant/codebook_format.h"
#include "quant/iq_index.h"
#include "quant/iq_tables.h"

namespace smelt {
namespace {

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const float d = LoadF16(block);
  for (int g = 0; g < 8; ++g) {
    const uint32_t qh = LoadU16(block + 34 + 2 * g);
    scales[g] = d * static_cast<float>(2 * ((qh >> 12) & 7) + 1) * 0.125f;
    for (int l = 0; l < 4; ++l) {
      const uint32_t index = block[2 + 4 * g + l] | (((qh >> (3 * l)) & 7) << 8);
      ShiftedOctet(kIqTables.iq1[index], qh >> 15 != 0, codes + 32 * g + 8 * l);
    }
  }
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  StoreU16(numbers.d, block);
  for (size_t g = 0; g < 8; ++g) {
    int qh = (numbers.scales[g] << 12) | (numbers.signs[4 * g] << 15);
    for (size_t l = 0; l < 4; ++l) {
      const uint16_t entry = numbers.entries[4 * g + l];
      block[2 + 4 * g + l] = static_cast<uint8_t>(entry);
      qh |= (entry >> 8) << (3 * l);
    }
    StoreU16(static_cast<uint16_t>(qh), block + 34 + 2 * g);
  }
}

const CodebookFormat kCodebook = {
    .group = 32,
    .levels = std::size(kIq1Levels),
    .values = kIq1Levels,
    .granule = 8,
    .codebook = kIqTables.iq1[0],
    .index = IqIndex<&IqTables::iq1, kIq1Levels>,
    .signs = Signs::kInLevels,
    .shift = Shift::kPerGroup,
    .scale = {.kind = ScaleKind::kInteger,
              .low = 0,
              .high = 7,
              .factor = 2,
              .offset = 1,
              .unit = 0.125f},
    .lowest = 0.3f,
    .step = 1.27f,
    .candidates = 6,
    .both_signs = false,
};

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
    .searched = true,
    .unpack = Unpack,
    .fast_unpack = nullptr,
    .pack = Pack,
    .codebook = &kCodebook,
    .valid = FiniteF16At<0>,
};

}  // namespace smelt
