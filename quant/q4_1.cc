// Q4_1: 32 nibbles with an f16 scale and an f16 minimum. Bytes: d; m; qs[16] as in Q4_0. Value: n d
// + m.
#include "quant/block_bytes.h"
#include "quant/block_format.h"

namespace smelt {
namespace {

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float* minimums) {
  scales[0] = LoadF16(block);
  minimums[0] = -LoadF16(block + 2);
  const uint8_t* qs = block + 4;
  for (int i = 0; i < 16; ++i) {
    codes[i] = static_cast<int8_t>(Low4(qs[i]));
    codes[i + 16] = static_cast<int8_t>(High4(qs[i]));
  }
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  StoreU16(numbers.d, block);
  StoreU16(numbers.m, block + 2);
  for (int i = 0; i < 16; ++i) {
    block[4 + i] = static_cast<uint8_t>(numbers.codes[i] | (numbers.codes[i + 16] << 4));
  }
}

}  // namespace

const BlockFormat kFormatQ4_1 = {
    .type = TensorType::kQ4_1,
    .elements = 32,
    .bytes = 20,
    .group = 32,
    .minimum = true,
    .code_min = 0,
    .code_max = 15,
    .scale_min = 0,
    .scale_max = 0,
    .searched = true,
    .unpack = Unpack,
    .fast_unpack = nullptr,
    .pack = Pack,
    .codebook = nullptr,
    .valid = FiniteF16At<0, 2>,
};

}  // namespace smelt
