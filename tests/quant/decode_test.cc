#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "lib/base/float16.h"
#include "quant/block_format.h"
#include "quant/codec.h"
#include "quant/encoder.h"
#include "quant/simd.h"
#include "tests/quant/fixtures.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

/// Bits of a float, both zeros alike.
uint32_t Bits(float f) {
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  return f == 0 ? 0 : bits;
}

void ExpectSameBits(const std::vector<float>& got, const std::vector<float>& wanted,
                    std::string_view what) {
  ASSERT_EQ(got.size(), wanted.size()) << what;
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(Bits(got[i]), Bits(wanted[i]))
        << what << " element " << i << ": " << got[i] << ", expected " << wanted[i];
  }
}

TEST(Decode, EveryTypeHasACodec) {
  const std::vector<TensorType> types = DecodeTypes();
  EXPECT_EQ(types.size(), 27u);
  for (TensorType type : types) {
    const Codec* codec = FindCodec(type);
    ASSERT_NE(codec, nullptr) << Info(type).name;
    EXPECT_EQ(codec->type(), type);
  }
  EXPECT_EQ(FindCodec(TensorType::kI32), nullptr);
  EXPECT_EQ(FindCodec(TensorType::kQ8_1), nullptr);
}

TEST(Decode, GoldenBlocksBitForBitOnEveryTarget) {
  EachTarget targets;
  for (const std::string& target : targets.names()) {
    targets.Use(target);
    for (TensorType type : DecodeTypes()) {
      const Codec* codec = FindCodec(type);
      ASSERT_NE(codec, nullptr);
      const std::vector<std::byte> blocks = DecodeBlocks(type);
      const std::vector<float> values = DecodeValues(type);
      std::vector<float> decoded(values.size());
      codec->Decode(blocks.data(), values.size(), decoded.data());
      ExpectSameBits(decoded, values, std::string(Info(type).name) + " on " + target);
    }
  }
}

/// The scalar reference of a format, block by block.
void UnpackScalar(const BlockFormat& format, const std::byte* in, size_t blocks,
                  std::vector<int8_t>& codes, std::vector<float>& scales,
                  std::vector<float>& minimums) {
  codes.assign(blocks * format.elements, 0);
  scales.assign(blocks * format.groups(), 0);
  minimums.assign(blocks * format.groups(), 0);
  for (size_t b = 0; b < blocks; ++b) {
    format.unpack(reinterpret_cast<const uint8_t*>(in) + b * format.bytes,
                  codes.data() + b * format.elements, scales.data() + b * format.groups(),
                  minimums.data() + b * format.groups());
  }
}

/// Random bytes make every code, scale and sign; the f16 fields stay numbers.
std::vector<std::byte> RandomBlocks(const BlockFormat& format, size_t blocks) {
  std::vector<std::byte> bytes(blocks * format.bytes);
  uint32_t state = 12345;
  for (size_t b = 0; b < blocks; ++b) {
    uint8_t* block = reinterpret_cast<uint8_t*>(bytes.data()) + b * format.bytes;
    do {
      for (uint32_t i = 0; i < format.bytes; ++i) {
        state = state * 1664525u + 1013904223u;
        block[i] = static_cast<uint8_t>(state >> 24);
      }
    } while (!format.valid(block));
  }
  return bytes;
}

