// Q2_0: 64 codes of 2 bits. Bytes: d; qs[16], element i at bits 2 (i % 4) of byte i / 4. Value:
// (code - 1) d.
#include "quant/block_bytes.h"
#include "quant/block_format.h"

namespace smelt {
namespace {

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const float d = LoadF16(block);
  scales[0] = scales[1] = d;
  for (int i = 0; i < 64; ++i) {
    codes[i] = static_cast<int8_t>(((block[2 + i / 4] >> (2 * (i % 4))) & 3) - 1);
  }
}

}  // namespace

const BlockFormat kFormatQ2_0 = {
    .type = TensorType::kQ2_0,
    .elements = 64,
    .bytes = 18,
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
