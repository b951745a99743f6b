#include <algorithm>
#include <cmath>
#include <cstring>

#include "lib/base/float16.h"
#include "quant/block_format.h"
#include "quant/codebook_format.h"
#include "quant/codec.h"
#include "quant/encoder.h"
#include "quant/search.h"
#include "quant/simd.h"
#include "tests/quant/encode_rows.h"
#include "tests/quant/error_bound.h"
#include "tests/quant/fixtures.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

/// sqrt(sum w e^2 / sum w x^2), only over columns where `use` says so.
template <typename Weight>
double RelativeError(const SampleMatrix& m, const std::vector<float>& decoded,
                     const Weight& weight) {
  double error = 0, size = 0;
  for (size_t i = 0; i < m.x.size(); ++i) {
    const double w = weight(i % m.columns);
    const double e = static_cast<double>(decoded[i]) - m.x[i];
    error += w * e * e;
    size += w * static_cast<double>(m.x[i]) * m.x[i];
  }
  return std::sqrt(error / size);
}

/// The reference's errors are printed with six digits.
constexpr double kPrinted = 1 + 1e-5;

double Reference(const JsonValue& errors, const SampleMatrix& m, TensorType type,
                 std::string_view kind, std::string_view metric) {
  const JsonValue* cell =
      errors.Find("matrices")->Find(m.name)->Find("types")->Find(Info(type).name);
  return *cell->Find(kind)->Find(metric)->as_double();
}

TEST(Encode, EveryTypeThatCanBeReadCanBeWritten) {
  for (const TensorTypeInfo& info : AllTensorTypes()) {
    EXPECT_EQ(CanEncode(info.type), FindCodec(info.type) != nullptr) << info.name;
    EXPECT_EQ(CanEncode(info.type), FindEncoder(info.type, Effort::kNormal) != nullptr);
  }
  EXPECT_TRUE(CanEncode(TensorType::kIQ1_S));
  EXPECT_FALSE(CanEncode(TensorType::kI32));
}

TEST(Encode, ErrorIsNoWorseThanTheReferences) {
  const JsonValue errors = ReadJson(testing::TestdataPath("quant/reference_error.json"));
  size_t cells = 0;
  for (const BlockFormat* format : AllFormats()) {
    for (const SampleMatrix& m : Matrices()) {
      if (m.columns % format->elements != 0) continue;
      ++cells;
      const std::string what = std::string(Info(format->type).name) + " " + m.name;
      if (!NeedsImportance(format->type)) {
        const auto decoded = Decode(format->type, Encode(format->type, m.x, m.columns), m.x.size());
        EXPECT_LE(RelativeError(m, decoded, [](size_t) { return 1.0; }),
                  kPrinted * Reference(errors, m, format->type, "none", "rel_rmse"))
            << what;
      }

      const auto weighted = Decode(
          format->type, Encode(format->type, m.x, m.columns, m.importance.data()), m.x.size());
      EXPECT_LE(RelativeError(m, weighted, [&](size_t c) { return m.importance[c]; }),
                kPrinted * Reference(errors, m, format->type, "imatrix", "weighted_rel_rmse"))
          << what;
    }
  }
  EXPECT_EQ(cells, 9u * 10 + 16u * 9);
}

TEST(Encode, ColumnsWithoutImportanceKeepTheirWeights) {
  const JsonValue errors = ReadJson(testing::TestdataPath("quant/reference_error.json"));
  for (const BlockFormat* format : AllFormats()) {
    for (const SampleMatrix& m : Matrices()) {
      if (m.columns % format->elements != 0) continue;
      const std::string what = std::string(Info(format->type).name) + " " + m.name;
      const auto decoded = Decode(
          format->type, Encode(format->type, m.x, m.columns, m.importance_half.data()), m.x.size());
      EXPECT_LE(RelativeError(m, decoded, [&](size_t c) { return m.importance_half[c]; }),
                kPrinted * Reference(errors, m, format->type, "half", "weighted_rel_rmse"))
          << what;
      EXPECT_LE(RelativeError(m, decoded, [&](size_t c) { return m.importance_half[c] == 0; }),
                2 * Reference(errors, m, format->type,
                              NeedsImportance(format->type) ? "imatrix" : "none", "rel_rmse"))
          << what;
    }
  }
}