TEST(Decode, Unpack8EqualsTheScalarReferenceOnEveryTarget) {
  constexpr size_t kBlocks = 37;
  EachTarget targets;
  for (const std::string& target : targets.names()) {
    targets.Use(target);
    for (TensorType type : DecodeTypes()) {
      const BlockFormat* format = FindBlockFormat(type);
      if (format == nullptr) continue;
      const Codec* codec = FindCodec(type);
      ASSERT_EQ(codec->unpack_group(), format->group);
      const std::vector<std::byte> blocks = RandomBlocks(*format, kBlocks);
      std::vector<int8_t> codes, want_codes;
      std::vector<float> scales, minimums, want_scales, want_minimums;
      UnpackScalar(*format, blocks.data(), kBlocks, want_codes, want_scales, want_minimums);
      codes.resize(want_codes.size());
      scales.resize(want_scales.size());
      minimums.resize(want_minimums.size());
      codec->Unpack8(blocks.data(), codes.size(), {codes.data(), scales.data(), minimums.data()});
      const std::string what = std::string(Info(type).name) + " on " + target;
      EXPECT_EQ(codes, want_codes) << what;
      const auto [low, high] = std::minmax_element(want_codes.begin(), want_codes.end());
      EXPECT_GE(*low, codec->unpack_range().low) << what;
      EXPECT_LE(*high, codec->unpack_range().high) << what;
      ExpectSameBits(scales, want_scales, what);
      if (format->minimum) {
        ExpectSameBits(minimums, want_minimums, what);
      } else {
        std::vector<int8_t> again(codes.size());
        codec->Unpack8(blocks.data(), codes.size(), {again.data(), scales.data(), nullptr});
        EXPECT_EQ(again, want_codes) << what;
      }

      // The common form gives the decoded values.
      std::vector<float> decoded(codes.size()), rebuilt(codes.size());
      codec->Decode(blocks.data(), codes.size(), decoded.data());
      for (size_t i = 0; i < codes.size(); ++i) {
        const size_t g = i / format->group;
        rebuilt[i] = want_scales[g] * static_cast<float>(want_codes[i]);
        if (format->minimum) rebuilt[i] -= want_minimums[g];
      }
      ExpectSameBits(decoded, rebuilt, what);
    }
  }
}

/// Every scale of two bytes that there is, infinities and numbers that are none among them.
TEST(Decode, EveryHalfIsTheScalarReferencesOnEveryTarget) {
  const BlockFormat* q8_0 = FindBlockFormat(TensorType::kQ8_0);
  const BlockFormat* q2_0 = FindBlockFormat(TensorType::kQ2_0);
  std::vector<std::byte> halves(2 * 65536);
  for (uint32_t h = 0; h < 65536; ++h) {
    const auto half = static_cast<uint16_t>(h);
    std::memcpy(halves.data() + 2 * h, &half, 2);
  }
  EachTarget targets;
  for (const std::string& target : targets.names()) {
    SCOPED_TRACE(target);
    targets.Use(target);
    std::vector<float> values(65536);
    FindCodec(TensorType::kF16)->Decode(halves.data(), values.size(), values.data());
    for (uint32_t h = 0; h < 65536; ++h) {
      const auto wanted = std::bit_cast<uint32_t>(F16ToF32(static_cast<uint16_t>(h)));
      ASSERT_EQ(std::bit_cast<uint32_t>(values[h]), wanted) << h;
      for (const BlockFormat* format : {q8_0, q2_0}) {
        std::byte block[64] = {halves[2 * h], halves[2 * h + 1]};
        int8_t codes[64];
        float scales[4], minimums[4];
        FindCodec(format->type)->Unpack8(block, format->elements, {codes, scales, minimums});
        ASSERT_EQ(std::bit_cast<uint32_t>(scales[0]), wanted) << h;
      }
    }
  }
}

TEST(Decode, DotsEqualTheSumOverDecodedValues) {
  EachTarget targets;
  for (const std::string& target : targets.names()) {
    targets.Use(target);
    for (TensorType type : DecodeTypes()) {
      const Codec* codec = FindCodec(type);
      const uint32_t elements = Info(type).block_elements;
      const size_t blocks = 1536 / elements + (elements == 1 ? 5 : 3);  // also incomplete steps
      const size_t count = blocks * elements;
      const size_t rows = 3;
      const BlockFormat* format = FindBlockFormat(type);
      std::vector<std::byte> bytes;
      if (format != nullptr) {
        bytes = RandomBlocks(*format, rows * blocks);
      } else {
        bytes.resize(rows * count * Info(type).block_bytes);
        const std::vector<float> noise = Noise(rows * count, 7);
        EncodeScratch scratch;
        FindEncoder(type)->Encode(rows, count, noise.data(), {}, bytes.data(), scratch);
      }
      const std::vector<float> x = Noise(count, 3);
      std::vector<float> w(rows * count);
      codec->Decode(bytes.data(), w.size(), w.data());
      const std::string what = std::string(Info(type).name) + " on " + target;

      std::vector<int8_t> codes(count);
      std::vector<float> scales(count / 16 + 1), sums(count / 16 + 1), pair_sums(count / 32 + 1),
          q8(rows);
      const Activations8 a{codes.data(), scales.data(), sums.data(), pair_sums.data()};
      if (format != nullptr) {
        QuantizeActivations8(x.data(), count, codes.data(), scales.data(), sums.data(),
                             pair_sums.data());
        codec->DotQ8(bytes.data(), rows, count, a, q8.data());
      }
      for (size_t r = 0; r < rows; ++r) {
        double exact = 0, size = 0, exact8 = 0;
        for (size_t i = 0; i < count; ++i) {
          const double term = static_cast<double>(w[r * count + i]) * x[i];
          exact += term;
          size += std::abs(term);
          if (format != nullptr) {
            exact8 += static_cast<double>(w[r * count + i]) * codes[i] * scales[i / 32];
          }
        }
        const std::byte* row = bytes.data() + bytes.size() / rows * r;
        EXPECT_NEAR(codec->Dot(row, x.data(), count), exact, size * 1e-5) << what;
        // Codes and minimums of a group may cancel, so the bound is on the parts.
        if (format != nullptr) {
          EXPECT_NEAR(q8[r], exact8, size * 2e-5) << what;
        }
      }
    }
  }
}

