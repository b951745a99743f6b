// Encoders of formats with codebooks, by the definitions of the formats.
#include <algorithm>
#include <cmath>

#include "lib/base/float16.h"
#include "quant/block_format.h"
#include "quant/codebook_format.h"
#include "quant/codebook_search.h"
#include "quant/codec.h"
#include "quant/simd.h"
#include "quant/stored_scale.h"
#include "tests/quant/encode_rows.h"
#include "tests/quant/fixtures.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

/// Code of element j by the definition: an entry's value with its sign, or moved up or down.
int CodeOf(const CodebookFormat& f, const BlockNumbers& numbers, uint32_t j) {
  if (f.granule == 0) return numbers.codes[j];
  const int value = f.codebook[numbers.entries[j / f.granule] * f.granule + j % f.granule];
  if (f.shift != Shift::kNone) return 8 * value + (numbers.signs[j / 8] != 0 ? -1 : 1);
  return (numbers.signs[j / 8] >> (j % 8)) & 1 ? -value : value;
}

TEST(EncodeCodebooks, PackingOfCodebooksLosesNothing) {
  for (const BlockFormat* format : CodebookFormats()) {
    const CodebookFormat& f = *format->codebook;
    const uint32_t groups = format->elements / f.group;
    for (uint32_t shift = 0; shift < 64; ++shift) {
      BlockNumbers numbers{};
      numbers.d = F32ToF16(0.5f + 0.01f * static_cast<float>(shift));
      for (uint32_t g = 0; g < groups && f.scale.kind != ScaleKind::kF16; ++g) {
        const bool integer = f.scale.kind == ScaleKind::kInteger;
        const uint32_t numbers_there = integer ? static_cast<uint32_t>(f.scale.high) + 1 : 126;
        numbers.scales[g] = static_cast<int8_t>((g * 5 + shift) % numbers_there);
      }
      for (uint32_t j = 0; j < format->elements; ++j)
        numbers.codes[j] = f.values[(j * 7 + shift) % static_cast<uint32_t>(f.levels)];
      for (uint32_t i = 0; f.granule != 0 && i < format->elements / f.granule; ++i)
        numbers.entries[i] = static_cast<uint16_t>((i * 131 + shift * 37) % f.index().entry.size());
      for (uint32_t o = 0; o < format->elements / 8; ++o) {
        uint32_t bits = (o * 91 + shift * 5) & 255;
        if (f.signs == Signs::kEven) bits = (bits & 127) | ((std::popcount(bits & 127) & 1) << 7);
        if (f.shift == Shift::kPerGroup) bits = (o / 4 + shift) & 1;
        if (f.shift == Shift::kPerOctet) bits = (o + shift) & 1;
        numbers.signs[o] = static_cast<uint8_t>(bits);
      }
      std::vector<uint8_t> block(format->bytes);
      format->pack(numbers, block.data());
      int8_t codes[kMaxBlockElements];
      float scales[kMaxBlockGroups], minimums[kMaxBlockGroups];
      format->unpack(block.data(), codes, scales, minimums);
      for (uint32_t j = 0; j < format->elements; ++j)
        ASSERT_EQ(codes[j], CodeOf(f, numbers, j)) << Info(format->type).name << " " << j;
      const float d = F16ToF32(numbers.d);
      for (uint32_t g = 0; g < groups; ++g) {
        ASSERT_EQ(scales[g * f.group / format->group],
                  f.scale.kind == ScaleKind::kF16 ? d : ScaleOf(f.scale, d, numbers.scales[g]));
      }
    }
  }
}

/// The least weighted squared error of an octet over all entries, signs and shifts of a format
/// with granules, by trying them all.
double LeastError(const CodebookFormat& f, const float* x, const float* w, double scale,
                  int shift) {
  const size_t entries = f.index().entry.size();
  auto error = [&](uint32_t first, size_t entry, int flipped) {
    double sum = 0;
    for (uint32_t k = 0; k < f.granule; ++k) {
      double value = f.codebook[entry * f.granule + k];
      if (f.shift != Shift::kNone) value = 8 * value + shift;
      if (f.signs != Signs::kInLevels) value = std::copysign(value, x[first + k]);
      if (static_cast<int>(first + k) == flipped) value = -value;
      const double e = x[first + k] - scale * value;
      sum += w[first + k] * e * e;
    }
    return sum;
  };
  uint32_t negative = 0;
  for (int k = 0; k < 8; ++k) negative += std::signbit(x[k]);
  const bool turn = f.signs == Signs::kEven && negative % 2 == 1;
  double best = INFINITY;
  for (int flipped = turn ? 0 : -1; flipped < (turn ? 8 : 0); ++flipped) {
    double sum = 0;
    for (uint32_t first = 0; first < 8; first += f.granule) {
      double least = INFINITY;
      for (size_t entry = 0; entry < entries; ++entry)
        least = std::min(least, error(first, entry, flipped));
      sum += least;
    }
    best = std::min(best, sum);
  }
  return best;
}