std::vector<std::byte> EncodeByReference(const BlockFormat& format, const std::vector<float>& x,
                                         const std::vector<float>& w, uint64_t columns,
                                         const SearchDepth& depth) {
  std::vector<std::byte> out(x.size() / format.elements * format.bytes);
  for (size_t first = 0; first < x.size(); first += format.elements) {
    BlockNumbers numbers{};
    EncodeBlockReference(format, depth, x.data() + first, w.data() + first % columns, &numbers);
    format.pack(numbers,
                reinterpret_cast<uint8_t*>(out.data()) + first / format.elements * format.bytes);
  }
  return out;
}

/// True where every scale of the block is at most half of the largest f16: such values must be
/// encoded.
bool FitsF16(const FormatSteps& f, const float* x) {
  double largest = 0;
  for (int first = 0; first < f.elements; first += f.group) {
    const GroupRange r = RangeOf(f, x + first);
    largest = std::max({largest, r.step, f.minimum ? std::abs(r.low) : 0.0});
  }
  return largest / std::max(f.integers, 1) < 65504.0 / 2;
}

// The bound is the formats' own, not what this encoder happens to reach.
TEST(Encode, EveryFiniteRowIsCloseOrRefused) {
  const std::vector<float> x = ExtremeRows();
  const std::vector<float> ones(kExtremeColumns, 1.0f), weights = ColumnWeights(kExtremeColumns);
  for (const BlockFormat* format : LinearFormats()) {
    const FormatSteps* steps = FindFormatSteps(format->type);
    ASSERT_NE(steps, nullptr) << Info(format->type).name;
    const uint64_t blocks = x.size() / format->elements;
    std::vector<std::byte> bytes(blocks * format->bytes);
    for (const std::vector<float>* w : {&ones, &weights}) {
      EncodeBlocks(*format, {}, x.data(), w == &ones ? nullptr : w->data(), kExtremeColumns, blocks,
                   reinterpret_cast<uint8_t*>(bytes.data()));
      size_t accepted = 0;
      for (uint64_t b = 0; b < blocks; ++b) {
        const float* values = x.data() + b * format->elements;
        const std::byte* block = bytes.data() + b * format->bytes;
        const std::string what = std::string(Info(format->type).name) + " row " +
                                 std::to_string(b * format->elements / kExtremeColumns);
        uint64_t bad = 0;
        if (!FindCodec(format->type)->Validate(block, format->elements, &bad)) {
          EXPECT_FALSE(FitsF16(*steps, values)) << what;
          continue;
        }
        ++accepted;
        std::vector<float> decoded(format->elements);
        FindCodec(format->type)->Decode(block, format->elements, decoded.data());
        const float* column_weights = w->data() + b * format->elements % kExtremeColumns;
        EXPECT_LE(ErrorOf(*steps, values, column_weights, decoded.data()),
                  AllowedError(*steps, values, column_weights))
            << what;
      }
      EXPECT_GT(accepted, blocks / 2) << Info(format->type).name;
      EXPECT_LT(accepted, blocks) << Info(format->type).name;
    }
  }
}

constexpr SearchDepth kDeep = {.refinements = 3, .rounds = 3};

void ExpectBytesOfTheReference(const std::vector<float>& x, uint64_t columns) {
  const std::vector<float> w = ColumnWeights(columns), ones(columns, 1.0f);
  EachTarget targets;
  for (const BlockFormat* format : LinearFormats()) {
    const auto plain = EncodeByReference(*format, x, ones, columns, {});
    const auto weighted = EncodeByReference(*format, x, w, columns, kDeep);
    for (const std::string& target : targets.names()) {
      targets.Use(target);
      const std::string what = std::string(Info(format->type).name) + " on " + target;
      std::vector<std::byte> got(plain.size());
      uint8_t* out = reinterpret_cast<uint8_t*>(got.data());
      const uint64_t blocks = x.size() / format->elements;
      EncodeBlocks(*format, {}, x.data(), nullptr, columns, blocks, out);
      for (uint64_t b = 0; b < blocks; ++b) {
        ASSERT_EQ(
            std::memcmp(out + b * format->bytes, plain.data() + b * format->bytes, format->bytes),
            0)
            << what << " block " << b << " row " << b * format->elements / columns;
      }
      EncodeBlocks(*format, kDeep, x.data(), w.data(), columns, blocks, out);
      for (uint64_t b = 0; b < blocks; ++b) {
        ASSERT_EQ(std::memcmp(out + b * format->bytes, weighted.data() + b * format->bytes,
                              format->bytes),
                  0)
            << what << " weighted, block " << b << " row " << b * format->elements / columns;
      }
    }
  }
}

TEST(Encode, EveryTargetMakesTheBytesOfTheScalarReference) {
  ExpectBytesOfTheReference(HardValues(29, 768), 768);
  ExpectBytesOfTheReference(ExtremeRows(), kExtremeColumns);
}

