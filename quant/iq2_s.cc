// IQ2_S: 32 octets in sixteen groups of 16. Bytes: d; qs[32] low 8 bits of the grid index;
// signs[32]; qh[8], 2 upper bits per octet; sc[8], a nibble per group. Value: d (0.5 + s) / 4 grid,
// with signs.
#include "quant/block_bytes.h"
#include "quant/block_format.h"
#include "quant/iq_tables.h"

namespace smelt {
namespace {

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const IqTables& tables = GetIqTables();
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
    SignedOctet(tables.iq2_s[index], signs[o], codes + 8 * o);
  }
}

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
    .searched = false,
    .unpack = Unpack,
    .fast_unpack = nullptr,
    .pack = nullptr,
    .valid = FiniteF16At<0>,
};

}  // namespace smelt
