#include "quant/float_codecs.h"

#include <cstring>

#include "quant/block_bytes.h"
#include "quant/block_kernels.h"

namespace smelt {
namespace {

/// What the three have in common: no integer form, and elements that must be finite.
class FloatCodec : public Codec {
 public:
  explicit FloatCodec(TensorType type) : type_(type) {}
  TensorType type() const override { return type_; }
  void DotQ8(const std::byte*, uint64_t, uint64_t, const Activations8&, float*) const override {}
  uint32_t unpack_group() const override { return 0; }
  bool unpack_has_minimum() const override { return false; }
  CodeRange unpack_range() const override { return {}; }
  void Unpack8(const std::byte*, uint64_t, Unpacked8) const override {}

 protected:
  /// First of `count` unsigned elements whose exponent bits (`mask`) are all set.
  template <typename Bits>
  static bool AllFinite(const std::byte* in, uint64_t count, Bits mask, uint64_t* block) {
    for (uint64_t i = 0; i < count; ++i) {
      Bits bits;
      std::memcpy(&bits, in + i * sizeof(Bits), sizeof(Bits));
      if ((bits & mask) == mask) {
        *block = i;
        return false;
      }
    }
    return true;
  }

 private:
  TensorType type_;
};

class F32Codec final : public FloatCodec {
 public:
  F32Codec() : FloatCodec(TensorType::kF32) {}
  void Encode(const float* x, uint64_t rows, uint64_t columns, const float*, std::byte* out,
              EncodeScratch&) const override {
    std::memcpy(out, x, rows * columns * sizeof(float));
  }
  void Decode(const std::byte* in, uint64_t count, float* out) const override {
    std::memcpy(out, in, count * sizeof(float));
  }
  bool Validate(const std::byte* in, uint64_t count, uint64_t* block) const override {
    return AllFinite<uint32_t>(in, count, 0x7f800000u, block);
  }
  float Dot(const std::byte* row, const float* x, uint64_t count) const override {
    return DotF32(reinterpret_cast<const float*>(row), x, count);
  }
};

class F16Codec final : public FloatCodec {
 public:
  F16Codec() : FloatCodec(TensorType::kF16) {}
  void Encode(const float* x, uint64_t rows, uint64_t columns, const float*, std::byte* out,
              EncodeScratch&) const override {
    F32ToF16(x, rows * columns, out);
  }
  void Decode(const std::byte* in, uint64_t count, float* out) const override {
    F16ToF32(in, count, out);
  }
  bool Validate(const std::byte* in, uint64_t count, uint64_t* block) const override {
    return AllFinite<uint16_t>(in, count, 0x7c00u, block);
  }
  float Dot(const std::byte* row, const float* x, uint64_t count) const override {
    return DotF16(row, x, count);
  }
};

class Bf16Codec final : public FloatCodec {
 public:
  Bf16Codec() : FloatCodec(TensorType::kBF16) {}
  void Encode(const float* x, uint64_t rows, uint64_t columns, const float*, std::byte* out,
              EncodeScratch&) const override {
    F32ToBf16(x, rows * columns, out);
  }
  void Decode(const std::byte* in, uint64_t count, float* out) const override {
    Bf16ToF32(in, count, out);
  }
  bool Validate(const std::byte* in, uint64_t count, uint64_t* block) const override {
    return AllFinite<uint16_t>(in, count, 0x7f80u, block);
  }
  float Dot(const std::byte* row, const float* x, uint64_t count) const override {
    return DotBf16(row, x, count);
  }
};

}  // namespace

const Codec* FindFloatCodec(TensorType type) {
  static const F32Codec f32;
  static const F16Codec f16;
  static const Bf16Codec bf16;
  switch (type) {
    case TensorType::kF32:
      return &f32;
    case TensorType::kF16:
      return &f16;
    case TensorType::kBF16:
      return &bf16;
    default:
      return nullptr;
  }
}

}  // namespace smelt
