// What a block format is: its arithmetic as data, its packing as code. Everything else (decoding,
// dot products, the search for scales) is shared by all formats.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "lib/base/tensor_type.h"

namespace smelt {

inline constexpr uint32_t kMaxBlockElements = 256;
inline constexpr uint32_t kMaxBlockGroups = 16;

/// The numbers of one encoded block before they are packed. With linear codes, value = d * scale[g]
/// * code - m * minimum[g] in a super-block; d * code + m in a simple block, where `scales` and
/// `minimums` are not used. With a codebook, `scales` hold what is stored.
struct BlockNumbers {
  uint16_t d, m;  ///< f16 bits
  std::array<int8_t, kMaxBlockGroups> scales;
  std::array<int8_t, kMaxBlockGroups> minimums;
  std::array<int8_t, kMaxBlockElements> codes;  ///< code_min .. code_max, or values of levels
  // Codebooks of granules.
  std::array<uint16_t, kMaxBlockElements / 4> entries;  ///< numbers of entries
  /// Per octet: bit k set where element k is negative; 1 where codes are shifted down.
  std::array<uint8_t, kMaxBlockElements / 8> signs;
};

/// One block to the common form (see Unpacked8): `elements` codes, `elements / group` scales and
/// minimums.
using UnpackBlockFn = void (*)(const uint8_t* block, int8_t* codes, float* scales, float* minimums);
using PackBlockFn = void (*)(const BlockNumbers& numbers, uint8_t* block);

struct CodebookFormat;

struct BlockFormat {
  TensorType type;
  uint32_t elements, bytes;  ///< of a block
  uint32_t group;            ///< elements that share a scale: 16 or 32
  bool minimum;              ///< groups have a minimum besides the scale
  int code_min, code_max;    ///< range of the codes that the encoder uses
  int scale_min,
      scale_max;         ///< range of a super-block's integer sub-scales; both 0 in a simple block
  bool searched;         ///< false: the largest value simply gets the largest code
  UnpackBlockFn unpack;  ///< the scalar reference: reads like the format's definition
  UnpackBlockFn fast_unpack;  ///< the same, faster; null where the reference is fast enough
  PackBlockFn pack;
  const CodebookFormat* codebook;  ///< how its encoder sees it; null where codes are linear
  /// False when the block's scales make values that are no numbers.
  bool (*valid)(const uint8_t* block);

  constexpr uint32_t groups() const { return elements / group; }
  constexpr bool super_block() const { return scale_max != 0; }
};

/// The format's description; nullptr for types that are no block formats.
const BlockFormat* FindBlockFormat(TensorType type);

// One file each.
extern const BlockFormat kFormatQ4_0, kFormatQ4_1, kFormatQ5_0, kFormatQ5_1, kFormatQ8_0;
extern const BlockFormat kFormatQ2_K, kFormatQ3_K, kFormatQ4_K, kFormatQ5_K, kFormatQ6_K;
extern const BlockFormat kFormatIQ1_S, kFormatIQ1_M, kFormatIQ2_XXS, kFormatIQ2_XS, kFormatIQ2_S;
extern const BlockFormat kFormatIQ3_XXS, kFormatIQ3_S, kFormatIQ4_NL, kFormatIQ4_XS;
extern const BlockFormat kFormatTQ1_0, kFormatTQ2_0, kFormatMXFP4, kFormatNVFP4;
extern const BlockFormat kFormatQ1_0, kFormatQ2_0;

}  // namespace smelt