TEST(EncodeCodebooks, EntriesOfACodebookAreTheNearestOfAll) {
  const std::vector<float> x = Noise(512, 77);
  std::vector<float> w = ColumnWeights(512);
  for (const BlockFormat* format : CodebookFormats()) {
    const CodebookFormat& f = *format->codebook;
    if (f.granule == 0) continue;
    std::vector<uint8_t> bytes(512 / format->elements * format->bytes);
    EncodeCodebookBlocks(*format, x.data(), w.data(), 512, 512 / format->elements, bytes.data());
    for (size_t b = 0; b < 512 / format->elements; ++b) {
      int8_t codes[kMaxBlockElements];
      float scales[kMaxBlockGroups], minimums[kMaxBlockGroups];
      format->unpack(bytes.data() + b * format->bytes, codes, scales, minimums);
      for (uint32_t first = 0; first < format->elements; first += f.group) {
        // A unit of the codes is the scale as the search has it.
        const double scale = scales[first / format->group];
        double error = 0, least[2] = {0, 0};
        double by_octet = 0;
        for (uint32_t o = first; o < first + f.group; o += 8) {
          const float* values = x.data() + b * format->elements + o;
          const float* weights = w.data() + b * format->elements + o;
          for (uint32_t k = 0; k < 8; ++k) {
            const double e = values[k] - scale * codes[o + k];
            error += weights[k] * e * e;
          }
          double octet = INFINITY;
          for (int s = 0; s < 2; ++s) {
            const double found = LeastError(f, values, weights, scale, s == 0 ? 1 : -1);
            least[s] += found;
            octet = std::min(octet, found);
          }
          by_octet += octet;
        }
        const double wanted = f.shift == Shift::kPerOctet ? by_octet : std::min(least[0], least[1]);
        EXPECT_LE(error, wanted * (1 + 1e-5)) << Info(format->type).name << " " << first;
      }
    }
  }
}

// Weights that a codebook cannot follow are lost at worst, never turned into something larger.
TEST(EncodeCodebooks, CodebooksNeverMakeMoreOfARowThanItIs) {
  const std::vector<float> x = ExtremeRows();
  const std::vector<float> weights = ColumnWeights(kExtremeColumns);
  for (const BlockFormat* format : CodebookFormats()) {
    constexpr size_t kRows = 210;  // of every 13th exponent
    std::vector<float> rows;
    for (size_t r = 0; r < kRows; ++r) {
      const size_t row = (r / 10 * 13) * 10 + r % 10;
      rows.insert(rows.end(), x.begin() + static_cast<ptrdiff_t>(row * kExtremeColumns),
                  x.begin() + static_cast<ptrdiff_t>((row + 1) * kExtremeColumns));
    }
    const uint64_t blocks = rows.size() / format->elements;
    std::vector<uint8_t> first, bytes(blocks * format->bytes);
    EachTarget targets;
    for (const std::string& target : targets.names()) {
      targets.Use(target);
      EncodeCodebookBlocks(*format, rows.data(), weights.data(), kExtremeColumns, blocks,
                           bytes.data());
      if (first.empty()) first = bytes;
      for (uint64_t b = 0; b < blocks; ++b) {
        ASSERT_EQ(std::memcmp(bytes.data() + b * format->bytes, first.data() + b * format->bytes,
                              format->bytes),
                  0)
            << Info(format->type).name << " on " << target << " row "
            << b * format->elements / kExtremeColumns;
      }
    }
    size_t accepted = 0;
    for (uint64_t b = 0; b < blocks; ++b) {
      const std::byte* block = reinterpret_cast<const std::byte*>(bytes.data()) + b * format->bytes;
      const float* values = rows.data() + b * format->elements;
      const std::string what = std::string(Info(format->type).name) + " row " +
                               std::to_string(b * format->elements / kExtremeColumns);
      double largest = 0, error = 0, size = 0, weight = 0;
      for (uint32_t i = 0; i < format->elements; ++i)
        largest = std::max<double>(largest, std::abs(values[i]));
      uint64_t bad = 0;
      if (!FindCodec(format->type)->Validate(block, format->elements, &bad)) {
        EXPECT_GT(largest, 2688) << what;  // the largest value of NVFP4
        continue;
      }
      ++accepted;
      std::vector<float> decoded(format->elements);
      FindCodec(format->type)->Decode(block, format->elements, decoded.data());
      for (uint32_t i = 0; i < format->elements; ++i) {
        const double w = weights[b * format->elements % kExtremeColumns + i];
        const double e = static_cast<double>(decoded[i]) - values[i];
        error += w * e * e;
        size += w * static_cast<double>(values[i]) * values[i];
        weight += w;
      }
      // Codes of the least scale that f16 has.
      const double least = 0x1p-24 * 8;
      EXPECT_LE(error, size + weight * least * least) << what;
    }
    EXPECT_GT(accepted, blocks / 3) << Info(format->type).name;
  }
}

}  // namespace
}  // namespace smelt
