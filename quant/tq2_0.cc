// TQ2_0: 256 codes of 2 bits. Bytes: qs[64]; d. Element 128 h + 32 l + k: bits 2 l of qs[32 h + k].
// Value: (code - 1) d.
#include <iterator>

#include "quant/block_bytes.h"
#include "quant/block_format.h"
#include "quant/codebook_format.h"

namespace smelt {
namespace {

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const float d = LoadF16(block + 64);
  for (int g = 0; g < 8; ++g) scales[g] = d;
  for (int h = 0; h < 2; ++h) {
    for (int l = 0; l < 4; ++l) {
      for (int k = 0; k < 32; ++k) {
        codes[128 * h + 32 * l + k] = static_cast<int8_t>(((block[32 * h + k] >> (2 * l)) & 3) - 1);
      }
    }
  }
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  for (size_t i = 0; i < 64; ++i) {
    const int8_t* codes = numbers.codes.data() + i / 32 * 128 + i % 32;
    int bits = 0;
    for (size_t l = 0; l < 4; ++l) bits |= (codes[32 * l] + 1) << (2 * l);
    block[i] = static_cast<uint8_t>(bits);
  }
  StoreU16(numbers.d, block + 64);
}

constexpr int8_t kLevels[] = {-1, 0, 1};

const CodebookFormat kCodebook = {
    .group = 256,
    .levels = std::size(kLevels),
    .values = kLevels,
    .scale = {.kind = ScaleKind::kF16},
    .lowest = 0.12f,
    .step = 1.18f,
    .candidates = 14,
    .both_signs = false,
};

}  // namespace

const BlockFormat kFormatTQ2_0 = {
    .type = TensorType::kTQ2_0,
    .elements = 256,
    .bytes = 66,
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
    .valid = FiniteF16At<64>,
};

}  // namespace smelt
