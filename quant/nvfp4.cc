// NVFP4: four groups of 16 floats of 4 bits (E2M1), each under an unsigned 8-bit float (E4M3).
// Bytes: s[4]; qs[32]: group g in qs[8 g ..], eight low nibbles then eight high. Value: w[n] u(s),
// w the doubled floats, u half of E4M3.
#include <algorithm>
#include <iterator>

#include "quant/block_bytes.h"
#include "quant/block_format.h"
#include "quant/codebook_format.h"
#include "quant/fp4_scales.h"
#include "quant/iq_tables.h"

namespace smelt {
namespace {

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  for (int g = 0; g < 4; ++g) {
    scales[g] = HalfE4M3(block[g]);
    const uint8_t* qs = block + 4 + 8 * g;
    for (int i = 0; i < 8; ++i) {
      codes[16 * g + i] = kFp4Doubled[Low4(qs[i])];
      codes[16 * g + 8 + i] = kFp4Doubled[High4(qs[i])];
    }
  }
}

/// The byte 127 means NaN, although ggml reads it as 0; every other is a number.
bool Valid(const uint8_t* block) { return std::find(block, block + 4, 127) == block + 4; }

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  for (size_t g = 0; g < 4; ++g) {
    block[g] = static_cast<uint8_t>(numbers.scales[g]);
    const int8_t* codes = numbers.codes.data() + 16 * g;
    for (size_t i = 0; i < 8; ++i) {
      block[4 + 8 * g + i] = static_cast<uint8_t>(Fp4Code(codes[i]) | (Fp4Code(codes[i + 8]) << 4));
    }
  }
}

const CodebookFormat kCodebook = {
    .group = 16,
    .levels = std::size(kFp4Levels),
    .values = kFp4Levels,
    .scale = {.kind = ScaleKind::kE4M3},
    .lowest = 0.7f,
    .step = 1.09f,
    .candidates = 8,
    .both_signs = false,
};

}  // namespace

const BlockFormat kFormatNVFP4 = {
    .type = TensorType::kNVFP4,
    .elements = 64,
    .bytes = 36,
    .group = 16,
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
    .valid = Valid,
};

}  // namespace smelt
