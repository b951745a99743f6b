// IQ3_S: eight groups of 32. Bytes: d; qs[64], low 8 bits of a grid index per quad; qh[8], bit p %
// 8 of byte p / 8 the ninth of quad p; signs[32]; sc[4], a nibble per group. Value: d (1 + 2 s)
// grid, with signs.
#include <cstring>

#include "quant/block_bytes.h"
#include "quant/block_format.h"
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
  const IqTables& tables = GetIqTables();
  const float d = LoadF16(block);
  const uint8_t* qs = block + 2;
  const uint8_t* qh = block + 66;
  const uint8_t* signs = block + 74;
  const uint8_t* sc = block + 106;
  for (int g = 0; g < 8; ++g) {
    const int s = g % 2 == 0 ? Low4(sc[g / 2]) : High4(sc[g / 2]);
    scales[g] = d * static_cast<float>(1 + 2 * s);
  }
  auto quad = [&](int p) { return tables.iq3_s[qs[p] | (((qh[p / 8] >> (p % 8)) & 1) << 8)]; };
  for (int o = 0; o < 32; ++o) SignedQuads(quad(2 * o), quad(2 * o + 1), signs[o], codes + 8 * o);
}

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
    .searched = false,
    .unpack = Unpack,
    .fast_unpack = nullptr,
    .pack = nullptr,
    .valid = FiniteF16At<0>,
};

}  // namespace smelt
