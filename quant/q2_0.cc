// Q2_0: 64 codes of 2 bits. Bytes: d; qs[16], element i at bits 2 (i % 4) of byte i / 4. Value:
// (code - 1) d.
#include <iterator>

#include "quant/block_bytes.h"
#include "quant/block_format.h"
#include "quant/codebook_format.h"

namespace smelt {
namespace {

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const float d = LoadF16(block);
  scales[0] = scales[1] = d;
  for (int i = 0; i < 64; ++i) {
    codes[i] = static_cast<int8_t>(((block[2 + i / 4] >> (2 * (i % 4))) & 3) - 1);
  }
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  StoreU16(numbers.d, block);
  for (size_t i = 0; i < 16; ++i) {
    int bits = 0;
    for (size_t k = 0; k < 4; ++k) bits |= (numbers.codes[4 * i + k] + 1) << (2 * k);
    block[2 + i] = static_cast<uint8_t>(bits);
  }
}

constexpr int8_t kLevels[] = {-1, 0, 1, 2};

const CodebookFormat kCodebook = {
    .group = 64,
    .levels = std::size(kLevels),
    .values = kLevels,
    .scale = {.kind = ScaleKind::kF16},
    .lowest = 0.25f,
    .step = 1.18f,
    .candidates = 10,
    .both_signs = true,
};

}  // namespace

const BlockFormat kFormatQ2_0 = {
    .type = TensorType::kQ2_0,
    .elements = 64,
    .bytes = 18,
    .group = 32,
    .minimum = false,
    .code_min = 0,
    .code_max = 0,
    .scale_min = 0,
    .scale_max = 0,
    .searched = true,
    .unpack = Unpack,
    .fast_unpack = nullptr,
    .pack = Pack,
    .codebook = &kCodebook,
    .valid = FiniteF16At<0>,
};

}  // namespace smelt