TEST(Decode, ActivationsAreRoundedHalfToEven) {
  EachTarget targets;
  std::vector<float> x = Noise(32 * 9, 21);
  std::fill(x.begin() + 32, x.begin() + 64, 0.0f);
  x[64] = 127.0f;  // scale 1: halves are visible
  for (int i = 1; i < 32; ++i) x[64 + i] = static_cast<float>(i) - 10.5f;
  for (const std::string& target : targets.names()) {
    targets.Use(target);
    std::vector<int8_t> codes(x.size());
    std::vector<float> scales(x.size() / 32), sums(x.size() / 16), pair_sums(x.size() / 32);
    QuantizeActivations8(x.data(), x.size(), codes.data(), scales.data(), sums.data(),
                         pair_sums.data());
    for (size_t g = 0; g < scales.size(); ++g) {
      float largest = 0;
      for (size_t i = 0; i < 32; ++i) largest = std::max(largest, std::abs(x[32 * g + i]));
      EXPECT_EQ(scales[g], largest / 127.0f);
      const float inverse = largest == 0 ? 0 : 127.0f / largest;
      for (size_t half = 0; half < 2; ++half) {
        int sum = 0;
        for (size_t i = 32 * g + 16 * half; i < 32 * g + 16 * half + 16; ++i) {
          EXPECT_EQ(codes[i], std::nearbyint(x[i] * inverse)) << target << " " << i;
          sum += codes[i];
        }
        EXPECT_EQ(sums[2 * g + half], scales[g] * static_cast<float>(sum));
      }
    }
  }
}

TEST(Decode, ValidateFindsTheBlockWhoseScaleIsNoNumber) {
  for (TensorType type : DecodeTypes()) {
    const BlockFormat* format = FindBlockFormat(type);
    if (format == nullptr) continue;
    const Codec* codec = FindCodec(type);
    std::vector<std::byte> blocks = RandomBlocks(*format, 5);
    uint64_t bad = 99;
    EXPECT_TRUE(codec->Validate(blocks.data(), 5 * format->elements, &bad)) << Info(type).name;
    // Every f16 field a NaN, every exponent 255 (127 where that is the NaN).
    std::memset(blocks.data() + 3 * format->bytes, type == TensorType::kNVFP4 ? 0x7f : 0xff,
                format->bytes);
    EXPECT_FALSE(codec->Validate(blocks.data(), 5 * format->elements, &bad)) << Info(type).name;
    EXPECT_EQ(bad, 3u) << Info(type).name;
  }
  const float floats[] = {1, -2, INFINITY, 4};
  uint64_t bad = 99;
  EXPECT_FALSE(
      FindCodec(TensorType::kF32)->Validate(reinterpret_cast<const std::byte*>(floats), 4, &bad));
  EXPECT_EQ(bad, 2u);
}

TEST(Simd, UnknownTargetsAreRefusedByName) {
  const absl::Status status = ForceSimdTarget("AVX9");
  EXPECT_FALSE(status.ok());
  EXPECT_NE(std::string(status.message()).find("AVX9"), std::string::npos);
  EXPECT_NE(std::string(status.message()).find(SimdTargets().front()), std::string::npos);
}

}  // namespace
}  // namespace smelt
