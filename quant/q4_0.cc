// Q4_0: 32 nibbles under one f16 scale. Bytes: d; qs[16], element i < 16 in the low nibble of byte
// i, element i >= 16 in the high nibble of byte i - 16. Value: (n - 8) d.
#include "quant/block_bytes.h"
#include "quant/block_format.h"

namespace smelt {
namespace {

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  scales[0] = LoadF16(block);
  const uint8_t* qs = block + 2;
  for (int i = 0; i < 16; ++i) {
    codes[i] = static_cast<int8_t>(Low4(qs[i]) - 8);
    codes[i + 16] = static_cast<int8_t>(High4(qs[i]) - 8);
  }
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  StoreU16(numbers.d, block);
  for (int i = 0; i < 16; ++i) {
    block[2 + i] =
        static_cast<uint8_t>((numbers.codes[i] + 8) | ((numbers.codes[i + 16] + 8) << 4));
  }
}

}  // namespace

const BlockFormat kFormatQ4_0 = {
    .type = TensorType::kQ4_0,
    .elements = 32,
    .bytes = 18,
    .group = 32,
    .minimum = false,
    .code_min = -8,
    .code_max = 7,
    .scale_min = 0,
    .scale_max = 0,
    .searched = true,
    .unpack = Unpack,
    .fast_unpack = nullptr,
    .pack = Pack,
    .codebook = nullptr,
    .valid = FiniteF16At<0>,
};

}  // namespace smelt
