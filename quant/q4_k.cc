// Q4_K: super-block of 256 in 8 groups of 32, each with a 6-bit scale s and a 6-bit minimum m.
// Bytes: d; dmin; sc[12] (k_scales.h); qs[128]: groups 2p and 2p + 1 are the low and the high
// nibbles of bytes 32 p .. 32 p + 31. Value: d s n - dmin m.
#include "quant/block_bytes.h"
#include "quant/block_format.h"
#include "quant/k_scales.h"

namespace smelt {
namespace {

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float* minimums) {
  const float d = LoadF16(block);
  const float dmin = LoadF16(block + 2);
  uint8_t s[8], m[8];
  UnpackKScales(block + 4, s, m);
  for (int g = 0; g < 8; ++g) {
    scales[g] = d * s[g];
    minimums[g] = dmin * m[g];
  }
  const uint8_t* qs = block + 16;
  for (int pair = 0; pair < 4; ++pair) {
    for (int k = 0; k < 32; ++k) {
      codes[64 * pair + k] = static_cast<int8_t>(Low4(qs[32 * pair + k]));
      codes[64 * pair + 32 + k] = static_cast<int8_t>(High4(qs[32 * pair + k]));
    }
  }
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  StoreU16(numbers.d, block);
  StoreU16(numbers.m, block + 2);
  PackKScales(numbers.scales.data(), numbers.minimums.data(), block + 4);
  for (int pair = 0; pair < 4; ++pair) {
    const int8_t* codes = numbers.codes.data() + 64 * pair;
    for (int k = 0; k < 32; ++k) {
      block[16 + 32 * pair + k] = static_cast<uint8_t>(codes[k] | (codes[k + 32] << 4));
    }
  }
}

}  // namespace

const BlockFormat kFormatQ4_K = {
    .type = TensorType::kQ4_K,
    .elements = 256,
    .bytes = 144,
    .group = 32,
    .minimum = true,
    .code_min = 0,
    .code_max = 15,
    .scale_min = 0,
    .scale_max = 63,
    .searched = true,
    .unpack = Unpack,
    .fast_unpack = nullptr,
    .pack = Pack,
    .codebook = nullptr,
    .valid = FiniteF16At<0, 2>,
};

}  // namespace smelt
