// MXFP4: 32 floats of 4 bits (E2M1) under a power of two. Bytes: e; qs[16] as in Q4_0. Value: w[n]
// 2^(e - 128), w the doubled floats.
#include <cmath>
#include <iterator>

#include "quant/block_bytes.h"
#include "quant/block_format.h"
#include "quant/codebook_format.h"
#include "quant/fp4_scales.h"
#include "quant/iq_tables.h"

namespace smelt {
namespace {

float Scale(const uint8_t* block) { return HalfE8M0(block[0]); }

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  scales[0] = Scale(block);
  for (int i = 0; i < 16; ++i) {
    codes[i] = kFp4Doubled[Low4(block[1 + i])];
    codes[i + 16] = kFp4Doubled[High4(block[1 + i])];
  }
}

/// The exponent 255 means NaN; 253 and 254 overflow with the larger codes.
bool Valid(const uint8_t* block) {
  if (block[0] <= 252) return true;
  if (block[0] == 255) return false;
  for (int i = 0; i < 16; ++i) {
    const float low = Scale(block) * kFp4Doubled[Low4(block[1 + i])];
    const float high = Scale(block) * kFp4Doubled[High4(block[1 + i])];
    if (!std::isfinite(low) || !std::isfinite(high)) return false;
  }
  return true;
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  block[0] = static_cast<uint8_t>(numbers.scales[0]);
  for (size_t i = 0; i < 16; ++i) {
    block[1 + i] =
        static_cast<uint8_t>(Fp4Code(numbers.codes[i]) | (Fp4Code(numbers.codes[i + 16]) << 4));
  }
}

const CodebookFormat kCodebook = {
    .group = 32,
    .levels = std::size(kFp4Levels),
    .values = kFp4Levels,
    .scale = {.kind = ScaleKind::kE8M0},
    .lowest = 0.7f,
    .step = 1.13f,
    .candidates = 6,
    .both_signs = false,
};

}  // namespace

const BlockFormat kFormatMXFP4 = {
    .type = TensorType::kMXFP4,
    .elements = 32,
    .bytes = 17,
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
    .valid = Valid,
};

}  // namespace smelt
