// Q5_0: 32 codes of 5 bits under one f16 scale. Bytes: d; qh[4], bit i = fifth bit of element i;
// qs[16] as in Q4_0. Value: (n + 16 h - 16) d.
#include "quant/block_bytes.h"
#include "quant/block_format.h"
#include "quant/fifth_bits.h"

namespace smelt {
namespace {

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  scales[0] = LoadF16(block);
  const uint32_t qh = LoadU32(block + 2);
  const uint8_t* qs = block + 6;
  for (int i = 0; i < 16; ++i) {
    codes[i] = static_cast<int8_t>(Low4(qs[i]) + 16 * ((qh >> i) & 1) - 16);
    codes[i + 16] = static_cast<int8_t>(High4(qs[i]) + 16 * ((qh >> (i + 16)) & 1) - 16);
  }
}

void FastUnpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  scales[0] = LoadF16(block);
  UnpackFiveBits(block + 2, block + 6, 16, codes);
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  StoreU16(numbers.d, block);
  uint32_t qh = 0;
  for (int i = 0; i < 32; ++i) {
    qh |= static_cast<uint32_t>((numbers.codes[i] + 16) >> 4) << i;
  }
  StoreU16(static_cast<uint16_t>(qh), block + 2);
  StoreU16(static_cast<uint16_t>(qh >> 16), block + 4);
  for (int i = 0; i < 16; ++i) {
    block[6 + i] = static_cast<uint8_t>(((numbers.codes[i] + 16) & 15) |
                                        (((numbers.codes[i + 16] + 16) & 15) << 4));
  }
}

}  // namespace

const BlockFormat kFormatQ5_0 = {
    .type = TensorType::kQ5_0,
    .elements = 32,
    .bytes = 22,
    .group = 32,
    .minimum = false,
    .code_min = -16,
    .code_max = 15,
    .scale_min = 0,
    .scale_max = 0,
    .searched = true,
    .unpack = Unpack,
    .fast_unpack = FastUnpack,
    .pack = Pack,
    .codebook = nullptr,
    .valid = FiniteF16At<0>,
};

}  // namespace smelt
