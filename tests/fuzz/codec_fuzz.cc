// Block formats: any bytes decode without harm and alike on every instruction set; any finite
// values encode to the scalar reference's bytes and come back as numbers, or Validate says which
// block is none.
#include <cmath>
#include <cstring>

#include "quant/block_format.h"
#include "quant/codec.h"
#include "quant/search.h"
#include "quant/simd.h"
#include "tests/fuzz/fuzz.h"

namespace smelt::fuzz {
namespace {

/// The formats that this input goes through, chosen by its first byte.
const BlockFormat* Choose(uint8_t byte) {
  const auto types = AllTensorTypes();
  return FindBlockFormat(types[byte % types.size()].type);
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

void EncodeValues(const BlockFormat& format, const uint8_t* data, size_t blocks) {
  const size_t count = blocks * format.elements;
  std::vector<float> x(count);
  std::memcpy(x.data(), data, count * sizeof(float));
  for (float& v : x) {
    if (!std::isfinite(v) || std::abs(v) > 1e38f)
      v = 0;  // the difference of two must be finite too
  }
  const std::vector<float> ones(format.elements, 1.0f);
  std::vector<uint8_t> wanted(blocks * format.bytes), got(wanted.size());
  for (size_t b = 0; b < blocks; ++b) {
    BlockNumbers numbers{};
    EncodeBlockReference(format, x.data() + b * format.elements, ones.data(), &numbers);
    format.pack(numbers, wanted.data() + b * format.bytes);
  }
  for (const std::string& target : SimdTargets()) {
    Require(ForceSimdTarget(target).ok(), "a listed target can be forced");
    EncodeBlocks(format, x.data(), nullptr, format.elements, blocks, got.data());
    Require(got == wanted, "bytes are the reference's");
  }
  DecodeBlocks(format, got.data(), blocks);
}

}  // namespace
}  // namespace smelt::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const smelt::BlockFormat* format = smelt::fuzz::Choose(data[0]);
  if (format == nullptr) return 0;
  const bool encode = (data[1] & 1) != 0 && format->pack != nullptr;
  const size_t step = encode ? format->elements * sizeof(float) : format->bytes;
  const size_t blocks = (size - 2) / step;
  if (blocks == 0) return 0;
  if (encode) {
    smelt::fuzz::EncodeValues(*format, data + 2, blocks);
  } else {
    smelt::fuzz::DecodeBlocks(*format, data + 2, blocks);
  }
  return 0;
}
