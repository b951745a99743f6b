// Q8_0: 32 signed bytes under one f16 scale. Bytes: d; q[32]. Value: q d.
#include <cstring>

#include "quant/block_bytes.h"
#include "quant/block_format.h"

namespace smelt {
namespace {

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  scales[0] = LoadF16(block);
  std::memcpy(codes, block + 2, 32);
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  StoreU16(numbers.d, block);
  std::memcpy(block + 2, numbers.codes.data(), 32);
}

}  // namespace

const BlockFormat kFormatQ8_0 = {
    .type = TensorType::kQ8_0,
    .elements = 32,
    .bytes = 34,
    .group = 32,
    .minimum = false,
    .code_min = -127,
    .code_max = 127,
    .scale_min = 0,
    .scale_max = 0,
    .searched = false,
    .unpack = Unpack,
    .fast_unpack = nullptr,
    .pack = Pack,
    .codebook = nullptr,
    .valid = FiniteF16At<0>,
};

}  // namespace smelt
