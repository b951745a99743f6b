// Q6_K: super-block of 256 in 16 groups of 16, each with a signed 8-bit scale. Element 128 h + 32 j
// + k (h = 0, 1; j = 0 .. 3; k = 0 .. 31). Bytes: ql[128]: low 4 bits in byte 64 h + 32 (j % 2) +
// k, low nibble for j < 2, high for j >= 2; qh[64]: upper 2 bits at bits 2 j of byte 32 h + k;
// sc[16]; d. Value: d sc (q - 32).
#include "quant/block_bytes.h"
#include "quant/block_format.h"

namespace smelt {
namespace {

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const float d = LoadF16(block + 208);
  for (int g = 0; g < 16; ++g) scales[g] = d * static_cast<int8_t>(block[192 + g]);
  for (int h = 0; h < 2; ++h) {
    const uint8_t* ql = block + 64 * h;
    const uint8_t* qh = block + 128 + 32 * h;
    int8_t* out = codes + 128 * h;
    for (int k = 0; k < 32; ++k) {
      out[k] = static_cast<int8_t>((Low4(ql[k]) | ((qh[k] & 3) << 4)) - 32);
      out[32 + k] = static_cast<int8_t>((Low4(ql[32 + k]) | (((qh[k] >> 2) & 3) << 4)) - 32);
      out[64 + k] = static_cast<int8_t>((High4(ql[k]) | (((qh[k] >> 4) & 3) << 4)) - 32);
      out[96 + k] = static_cast<int8_t>((High4(ql[32 + k]) | ((qh[k] >> 6) << 4)) - 32);
    }
  }
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  for (int h = 0; h < 2; ++h) {
    uint8_t* ql = block + 64 * h;
    uint8_t* qh = block + 128 + 32 * h;
    const int8_t* codes = numbers.codes.data() + 128 * h;
    for (int k = 0; k < 32; ++k) {
      const int q0 = codes[k] + 32, q1 = codes[32 + k] + 32;
      const int q2 = codes[64 + k] + 32, q3 = codes[96 + k] + 32;
      ql[k] = static_cast<uint8_t>((q0 & 15) | ((q2 & 15) << 4));
      ql[32 + k] = static_cast<uint8_t>((q1 & 15) | ((q3 & 15) << 4));
      qh[k] =
          static_cast<uint8_t>((q0 >> 4) | ((q1 >> 4) << 2) | ((q2 >> 4) << 4) | ((q3 >> 4) << 6));
    }
  }
  for (int g = 0; g < 16; ++g) block[192 + g] = static_cast<uint8_t>(numbers.scales[g]);
  StoreU16(numbers.d, block + 208);
}

}  // namespace

const BlockFormat kFormatQ6_K = {
    .type = TensorType::kQ6_K,
    .elements = 256,
    .bytes = 210,
    .group = 16,
    .minimum = false,
    .code_min = -32,
    .code_max = 31,
    .scale_min = -128,
    .scale_max = 127,
    .searched = true,
    .unpack = Unpack,
    .fast_unpack = nullptr,
    .pack = Pack,
    .codebook = nullptr,
    .valid = FiniteF16At<208>,
};

}  // namespace smelt
