// Q2_K: super-block of 256 in 16 groups of 16, each with a 4-bit scale and a 4-bit minimum. Element
// 128 h + 32 j + k. Bytes: sc[16], scale in the low, minimum in the high nibble; qs[64]: bits 2 j
// of byte 32 h + k; d; dmin. Value: d lo(sc) q - dmin hi(sc).
#include "quant/block_bytes.h"
#include "quant/block_format.h"

namespace smelt {
namespace {

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float* minimums) {
  const float d = LoadF16(block + 80);
  const float dmin = LoadF16(block + 82);
  for (int g = 0; g < 16; ++g) {
    scales[g] = d * Low4(block[g]);
    minimums[g] = dmin * High4(block[g]);
  }
  for (int h = 0; h < 2; ++h) {
    const uint8_t* qs = block + 16 + 32 * h;
    for (int j = 0; j < 4; ++j) {
      for (int k = 0; k < 32; ++k) {
        codes[128 * h + 32 * j + k] = static_cast<int8_t>((qs[k] >> (2 * j)) & 3);
      }
    }
  }
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  for (int g = 0; g < 16; ++g) {
    block[g] = static_cast<uint8_t>(numbers.scales[g] | (numbers.minimums[g] << 4));
  }
  for (int h = 0; h < 2; ++h) {
    const int8_t* codes = numbers.codes.data() + 128 * h;
    for (int k = 0; k < 32; ++k) {
      block[16 + 32 * h + k] = static_cast<uint8_t>(codes[k] | (codes[32 + k] << 2) |
                                                    (codes[64 + k] << 4) | (codes[96 + k] << 6));
    }
  }
  StoreU16(numbers.d, block + 80);
  StoreU16(numbers.m, block + 82);
}

}  // namespace

const BlockFormat kFormatQ2_K = {
    .type = TensorType::kQ2_K,
    .elements = 256,
    .bytes = 84,
    .group = 16,
    .minimum = true,
    .code_min = 0,
    .code_max = 3,
    .scale_min = 0,
    .scale_max = 15,
    .searched = true,
    .unpack = Unpack,
    .fast_unpack = nullptr,
    .pack = Pack,
    .codebook = nullptr,
    .valid = FiniteF16At<80, 82>,
};

}  // namespace smelt
