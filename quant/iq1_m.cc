// IQ1_M: sixteen groups of 16. Bytes: qs[32], low 8 bits of a grid index per octet; qh[16], per
// octet a nibble of 3 upper bits and the sign of delta; sc[4] words of four 3-bit scales, whose top
// nibbles make the f16 d (the first lowest). Value: d (2 s + 1) (grid + delta), delta 1/8; codes
// are eight times that.
#include <iterator>

#include "quant/block_bytes.h"
#include "quant/block_format.h"
#include "quant/codebook_format.h"
#include "quant/iq_index.h"
#include "quant/iq_tables.h"

namespace smelt {
namespace {

uint16_t ScaleBits(const uint8_t* block) {
  uint32_t bits = 0;
  for (int i = 0; i < 4; ++i) bits |= static_cast<uint32_t>(block[48 + 2 * i + 1] >> 4) << (4 * i);
  return static_cast<uint16_t>(bits);
}

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const float d = F16ToF32(ScaleBits(block));
  for (int g = 0; g < 16; ++g) {
    const int s = (LoadU16(block + 48 + 2 * (g / 4)) >> (3 * (g % 4))) & 7;
    scales[g] = d * static_cast<float>(2 * s + 1) * 0.125f;
  }
  for (int o = 0; o < 32; ++o) {
    const uint8_t qh = block[32 + o / 2];
    const int h = o % 2 == 0 ? Low4(qh) : High4(qh);
    ShiftedOctet(kIqTables.iq1[block[o] | ((h & 7) << 8)], (h & 8) != 0, codes + 8 * o);
  }
}

bool Valid(const uint8_t* block) { return (ScaleBits(block) & 0x7c00u) != 0x7c00u; }

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  for (size_t o = 0; o < 32; o += 2) {
    block[o] = static_cast<uint8_t>(numbers.entries[o]);
    block[o + 1] = static_cast<uint8_t>(numbers.entries[o + 1]);
    const int low = (numbers.entries[o] >> 8) | (numbers.signs[o] << 3);
    const int high = (numbers.entries[o + 1] >> 8) | (numbers.signs[o + 1] << 3);
    block[32 + o / 2] = static_cast<uint8_t>(low | (high << 4));
  }
  for (size_t i = 0; i < 4; ++i) {
    int word = ((numbers.d >> (4 * i)) & 15) << 12;
    for (size_t k = 0; k < 4; ++k) word |= numbers.scales[4 * i + k] << (3 * k);
    StoreU16(static_cast<uint16_t>(word), block + 48 + 2 * i);
  }
}

const CodebookFormat kCodebook = {
    .group = 16,
    .levels = std::size(kIq1Levels),
    .values = kIq1Levels,
    .granule = 8,
    .codebook = kIqTables.iq1[0],
    .index = IqIndex<&IqTables::iq1, kIq1Levels>,
    .signs = Signs::kInLevels,
    .shift = Shift::kPerOctet,
    .scale = {.kind = ScaleKind::kInteger,
              .low = 0,
              .high = 7,
              .factor = 2,
              .offset = 1,
              .unit = 0.125f},
    .lowest = 0.3f,
    .step = 1.27f,
    .candidates = 6,
    .both_signs = false,
};

}  // namespace

const BlockFormat kFormatIQ1_M = {
    .type = TensorType::kIQ1_M,
    .elements = 256,
    .bytes = 56,
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
