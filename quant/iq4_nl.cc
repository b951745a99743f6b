// IQ4_NL: Q4_0 with a table of values. Bytes: d; qs[16]. Value: v[n] d.
#include <iterator>

#include "quant/block_bytes.h"
#include "quant/block_format.h"
#include "quant/codebook_format.h"
#include "quant/iq_tables.h"

namespace smelt {
namespace {

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  scales[0] = LoadF16(block);
  for (int i = 0; i < 16; ++i) {
    codes[i] = kIq4Values[Low4(block[2 + i])];
    codes[i + 16] = kIq4Values[High4(block[2 + i])];
  }
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  StoreU16(numbers.d, block);
  PackIq4(numbers.codes.data(), block + 2);
}

const CodebookFormat kCodebook = {
    .group = 32,
    .levels = std::size(kIq4Values),
    .values = kIq4Values,
    .scale = {.kind = ScaleKind::kF16},
    .lowest = 0.75f,
    .step = 1.06f,
    .candidates = 8,
    .both_signs = true,
};

}  // namespace

const BlockFormat kFormatIQ4_NL = {
    .type = TensorType::kIQ4_NL,
    .elements = 32,
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
