// TQ1_0: 256 trits, five to a byte. Bytes: qs[48]; qh[4]; d. Trit t of byte b is (((b 3^t) mod 256)
// 3) >> 8. Elements 0 .. 159: trit t of qs[k] is element 32 t + k; 160 .. 239: trit t of qs[32 + k]
// is element 160 + 16 t + k; 240 .. 255: trit t < 4 of qh[k] is element 240 + 4 t + k. Value: (trit
// - 1) d.
#include <iterator>

#include "quant/block_bytes.h"
#include "quant/block_format.h"
#include "quant/codebook_format.h"

namespace smelt {
namespace {

/// The bytes from `in` hold trit t of element `stride` t + k, k < stride.
void UnpackTrits(const uint8_t* in, int stride, int trits, int8_t* codes) {
  uint8_t power = 1;
  for (int t = 0; t < trits; ++t) {
    for (int k = 0; k < stride; ++k) {
      const uint8_t shifted = static_cast<uint8_t>(in[k] * power);
      codes[stride * t + k] = static_cast<int8_t>(((shifted * 3) >> 8) - 1);
    }
    power = static_cast<uint8_t>(power * 3);
  }
}

void Unpack(const uint8_t* block, int8_t* codes, float* scales, float*) {
  const float d = LoadF16(block + 52);
  for (int g = 0; g < 8; ++g) scales[g] = d;
  UnpackTrits(block, 32, 5, codes);
  UnpackTrits(block + 32, 16, 5, codes + 160);
  UnpackTrits(block + 48, 4, 4, codes + 240);
}

/// The reverse: a byte is its trits as digits of base 3, the first most significant, moved up to
/// the range of a byte.
void PackTrits(const int8_t* codes, int stride, int trits, uint8_t* out) {
  for (int k = 0; k < stride; ++k) {
    int digits = 0;
    for (int t = 0; t < 5; ++t) digits = 3 * digits + (t < trits ? codes[stride * t + k] + 1 : 0);
    out[k] = static_cast<uint8_t>((256 * digits + 242) / 243);
  }
}

void Pack(const BlockNumbers& numbers, uint8_t* block) {
  const int8_t* codes = numbers.codes.data();
  PackTrits(codes, 32, 5, block);
  PackTrits(codes + 160, 16, 5, block + 32);
  PackTrits(codes + 240, 4, 4, block + 48);
  StoreU16(numbers.d, block + 52);
}

constexpr int8_t kLevels[] = {-1, 0, 1};

const CodebookFormat kCodebook = {
    .group = 256,
    .levels = std::size(kLevels),
    .values = kLevels,
    .scale = {.kind = ScaleKind::kF16},
    .lowest = 0.12f,
    .step = 1.18f,
    .candidates = 14,
    .both_signs = false,
};

}  // namespace

const BlockFormat kFormatTQ1_0 = {
    .type = TensorType::kTQ1_0,
    .elements = 256,
    .bytes = 54,
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
    .valid = FiniteF16At<52>,
};

}  // namespace smelt
