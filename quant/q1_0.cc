// Q1_0: 128 signs. Bytes: d; qs[16]. Bit i set: +d, clear: -d.
#include <iterator>

#include "quant/block_bytes.h"
#include "quant/block_format.h"
#include "quant/codebook_format.h"

namespace smelt {
namespace {

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const float d = LoadF16(block);
  for (int g = 0; g < 4; ++g) scales[g] = d;
  for (int i = 0; i < 128; ++i) {
    codes[i] = static_cast<int8_t>((block[2 + i / 8] >> (i % 8)) & 1 ? 1 : -1);
  }
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  StoreU16(numbers.d, block);
  for (size_t i = 0; i < 16; ++i) {
    int bits = 0;
    for (size_t k = 0; k < 8; ++k) bits |= (numbers.codes[8 * i + k] > 0) << k;
    block[2 + i] = static_cast<uint8_t>(bits);
  }
}

constexpr int8_t kLevels[] = {-1, 1};

const CodebookFormat kCodebook = {
    .group = 128,
    .levels = std::size(kLevels),
    .values = kLevels,
    .scale = {.kind = ScaleKind::kF16},
    .lowest = 1.0f,
    .step = 1.0f,
    .candidates = 1,
    .both_signs = false,
};

}  // namespace

const BlockFormat kFormatQ1_0 = {
    .type = TensorType::kQ1_0,
    .elements = 128,
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