TEST(Encode, RowsDoNotDependOnTheirNeighbours) {
  constexpr size_t kRows = 5, kColumns = 768;
  const std::vector<float> x = HardValues(kRows, kColumns);
  for (const BlockFormat* format : AllFormats()) {
    const auto together = Encode(format->type, x, kColumns);
    for (size_t r = 0; r < kRows; ++r) {
      const std::vector<float> row(x.begin() + static_cast<ptrdiff_t>(r * kColumns),
                                   x.begin() + static_cast<ptrdiff_t>((r + 1) * kColumns));
      const auto alone = Encode(format->type, row, kColumns);
      EXPECT_EQ(std::memcmp(alone.data(), together.data() + r * alone.size(), alone.size()), 0);
    }
  }
}

TEST(Encode, ZerosStayZerosAndOverflowIsFound) {
  for (const BlockFormat* format : AllFormats()) {
    const std::string what(Info(format->type).name);
    std::vector<float> x(3 * format->elements, 0.0f);
    for (float v : Decode(format->type, Encode(format->type, x, x.size()), x.size()))
      EXPECT_EQ(v, 0.0f) << what;
    uint64_t block = 99;
    EXPECT_TRUE(FindCodec(format->type)
                    ->Validate(Encode(format->type, x, x.size()).data(), x.size(), &block));
    if (format->type == TensorType::kMXFP4) continue;  // holds every float
    x[format->elements + 3] = 1e30f;
    EXPECT_FALSE(FindCodec(format->type)
                     ->Validate(Encode(format->type, x, x.size()).data(), x.size(), &block))
        << what;
    EXPECT_EQ(block, 1u) << what;
  }
}

TEST(Encode, PackingLosesNothing) {
  for (const BlockFormat* format : LinearFormats()) {
    // Every code, scale and minimum, in turn.
    BlockNumbers numbers{};
    numbers.d = F32ToF16(0.5f);
    numbers.m = F32ToF16(-0.25f);
    const int codes = format->code_max - format->code_min + 1;
    for (uint32_t shift = 0; shift < 64; ++shift) {
      for (uint32_t i = 0; i < format->elements; ++i) {
        numbers.codes[i] =
            static_cast<int8_t>(format->code_min + static_cast<int>(i * 7 + shift) % codes);
      }
      for (uint32_t g = 0; g < format->groups() && format->super_block(); ++g) {
        const int integers = format->scale_max - format->scale_min + 1;
        numbers.scales[g] =
            static_cast<int8_t>(format->scale_min + static_cast<int>(g * 5 + shift) % integers);
        numbers.minimums[g] =
            static_cast<int8_t>(static_cast<int>(g * 3 + shift) % (format->scale_max + 1));
      }
      std::vector<uint8_t> block(format->bytes);
      format->pack(numbers, block.data());
      int8_t unpacked[kMaxBlockElements];
      float scales[kMaxBlockGroups], minimums[kMaxBlockGroups];
      format->unpack(block.data(), unpacked, scales, minimums);
      for (uint32_t i = 0; i < format->elements; ++i) ASSERT_EQ(unpacked[i], numbers.codes[i]);
      for (uint32_t g = 0; g < format->groups(); ++g) {
        ASSERT_EQ(scales[g], format->super_block() ? 0.5f * numbers.scales[g] : 0.5f);
        if (format->minimum) {
          ASSERT_EQ(minimums[g], format->super_block() ? -0.25f * numbers.minimums[g] : 0.25f);
        }
      }
    }
  }
}

std::vector<std::byte> EncodeNormal(TensorType type, const std::vector<float>& x, uint64_t columns,
                                    const std::vector<float>& importance) {
  std::vector<std::byte> out(x.size() / columns * RowBytes(type, columns).value_or(0));
  EncodeScratch scratch;
  FindEncoder(type, Effort::kNormal)
      ->Encode(x.size() / columns, columns, x.data(), {.importance = importance}, out.data(),
               scratch);
  return out;
}

