// IQ2_S: 32 octets in sixteen groups of 16. Bytes: d; qs[32] low 8 bits of the grid index;
// signs[32]; qh[8], 2 upper bits per octet; sc[8], a nibble per group. Value: d (0.5 + s) / 4 grid,
// with signs.
#include <algorithm>
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
  const uint8_t* qs = block + 2;
  const uint8_t* signs = block + 34;
  const uint8_t* qh = block + 66;
  const uint8_t* sc = block + 74;
  for (int g = 0; g < 16; ++g) {
    const int s = g % 2 == 0 ? Low4(sc[g / 2]) : High4(sc[g / 2]);
    scales[g] = d * (0.5f + static_cast<float>(s)) * 0.25f;
  }
  for (int o = 0; o < 32; ++o) {
    const int index = qs[o] | (((qh[o / 4] >> (2 * (o % 4))) & 3) << 8);
    SignedOctet(kIqTables.iq2_s[index], signs[o], codes + 8 * o);
  }
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  StoreU16(numbers.d, block);
  uint8_t* qh = block + 66;
  std::fill_n(qh, 8, uint8_t{0});
  for (size_t o = 0; o < 32; ++o) {
    block[2 + o] = static_cast<uint8_t>(numbers.entries[o]);
    block[34 + o] = numbers.signs[o];
    qh[o / 4] = static_cast<uint8_t>(qh[o / 4] | ((numbers.entries[o] >> 8) << (2 * (o % 4))));
  }
  PackNibbles(numbers.scales.data(), 16, block + 74);
}

const CodebookFormat kCodebook = {
    .group = 16,
    .levels = std::size(kIq2Levels),
    .values = kIq2Levels,
    .granule = 8,
    .codebook = kIqTables.iq2_s[0],
    .index = IqIndex<&IqTables::iq2_s, kIq2Levels>,
    .signs = Signs::kFree,
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

const BlockFormat kFormatIQ2_S = {
    .type = TensorType::kIQ2_S,
    .elements = 256,
    .bytes = 82,
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
