// Q5_K: Q4_K with a fifth bit. Bytes: d; dmin; sc[12] (k_scales.h); qh[32], bit g of byte k = fifth
// bit of element k of group g; qs[128] as in Q4_K. Value: d s n - dmin m.
#include <cstring>

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
  const uint8_t* qh = block + 16;
  const uint8_t* qs = block + 48;
  for (int pair = 0; pair < 4; ++pair) {
    for (int k = 0; k < 32; ++k) {
      const int even = (qh[k] >> (2 * pair)) & 1;
      const int odd = (qh[k] >> (2 * pair + 1)) & 1;
      codes[64 * pair + k] = static_cast<int8_t>(Low4(qs[32 * pair + k]) + 16 * even);
      codes[64 * pair + 32 + k] = static_cast<int8_t>(High4(qs[32 * pair + k]) + 16 * odd);
    }
  }
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  StoreU16(numbers.d, block);
  StoreU16(numbers.m, block + 2);
  PackKScales(numbers.scales.data(), numbers.minimums.data(), block + 4);
  uint8_t* qh = block + 16;
  std::memset(qh, 0, 32);
  for (int pair = 0; pair < 4; ++pair) {
    const int8_t* codes = numbers.codes.data() + 64 * pair;
    for (int k = 0; k < 32; ++k) {
      qh[k] = static_cast<uint8_t>(qh[k] | ((codes[k] >> 4) << (2 * pair)) |
                                   ((codes[k + 32] >> 4) << (2 * pair + 1)));
      block[48 + 32 * pair + k] =
          static_cast<uint8_t>((codes[k] & 15) | ((codes[k + 32] & 15) << 4));
    }
  }
}

}  // namespace

const BlockFormat kFormatQ5_K = {
    .type = TensorType::kQ5_K,
    .elements = 256,
    .bytes = 176,
    .group = 32,
    .minimum = true,
    .code_min = 0,
    .code_max = 31,
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
