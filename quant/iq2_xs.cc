// IQ2_XS: 32 octets in sixteen groups of 16. Bytes: d; 32 words of 9 bits grid index and 7 sign
// bits; sc[8], a nibble per group. Value: d (0.5 + s) / 4 grid, with signs.
#include "quant/block_bytes.h"
#include "quant/block_format.h"
#include "quant/iq_tables.h"

namespace smelt {
namespace {

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const IqTables& tables = GetIqTables();
  const float d = LoadF16(block);
  const uint8_t* sc = block + 66;
  for (int g = 0; g < 16; ++g) {
    const int s = g % 2 == 0 ? Low4(sc[g / 2]) : High4(sc[g / 2]);
    scales[g] = d * (0.5f + static_cast<float>(s)) * 0.25f;
  }
  for (int o = 0; o < 32; ++o) {
    const uint32_t q = LoadU16(block + 2 + 2 * o);
    SignedOctet(tables.iq2_xs[q & 511], EvenSigns(q >> 9), codes + 8 * o);
  }
}

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
    .searched = false,
    .unpack = Unpack,
    .fast_unpack = nullptr,
    .pack = nullptr,
    .valid = FiniteF16At<0>,
};

}  // namespace smelt
