#include "quant/codec.h"

#include <array>
#include <memory>

#include "quant/block_codec.h"
#include "quant/float_codecs.h"

namespace smelt {
namespace {

constexpr std::array kFormats = {
    &kFormatQ4_0,    &kFormatQ4_1,  &kFormatQ5_0,    &kFormatQ5_1,   &kFormatQ8_0,
    &kFormatQ2_K,    &kFormatQ3_K,  &kFormatQ4_K,    &kFormatQ5_K,   &kFormatQ6_K,
    &kFormatIQ1_S,   &kFormatIQ1_M, &kFormatIQ2_XXS, &kFormatIQ2_XS, &kFormatIQ2_S,
    &kFormatIQ3_XXS, &kFormatIQ3_S, &kFormatIQ4_NL,  &kFormatIQ4_XS, &kFormatTQ1_0,
    &kFormatTQ2_0,   &kFormatMXFP4, &kFormatNVFP4,   &kFormatQ1_0,   &kFormatQ2_0};

constexpr size_t kTypeLimit = 64;

/// Codecs by type id.
using Table = std::array<std::unique_ptr<const BlockCodec>, kTypeLimit>;

const Table& BlockCodecs() {
  static const Table table = [] {
    Table made;
    for (const BlockFormat* format : kFormats) {
      made[static_cast<size_t>(format->type)] = std::make_unique<BlockCodec>(*format);
    }
    return made;
  }();
  return table;
}

}  // namespace

const BlockFormat* FindBlockFormat(TensorType type) {
  for (const BlockFormat* format : kFormats) {
    if (format->type == type) return format;
  }
  return nullptr;
}

const Codec* FindCodec(TensorType type) {
  if (const Codec* codec = FindFloatCodec(type)) return codec;
  const size_t id = static_cast<size_t>(type);
  return id < kTypeLimit ? BlockCodecs()[id].get() : nullptr;
}

}  // namespace smelt
