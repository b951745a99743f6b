// NVFP4: four groups of 16 floats of 4 bits (E2M1), each under an unsigned 8-bit float (E4M3).
// Bytes: s[4]; qs[32]: group g in qs[8 g ..], eight low nibbles then eight high. Value: w[n] u(s),
// w the doubled floats, u half of E4M3.
#include <cmath>

#include "quant/block_bytes.h"
#include "quant/block_format.h"
#include "quant/iq_tables.h"

namespace smelt {
namespace {

/// Half the value of the byte, as ggml reads it: bit 7 is ignored, but 127 (a NaN) is 0 while 255
/// is read as 480.
float HalfE4M3(uint8_t byte) {
  if (byte == 127) return 0;
  const int e = (byte >> 3) & 15;
  const int m = byte & 7;
  if (e == 0) return std::ldexp(static_cast<float>(m), -10);
  return std::ldexp(static_cast<float>(8 + m), e - 11);
}

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

/// Every byte is a number.
bool Valid(const uint8_t*) { return true; }

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
    .searched = false,
    .unpack = Unpack,
    .fast_unpack = nullptr,
    .pack = nullptr,
    .valid = Valid,
};

}  // namespace smelt
