// Codebooks of the IQ formats, as the decoders use them. They are the work of the ggml authors: see
// NOTICE.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace smelt {

struct IqTables {
  int8_t iq2_xxs[256][8], iq2_xs[512][8], iq2_s[1024][8];  ///< 8, 25, 43
  int8_t iq3_xxs[256][4];                                  ///< 4, 12, .. 52, 62
  int8_t iq3_s[512][4];                                    ///< 1, 3, .. 15
  int8_t iq1[2048][8];                                     ///< -1, 0, 1
};
extern const IqTables kIqTables;

/// Values of the 4-bit codes of IQ4_NL and IQ4_XS.
inline constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};
/// Packs 32 of them as 16 bytes: the first half in low nibbles, the second in high.
void PackIq4(const int8_t* values, uint8_t* out);

/// Twice the values of the 4-bit floats (E2M1) of MXFP4 and NVFP4.
inline constexpr int8_t kFp4Doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/// The same, ascending and each once.
inline constexpr int8_t kFp4Levels[15] = {-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12};

/// The code of a doubled 4-bit float.
inline int Fp4Code(int8_t doubled) {
  constexpr int8_t kMagnitudes[13] = {0, 1, 2, 3, 4, 0, 5, 0, 6, 0, 0, 0, 7};
  return doubled < 0 ? 8 | kMagnitudes[-doubled] : kMagnitudes[doubled];
}

/// Seven stored sign bits; the eighth makes their number even.
constexpr uint8_t EvenSigns(uint32_t bits7) {
  return static_cast<uint8_t>(bits7 | ((static_cast<uint32_t>(std::popcount(bits7)) & 1) << 7));
}
inline constexpr auto kEvenSigns = [] {
  std::array<uint8_t, 128> signs{};
  for (uint32_t bits7 = 0; bits7 < 128; ++bits7) signs[bits7] = EvenSigns(bits7);
  return signs;
}();

/// For each byte of sign bits eight bytes that are 255 where the bit is set.
inline constexpr auto kSignMasks = [] {
  std::array<std::array<uint8_t, 8>, 256> masks{};
  for (size_t signs = 0; signs < 256; ++signs)
    for (size_t k = 0; k < 8; ++k) masks[signs][k] = (signs >> k) & 1 ? 255 : 0;
  return masks;
}();

/// Eight values above zero of a grid, negative where the sign bit is set: all at once, as ~v + 1,
/// which carries nothing into the next byte.
inline void SignedOctet(const int8_t* grid, uint8_t signs, int8_t* codes) {
  uint64_t values, mask;
  std::memcpy(&values, grid, 8);
  std::memcpy(&mask, kSignMasks[signs].data(), 8);
  values = (values ^ mask) + (mask & 0x0101010101010101u);
  std::memcpy(codes, &values, 8);
}

/// Eight times a grid's values of -1, 0, 1, and one more, or one less where `down`.
inline void ShiftedOctet(const int8_t* grid, bool down, int8_t* codes) {
  for (int k = 0; k < 8; ++k) codes[k] = static_cast<int8_t>(8 * grid[k] + (down ? -1 : 1));
}

}  // namespace smelt
