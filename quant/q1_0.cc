// Q1_0: 128 signs. Bytes: d; qs[16]. Bit i set: +d, clear: -d.
#include "quant/block_bytes.h"
#include "quant/block_format.h"

namespace smelt {
namespace {

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const float d = LoadF16(block);
  for (int g = 0; g < 4; ++g) scales[g] = d;
  for (int i = 0; i < 128; ++i) {
    codes[i] = static_cast<int8_t>((block[2 + i / 8] >> (i % 8)) & 1 ? 1 : -1);
  }
}

}  // namespace

const BlockFormat kFormatQ1_0 = {
    .type = TensorType::kQ1_0,
    .elements = 128,
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
