// IQ2_XXS: eight groups of 32. Bytes: d; per group 8 bytes: four grid indices, then a word with 7
// sign bits per octet and the scale s in its top 4 bits. Value: d (0.5 + s) / 4 grid, with signs.
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
    const uint8_t* group = block + 2 + 8 * g;
    const uint32_t word = LoadU32(group + 4);
    scales[g] = d * (0.5f + static_cast<float>(word >> 28)) * 0.25f;
    for (int l = 0; l < 4; ++l) {
      SignedOctet(kIqTables.iq2_xxs[group[l]], EvenSigns((word >> (7 * l)) & 127),
                  codes + 32 * g + 8 * l);
    }
  }
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  StoreU16(numbers.d, block);
  for (size_t g = 0; g < 8; ++g) {
    uint8_t* group = block + 2 + 8 * g;
    uint32_t word = static_cast<uint32_t>(numbers.scales[g]) << 28;
    for (size_t l = 0; l < 4; ++l) {
      group[l] = static_cast<uint8_t>(numbers.entries[4 * g + l]);
      word |= (numbers.signs[4 * g + l] & 127u) << (7 * l);
    }
    StoreU32(word, group + 4);
  }
}

const CodebookFormat kCodebook = {
    .group = 32,
    .levels = std::size(kIq2Levels),
    .values = kIq2Levels,
    .granule = 8,
    .codebook = kIqTables.iq2_xxs[0],
    .index = IqIndex<&IqTables::iq2_xxs, kIq2Levels>,
    .signs = Signs::kEven,
    .shift = Shift::kNone,
    .scale = {.kind = ScaleKind::kInteger,
              .low = 0,
              .high = 15,
              .factor = 2,
              .offset = 1,
              .unit = 0.125f},
    .lowest = 0.5f,
    .step = 1.14f,
    .candidates = 8,
    .both_signs = false,
};

}  // namespace

const BlockFormat kFormatIQ2_XXS = {
    .type = TensorType::kIQ2_XXS,
    .elements = 256,
    .bytes = 66,
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
