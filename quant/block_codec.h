// The codec of any block format, driven by its BlockFormat.
#pragma once

#include "quant/block_format.h"
#include "quant/codec.h"

namespace smelt {

class BlockCodec final : public Codec {
 public:
  explicit BlockCodec(const BlockFormat& format) : format_(format) {}

  TensorType type() const override { return format_.type; }
  void Decode(const std::byte* in, uint64_t count, float* out) const override;
  bool Validate(const std::byte* in, uint64_t count, uint64_t* block) const override;
  float Dot(const std::byte* row, const float* x, uint64_t count) const override;
  void DotQ8(const std::byte* weights, uint64_t rows, uint64_t columns, const Activations8& x,
             float* out) const override;
  uint32_t unpack_group() const override { return format_.group; }
  bool unpack_has_minimum() const override { return format_.minimum; }
  CodeRange unpack_range() const override;
  void Unpack8(const std::byte* in, uint64_t count, Unpacked8 out) const override;

 private:
  const BlockFormat& format_;
};

}  // namespace smelt
