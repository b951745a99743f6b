// IQ3_XXS: eight groups of 32. Bytes: d; qs[64], a grid index per quad; eight words as in IQ2_XXS.
// Value: d (0.5 + s) / 2 grid, with signs.
#include <cstring>
#include <iterator>

#include "quant/block_bytes.h"
#include "quant/block_format.h"
#include "quant/codebook_format.h"
#include "quant/iq_index.h"
#include "quant/iq_tables.h"

namespace smelt {
namespace {

/// Two quads of a grid with the eight signs of their octet.
void SignedQuads(const int8_t* first, const int8_t* second, uint8_t signs, int8_t* codes) {
  int8_t octet[8];
  std::memcpy(octet, first, 4);
  std::memcpy(octet + 4, second, 4);
  SignedOctet(octet, signs, codes);
}

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const float d = LoadF16(block);
  for (int g = 0; g < 8; ++g) {
    const uint8_t* qs = block + 2 + 8 * g;
    const uint32_t word = LoadU32(block + 66 + 4 * g);
    scales[g] = d * (0.5f + static_cast<float>(word >> 28)) * 0.5f;
    for (int l = 0; l < 4; ++l) {
      SignedQuads(kIqTables.iq3_xxs[qs[2 * l]], kIqTables.iq3_xxs[qs[2 * l + 1]],
                  EvenSigns((word >> (7 * l)) & 127), codes + 32 * g + 8 * l);
    }
  }
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  StoreU16(numbers.d, block);
  for (size_t p = 0; p < 64; ++p) block[2 + p] = static_cast<uint8_t>(numbers.entries[p]);
  for (size_t g = 0; g < 8; ++g) {
    uint32_t word = static_cast<uint32_t>(numbers.scales[g]) << 28;
    for (size_t l = 0; l < 4; ++l) word |= (numbers.signs[4 * g + l] & 127u) << (7 * l);
    StoreU32(word, block + 66 + 4 * g);
  }
}

const CodebookFormat kCodebook = {
    .group = 32,
    .levels = std::size(kIq3XxsLevels),
    .values = kIq3XxsLevels,
    .granule = 4,
    .codebook = kIqTables.iq3_xxs[0],
    .index = IqIndex<&IqTables::iq3_xxs, kIq3XxsLevels>,
    .signs = Signs::kEven,
    .shift = Shift::kNone,
    .scale = {.kind = ScaleKind::kInteger,
              .low = 0,
              .high = 15,
              .factor = 2,
              .offset = 1,
              .unit = 0.25f},
    .lowest = 0.6f,
    .step = 1.1f,
    .candidates = 8,
    .both_signs = false,
};

}  // namespace

const BlockFormat kFormatIQ3_XXS = {
    .type = TensorType::kIQ3_XXS,
    .elements = 256,
    .bytes = 98,
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
