// Q5_1: 32 codes of 5 bits with an f16 scale and an f16 minimum. Bytes: d; m; qh[4]; qs[16] as in
// Q5_0. Value: (n + 16 h) d + m.
#include "quant/block_bytes.h"
#include "quant/block_format.h"
#include "quant/fifth_bits.h"

namespace smelt {
namespace {

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float* minimums) {
  scales[0] = LoadF16(block);
  minimums[0] = -LoadF16(block + 2);
  const uint32_t qh = LoadU32(block + 4);
  const uint8_t* qs = block + 8;
  for (int i = 0; i < 16; ++i) {
    codes[i] = static_cast<int8_t>(Low4(qs[i]) + 16 * ((qh >> i) & 1));
    codes[i + 16] = static_cast<int8_t>(High4(qs[i]) + 16 * ((qh >> (i + 16)) & 1));
  }
}

void FastUnpack(const uint8_t* block, int8_t* codes, float* scales, float* minimums) {
  scales[0] = LoadF16(block);
  minimums[0] = -LoadF16(block + 2);
  UnpackFiveBits(block + 4, block + 8, 0, codes);
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  StoreU16(numbers.d, block);
  StoreU16(numbers.m, block + 2);
  uint32_t qh = 0;
  for (int i = 0; i < 32; ++i) qh |= static_cast<uint32_t>(numbers.codes[i] >> 4) << i;
  StoreU16(static_cast<uint16_t>(qh), block + 4);
  StoreU16(static_cast<uint16_t>(qh >> 16), block + 6);
  for (int i = 0; i < 16; ++i) {
    block[8 + i] =
        static_cast<uint8_t>((numbers.codes[i] & 15) | ((numbers.codes[i + 16] & 15) << 4));
  }
}

}  // namespace

const BlockFormat kFormatQ5_1 = {
    .type = TensorType::kQ5_1,
    .elements = 32,
    .bytes = 24,
    .group = 32,
    .minimum = true,
    .code_min = 0,
    .code_max = 31,
    .scale_min = 0,
    .scale_max = 0,
    .searched = true,
    .unpack = Unpack,
    .fast_unpack = FastUnpack,
    .pack = Pack,
    .codebook = nullptr,
    .valid = FiniteF16At<0, 2>,
};

}  // namespace smelt
