// Formats of weights: any bytes decode without harm and alike on every instruction set; any finite
// values, with any weights, encode to the scalar reference's bytes and come back as near as the
// format allows, or Validate says which block does not.
#include <cmath>
#include <cstring>

#include "quant/block_format.h"
#include "quant/codebook_search.h"
#include "quant/codec.h"
#include "quant/encoder.h"
#include "quant/search.h"
#include "quant/simd.h"
#include "tests/fuzz/fuzz.h"
#include "tests/quant/error_bound.h"

namespace smelt::fuzz {
namespace {

/// The type that this input goes through, chosen by its first byte.
TensorType Choose(uint8_t byte) {
  const auto types = AllTensorTypes();
  return types[byte % types.size()].type;
}

/// How the bytes of an input become values to encode.
enum class Form : uint8_t { kFloats, kHalfFloats, kScaledBytes, kScaledGroups };

size_t BytesPerValue(Form form) {
  return form == Form::kFloats ? 4 : form == Form::kHalfFloats ? 2 : 1;
}

/// Any floats at all as they stand, or their upper halves; signed bytes times a power of two that
/// the block or the group has in common, where formats meet their smallest and largest scales.
std::vector<float> Values(Form form, const uint8_t* data, size_t count, size_t block) {
  std::vector<float> x(count);
  for (size_t i = 0; i < count; ++i) {
    uint32_t bits = 0;
    switch (form) {
      case Form::kFloats:
        std::memcpy(&x[i], data + 4 * i, 4);
        break;
      case Form::kHalfFloats:
        bits = static_cast<uint32_t>(data[2 * i] | (data[2 * i + 1] << 8)) << 16;
        std::memcpy(&x[i], &bits, 4);
        break;
      case Form::kScaledBytes:
      case Form::kScaledGroups: {
        const size_t run = form == Form::kScaledBytes ? block : 16;
        // The first byte of a run is its exponent: from denormals to beyond f16.
        const int exponent = data[i / run * run] % 192 - 156;
        x[i] = std::ldexp(static_cast<float>(static_cast<int8_t>(data[i])), exponent);
        break;
      }
    }
    if (!std::isfinite(x[i])) x[i] = 0;
  }
  return x;
}

/// Weights of one block's columns from a few bits of the input; all 1 where there are none.
std::vector<float> Weights(uint8_t bits, size_t columns) {
  std::vector<float> w(columns, 1.0f);
  for (size_t i = 0; bits != 0 && i < columns; ++i)
    w[i] = 1e-3f + static_cast<float>((i * 37 + bits) % 64 * ((i + bits) % 17 == 0 ? 40 : 1)) / 32;
  return w;
}

void DecodeBlocks(const BlockFormat& format, const uint8_t* data, size_t blocks) {
  const Codec* codec = FindCodec(format.type);
  const size_t count = blocks * format.elements;
  std::vector<int8_t> codes(count), wanted(count);
  std::vector<float> scales(count / 16), wanted_scales(count / 16), minimums(count / 16),
      values(count);
  for (size_t b = 0; b < blocks; ++b) {
    const size_t g = b * format.groups();
    format.unpack(data + b * format.bytes, wanted.data() + b * format.elements,
                  wanted_scales.data() + g, minimums.data() + g);
  }
  const std::byte* bytes = reinterpret_cast<const std::byte*>(data);
  uint64_t bad = 0;
  const bool valid = codec->Validate(bytes, count, &bad);
  for (const std::string& target : SimdTargets()) {
    Require(ForceSimdTarget(target).ok(), "a listed target can be forced");
    codec->Unpack8(bytes, count, {codes.data(), scales.data(), minimums.data()});
    Require(codes == wanted, "codes are the reference's");
    Require(std::memcmp(scales.data(), wanted_scales.data(),
                        blocks * format.groups() * sizeof(float)) == 0,
            "scales are the reference's");
    codec->Decode(bytes, count, values.data());
    for (float v : values) Require(!valid || std::isfinite(v), "valid blocks hold numbers");
  }
}

/// Each block is close to its values, unless Validate refuses it.
void RequireClose(const BlockFormat& format, const std::vector<uint8_t>& bytes,
                  const std::vector<float>& x, const std::vector<float>& w) {
  const FormatSteps* steps = FindFormatSteps(format.type);
  Require(steps != nullptr, "a format that can be written has an error bound");
  const Codec* codec = FindCodec(format.type);
  std::vector<float> decoded(format.elements);
  for (size_t b = 0; b < bytes.size() / format.bytes; ++b) {
    const std::byte* block = reinterpret_cast<const std::byte*>(bytes.data()) + b * format.bytes;
    const float* values = x.data() + b * format.elements;
    uint64_t bad = 0;
    if (!codec->Validate(block, format.elements, &bad)) continue;
    codec->Decode(block, format.elements, decoded.data());
    Require(
        ErrorOf(*steps, values, w.data(), decoded.data()) <= AllowedError(*steps, values, w.data()),
        "what is not refused is close");
  }
}

void EncodeValues(const BlockFormat& format, Form form, uint8_t weight_bits, const uint8_t* data,
                  size_t blocks) {
  const size_t count = blocks * format.elements;
  const std::vector<float> x = Values(form, data, count, format.elements);
  const std::vector<float> w = Weights(weight_bits, format.elements);
  std::vector<uint8_t> wanted(blocks * format.bytes), got(wanted.size());
  bool first = true;
  const SearchDepth depth = weight_bits % 2 == 0 ? SearchDepth{} : SearchDepth{3, 3};
  for (size_t b = 0; b < blocks && format.codebook == nullptr; ++b) {
    BlockNumbers numbers{};
    EncodeBlockReference(format, depth, x.data() + b * format.elements, w.data(), &numbers);
    format.pack(numbers, wanted.data() + b * format.bytes);
  }
  for (const std::string& target : SimdTargets()) {
    Require(ForceSimdTarget(target).ok(), "a listed target can be forced");
    const float* weights = weight_bits == 0 ? nullptr : w.data();
    if (format.codebook == nullptr) {
      EncodeBlocks(format, depth, x.data(), weights, format.elements, blocks, got.data());
    } else {
      EncodeCodebookBlocks(format, x.data(), weights, format.elements, blocks, got.data());
    }
    if (format.codebook != nullptr && first) wanted = got;
    first = false;
    Require(got == wanted, "bytes are the reference's, or every target's");
  }
  if (format.codebook == nullptr) RequireClose(format, got, x, w);
  DecodeBlocks(format, got.data(), blocks);
}

/// F16 and BF16: every value is the nearest, or Validate says which one is beyond them.
void EncodeHalves(TensorType type, const uint8_t* data, size_t count) {
  const std::vector<float> x = Values(Form::kFloats, data, count, count);
  const Codec* codec = FindCodec(type);
  std::vector<std::byte> bytes(2 * count), first;
  std::vector<float> decoded(count);
  EncodeScratch scratch;
  for (const std::string& target : SimdTargets()) {
    Require(ForceSimdTarget(target).ok(), "a listed target can be forced");
    FindEncoder(type)->Encode(1, count, x.data(), {}, bytes.data(), scratch);
    if (first.empty()) first = bytes;
    Require(bytes == first, "bytes are the other targets'");
    codec->Decode(bytes.data(), count, decoded.data());
    for (size_t i = 0; i < count; ++i) {
      uint64_t bad = 0;
      const bool valid = codec->Validate(bytes.data() + 2 * i, 1, &bad);
      const double error = std::abs(static_cast<double>(decoded[i]) - x[i]);
      Require(!valid || error <= Spacing(type, x[i]) / 2, "what is not refused is close");
    }
  }
}

}  // namespace
}  // namespace smelt::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const smelt::TensorType type = smelt::fuzz::Choose(data[0]);
  const smelt::BlockFormat* format = smelt::FindBlockFormat(type);
  if (format == nullptr) {
    if (type == smelt::TensorType::kF16 || type == smelt::TensorType::kBF16)
      smelt::fuzz::EncodeHalves(type, data + 2, (size - 2) / sizeof(float));
    return 0;
  }
  const bool encode = (data[1] & 1) != 0;
  const auto form = static_cast<smelt::fuzz::Form>((data[1] >> 1) & 3);
  const size_t step = encode ? format->elements * smelt::fuzz::BytesPerValue(form) : format->bytes;
  const size_t blocks = (size - 2) / step;
  if (blocks == 0) return 0;
  if (encode) {
    smelt::fuzz::EncodeValues(*format, form, static_cast<uint8_t>(data[1] >> 3), data + 2, blocks);
  } else {
    smelt::fuzz::DecodeBlocks(*format, data + 2, blocks);
  }
  return 0;
}
