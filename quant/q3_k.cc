// Q3_K: super-block of 256 in 16 groups of 16, each with a signed 6-bit scale. Element 128 h + 32 j
// + k. Bytes: hm[32]: bit 4 h + j of byte k clear subtracts 4; qs[64]: bits 2 j of byte 32 h + k;
// sc[12]; d. Scale of group g: low nibble in byte g % 8 of sc (low nibble for g < 8, else high),
// upper 2 bits at bits 2 (g / 4) of byte 8 + g % 4. Value: d (s - 32) q.
#include <cstring>

#include "quant/block_bytes.h"
#include "quant/block_format.h"

namespace smelt {
namespace {

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const float d = LoadF16(block + 108);
  const uint8_t* sc = block + 96;
  for (int g = 0; g < 16; ++g) {
    const int low = g < 8 ? Low4(sc[g]) : High4(sc[g - 8]);
    const int high = (sc[8 + g % 4] >> (2 * (g / 4))) & 3;
    scales[g] = d * ((low | (high << 4)) - 32);
  }
  for (int h = 0; h < 2; ++h) {
    const uint8_t* qs = block + 32 + 32 * h;
    for (int j = 0; j < 4; ++j) {
      for (int k = 0; k < 32; ++k) {
        const int keep = (block[k] >> (4 * h + j)) & 1;
        codes[128 * h + 32 * j + k] = static_cast<int8_t>(((qs[k] >> (2 * j)) & 3) - 4 + 4 * keep);
      }
    }
  }
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  std::memset(block, 0, 108);
  for (int h = 0; h < 2; ++h) {
    for (int j = 0; j < 4; ++j) {
      const int8_t* codes = numbers.codes.data() + 128 * h + 32 * j;
      for (int k = 0; k < 32; ++k) {
        const int q = codes[k] + 4;
        block[k] = static_cast<uint8_t>(block[k] | ((q >> 2) << (4 * h + j)));
        uint8_t& low = block[32 + 32 * h + k];
        low = static_cast<uint8_t>(low | ((q & 3) << (2 * j)));
      }
    }
  }
  uint8_t* sc = block + 96;
  for (int g = 0; g < 16; ++g) {
    const int s = numbers.scales[g] + 32;
    sc[g % 8] = static_cast<uint8_t>(sc[g % 8] | ((s & 15) << (g < 8 ? 0 : 4)));
    sc[8 + g % 4] = static_cast<uint8_t>(sc[8 + g % 4] | ((s >> 4) << (2 * (g / 4))));
  }
  StoreU16(numbers.d, block + 108);
}

}  // namespace

const BlockFormat kFormatQ3_K = {
    .type = TensorType::kQ3_K,
    .elements = 256,
    .bytes = 110,
    .group = 16,
    .minimum = false,
    .code_min = -4,
    .code_max = 3,
    .scale_min = -32,
    .scale_max = 31,
    .searched = true,
    .unpack = Unpack,
    .fast_unpack = nullptr,
    .pack = Pack,
    .codebook = nullptr,
    .valid = FiniteF16At<108>,
};

}  // namespace smelt
