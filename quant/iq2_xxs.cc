// IQ2_XXS: eight groups of 32. Bytes: d; per group 8 bytes: four grid indices, then a word with 7
// sign bits per octet and the scale s in its top 4 bits. Value: d (0.5 + s) / 4 grid, with signs.
#include "quant/block_bytes.h"
#include "quant/block_format.h"
#include "quant/iq_tables.h"

namespace smelt {
namespace {

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const IqTables& tables = GetIqTables();
  const float d = LoadF16(block);
  for (int g = 0; g < 8; ++g) {
    const uint8_t* group = block + 2 + 8 * g;
    const uint32_t word = LoadU32(group + 4);
    scales[g] = d * (0.5f + static_cast<float>(word >> 28)) * 0.25f;
    for (int l = 0; l < 4; ++l) {
      SignedOctet(tables.iq2_xxs[group[l]], EvenSigns((word >> (7 * l)) & 127),
                  codes + 32 * g + 8 * l);
    }
  }
}

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
    .searched = false,
    .unpack = Unpack,
    .fast_unpack = nullptr,
    .pack = nullptr,
    .valid = FiniteF16At<0>,
};

}  // namespace smelt
