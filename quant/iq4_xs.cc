// IQ4_XS: eight groups of 32 with the values of IQ4_NL and 6-bit scales. Bytes: d; sh, 2 upper bits
// of the scale per group; sl[4], 4 lower bits; qs[128], per group 16 bytes as in Q4_0. Value: d (s
// - 32) v[n].
#include <algorithm>
#include <iterator>

#include "quant/block_bytes.h"
#include "quant/block_format.h"
#include "quant/codebook_format.h"
#include "quant/iq_tables.h"

namespace smelt {
namespace {

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const float d = LoadF16(block);
  const int sh = LoadU16(block + 2);
  for (int g = 0; g < 8; ++g) {
    const uint8_t sl = block[4 + g / 2];
    const int s = (g % 2 == 0 ? Low4(sl) : High4(sl)) | (((sh >> (2 * g)) & 3) << 4);
    scales[g] = d * static_cast<float>(s - 32);
    const uint8_t* qs = block + 8 + 16 * g;
    for (int i = 0; i < 16; ++i) {
      codes[32 * g + i] = kIq4Values[Low4(qs[i])];
      codes[32 * g + 16 + i] = kIq4Values[High4(qs[i])];
    }
  }
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  StoreU16(numbers.d, block);
  int sh = 0;
  std::fill_n(block + 4, 4, uint8_t{0});
  for (size_t g = 0; g < 8; ++g) {
    const int s = numbers.scales[g];
    sh |= (s >> 4) << (2 * g);
    block[4 + g / 2] = static_cast<uint8_t>(block[4 + g / 2] | ((s & 15) << (4 * (g % 2))));
    PackIq4(numbers.codes.data() + 32 * g, block + 8 + 16 * g);
  }
  StoreU16(static_cast<uint16_t>(sh), block + 2);
}

const CodebookFormat kCodebook = {
    .group = 32,
    .levels = std::size(kIq4Values),
    .values = kIq4Values,
    .scale = {.kind = ScaleKind::kInteger,
              .low = 0,
              .high = 63,
              .factor = 1,
              .offset = -32,
              .unit = 1.0f},
    .lowest = 0.75f,
    .step = 1.06f,
    .candidates = 8,
    .both_signs = true,
};

}  // namespace

const BlockFormat kFormatIQ4_XS = {
    .type = TensorType::kIQ4_XS,
    .elements = 256,
    .bytes = 136,
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