TEST(Encode, HostileImportanceLosesNoWeights) {
  constexpr size_t kColumns = 512;
  const std::vector<float> x = Noise(16 * kColumns, 3);
  const std::vector<float> zeros(kColumns, 0.0f), denormals(kColumns, 1e-40f);
  const std::vector<float> ones(kColumns, 1.0f);
  std::vector<float> huge = ones, every_other = zeros;
  huge[77] = 1e30f;
  for (size_t i = 0; i < kColumns; i += 2) every_other[i] = 1e38f;
  for (const BlockFormat* format : AllFormats()) {
    const std::string what(Info(format->type).name);
    auto encode = [&](const std::vector<float>& importance) {
      return EncodeNormal(format->type, x, kColumns, importance);
    };
    // Of every step-th column from `first` on.
    auto error = [&](const std::vector<std::byte>& bytes, size_t first, size_t step) {
      const std::vector<float> decoded = Decode(format->type, bytes, x.size());
      double sum = 0, size = 0;
      for (size_t i = first; i < x.size(); i += step) {
        sum += std::pow(static_cast<double>(decoded[i]) - x[i], 2);
        size += std::pow(static_cast<double>(x[i]), 2);
      }
      return std::sqrt(sum / size);
    };
    EXPECT_EQ(encode(zeros), encode({})) << what;
    EXPECT_EQ(encode(denormals), encode(ones)) << what;
    const double usual = error(encode(ones), 0, 1);
    EXPECT_LE(error(encode(huge), 0, 1), 1.3 * usual) << what;
    // Lost columns would be 1.
    EXPECT_LE(error(encode(every_other), 1, 2), 0.95) << what;
  }
}

TEST(Encode, NormalEffortMakesTheSameBytesOnEveryTargetAndNothingLarger) {
  constexpr size_t kColumns = 768, kRows = 28;
  const std::vector<float> x = HardValues(kRows, kColumns);
  EachTarget targets;
  for (const BlockFormat* format : AllFormats()) {
    std::vector<std::byte> bytes;
    for (const std::string& target : targets.names()) {
      targets.Use(target);
      const auto got = EncodeNormal(format->type, x, kColumns, {});
      if (bytes.empty()) bytes = got;
      ASSERT_EQ(got, bytes) << Info(format->type).name << " on " << target;
    }
    const size_t row_bytes = bytes.size() / kRows;
    for (size_t r = 0; r < kRows; ++r) {
      uint64_t bad = 0;
      const std::byte* row = bytes.data() + r * row_bytes;
      if (!FindCodec(format->type)->Validate(row, kColumns, &bad)) continue;
      std::vector<float> decoded(kColumns);
      FindCodec(format->type)->Decode(row, kColumns, decoded.data());
      double error = 0, size = 0;
      for (size_t c = 0; c < kColumns; ++c) {
        const double v = x[r * kColumns + c];
        error += (decoded[c] - v) * (decoded[c] - v);
        size += v * v;
      }
      EXPECT_LE(error, size * 1.1) << Info(format->type).name << " row " << r;
    }
  }
}

TEST(Encode, HalvesAreRoundedAsTheScalarFunctionsDo) {
  EachTarget targets;
  std::vector<float> x = Noise(4099, 31);
  for (size_t i = 0; i < x.size(); ++i) {
    const float magnitudes[] = {1.0f, 1e4f, 1e-6f, 3e-8f, 1e30f, 6e4f, 1e-40f};
    x[i] *= magnitudes[i % 7];
  }
  x[0] = 65519.996f;
  x[1] = 65520.0f;
  x[2] = -0.0f;
  for (const std::string& target : targets.names()) {
    targets.Use(target);
    const auto f16 = Encode(TensorType::kF16, x, x.size());
    const auto bf16 = Encode(TensorType::kBF16, x, x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      uint16_t half, brain;
      std::memcpy(&half, f16.data() + 2 * i, 2);
      std::memcpy(&brain, bf16.data() + 2 * i, 2);
      ASSERT_EQ(half, F32ToF16(x[i])) << target << " " << x[i];
      ASSERT_EQ(brain, F32ToBf16(x[i])) << target << " " << x[i];
    }
  }
}

TEST(Encode, HalvesAreTheNearestOrRefused) {
  const std::vector<float> x = ExtremeRows();
  for (const TensorType type : {TensorType::kF16, TensorType::kBF16}) {
    const auto bytes = Encode(type, x, x.size());
    const auto decoded = Decode(type, bytes, x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      uint64_t bad = 0;
      const double size = std::abs(static_cast<double>(x[i]));
      if (!FindCodec(type)->Validate(bytes.data() + 2 * i, 1, &bad)) {
        ASSERT_GE(size, type == TensorType::kF16 ? 65520.0 : 0x1.ffp127) << x[i];
      } else {
        ASSERT_LE(std::abs(static_cast<double>(decoded[i]) - x[i]), Spacing(type, x[i]) / 2)
            << x[i];
      }
    }
  }
}

}  // namespace
}  // namespace smelt
