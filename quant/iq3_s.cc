// IQ3_S: eight groups of 32. Bytes: d; qs[64], low 8 bits of a grid index per quad; qh[8], bit p %
// 8 of byte p / 8 the ninth of quad p; signs[32]; sc[4], a nibble per group. Value: d (1 + 2 s)
// grid, with signs.
#include <algorithm>
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
  const uint8_t* qs = block + 2;
  const uint8_t* qh = block + 66;
  const uint8_t* signs = block + 74;
  const uint8_t* sc = block + 106;
  for (int g = 0; g < 8; ++g) {
    const int s = g % 2 == 0 ? Low4(sc[g / 2]) : High4(sc[g / 2]);
    scales[g] = d * static_cast<float>(1 + 2 * s);
  }
  auto quad = [&](int p) { return kIqTables.iq3_s[qs[p] | (((qh[p / 8] >> (p % 8)) & 1) << 8)]; };
  for (int o = 0; o < 32; ++o) SignedQuads(quad(2 * o), quad(2 * o + 1), signs[o], codes + 8 * o);
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  StoreU16(numbers.d, block);
  uint8_t* qh = block + 66;
  std::fill_n(qh, 8, uint8_t{0});
  for (size_t p = 0; p < 64; ++p) {
    block[2 + p] = static_cast<uint8_t>(numbers.entries[p]);
    qh[p / 8] = static_cast<uint8_t>(qh[p / 8] | ((numbers.entries[p] >> 8) << (p % 8)));
  }
  std::copy_n(numbers.signs.begin(), 32, block + 74);
  PackNibbles(numbers.scales.data(), 8, block + 106);
}

const CodebookFormat kCodebook = {
    .group = 32,
    .levels = std::size(kIq3SLevels),
    .values = kIq3SLevels,
    .granule = 4,
    .codebook = kIqTables.iq3_s[0],
    .index = IqIndex<&IqTables::iq3_s, kIq3SLevels>,
    .signs = Signs::kFree,
    .shift = Shift::kNone,
    .scale =
        {.kind = ScaleKind::kInteger, .low = 0, .high = 15, .factor = 2, .offset = 1, .unit = 1.0f},
    .lowest = 0.6f,
    .step = 1.1f,
    .candidates = 8,
    .both_signs = false,
};

}  // namespace

const BlockFormat kFormatIQ3_S = {
    .type = TensorType::kIQ3_S,
    .elements = 256,
    .bytes = 110,
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
