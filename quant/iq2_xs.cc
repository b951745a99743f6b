// IQ2_XS: 32 octets in sixteen groups of 16. Bytes: d; 32 words of 9 bits grid index and 7 sign
// bits; sc[8], a nibble per group. Value: d (0.5 + s) / 4 grid, with signs.
#include <iterator>

#include "quant/block_bytes.h"
#include "quant/block_format.h"
#include "quant/codebook_format.h"
#include "quant/iq_index.h"
#include "quant/iq_tables.h"

namespace smelt {
namespace {

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const float d = LoadF16(block);
  const uint8_t* sc = block + 66;
  for (int g = 0; g < 16; ++g) {
    const int s = g % 2 == 0 ? Low4(sc[g / 2]) : High4(sc[g / 2]);
    scales[g] = d * (0.5f + static_cast<float>(s)) * 0.25f;
  }
  for (int o = 0; o < 32; ++o) {
    const uint32_t q = LoadU16(block + 2 + 2 * o);
    SignedOctet(kIqTables.iq2_xs[q & 511], EvenSigns(q >> 9), codes + 8 * o);
  }
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  StoreU16(numbers.d, block);
  for (size_t o = 0; o < 32; ++o) {
    const int word = numbers.entries[o] | ((numbers.signs[o] & 127) << 9);
    StoreU16(static_cast<uint16_t>(word), block + 2 + 2 * o);
  }
  PackNibbles(numbers.scales.data(), 16, block + 66);
}

const CodebookFormat kCodebook = {
    .group = 16,
    .levels = std::size(kIq2Levels),
    .values = kIq2Levels,
    .granule = 8,
    .codebook = kIqTables.iq2_xs[0],
    .index = IqIndex<&IqTables::iq2_xs, kIq2Levels>,
    .signs = Signs::kEven,
    .shift = Shift::kNone,
    .scale = {.kind = ScaleKind::kInteger,
              .low = 0,
              .high = 15,
              .factor = 2,
              .offset = 1,
              .unit = 0.125f},
    .lowest = 0.5f,
    .step = 1.14f,
    .candidates = 8,
    .both_signs = false,
};

}  // namespace

const BlockFormat kFormatIQ2_XS = {
    .type = TensorType::kIQ2_XS,
    .elements = 256,
    .bytes = 74,
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
    .valid = FiniteF16At<0>,
};

}  // namespace smelt
