// Rows side by side, included once per instruction set (interleaved.cc). A lane is a row; a word is
// what lies side by side: four bytes of each row of a group.
//
// Codes are unsigned bytes of few bits; what a format subtracts from them (its zero point or
// minimum) is taken off through the sums of the activations.

// No include guard: see above.

namespace smelt {
namespace SMELT_LANES_NAMESPACE {

constexpr size_t kLanes = SMELT_LANES;
typedef uint32_t Words __attribute__((vector_size(4 * SMELT_LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * SMELT_LANES)));
typedef float Floats __attribute__((vector_size(4 * SMELT_LANES)));

// What differs between instruction sets.
#if SMELT_LANES == 16
typedef __m512i Bits;
SMELT_LANES_INLINE Floats Fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
/// The f16 in the lower halves of words.
SMELT_LANES_INLINE Floats LowHalves(Words v) {
  return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(reinterpret_cast<Bits>(v)));
}
/// The f16 in both halves of words.
SMELT_LANES_INLINE void Halves(Words v, Floats& low, Floats& high) {
  low = LowHalves(v);
  high = LowHalves(v >> 16);
}
/// table[code] for bytes below 16.
SMELT_LANES_INLINE Words LookUp(__m128i table, Words codes) {
  return reinterpret_cast<Words>(
      _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), reinterpret_cast<Bits>(codes)));
}
#else
typedef __m256i Bits;
SMELT_LANES_INLINE Floats Fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
SMELT_LANES_INLINE Floats LowHalves(Words v) {
  const Bits low = reinterpret_cast<Bits>(v & 0xffffu);
  return _mm256_cvtph_ps(
      _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
}
SMELT_LANES_INLINE void Halves(Words v, Floats& low, Floats& high) {
  const Bits low_first = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
  const Bits apart = _mm256_permute4x64_epi64(
      _mm256_shuffle_epi8(reinterpret_cast<Bits>(v), low_first), _MM_SHUFFLE(3, 1, 2, 0));
  low = _mm256_cvtph_ps(_mm256_castsi256_si128(apart));
  high = _mm256_cvtph_ps(_mm256_extracti128_si256(apart, 1));
}
SMELT_LANES_INLINE Words LookUp(__m128i table, Words codes) {
  return reinterpret_cast<Words>(
      _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), reinterpret_cast<Bits>(codes)));
}
#endif

SMELT_LANES_INLINE Words Word(const uint8_t* block, size_t i) {
  Words v;
  std::memcpy(&v, block + i * sizeof(v), sizeof(v));
  return v;
}
SMELT_LANES_INLINE Floats ToFloats(Words v) {  // of values below 2^31
  return __builtin_convertvector(reinterpret_cast<Ints>(v), Floats);
}
/// Byte i of each word, as it is and as a signed value.
SMELT_LANES_INLINE Floats Byte(Words v, size_t i) { return ToFloats((v >> (8 * i)) & 255u); }
SMELT_LANES_INLINE Floats SignedByte(Words v, size_t i) {
  return __builtin_convertvector(reinterpret_cast<Ints>(v << (24 - 8 * i)) >> 24, Floats);
}

/// Bits `shift` on (as many as `mask` has) of each byte, moved to bit kTo.
template <size_t kTo>
SMELT_LANES_INLINE Words BitsAt(Words v, size_t shift, uint32_t mask) {
  const Words moved = shift < kTo ? v << (kTo - shift) : v >> (shift - kTo);
  return moved & ((mask << kTo) * 0x01010101u);
}

constexpr uint32_t kLow4 = 0x0f0f0f0f, kLow2 = 0x03030303;

/// Four activations, for every lane.
SMELT_LANES_INLINE Bits FourOf(const int8_t* x) {
  int32_t four;
  std::memcpy(&four, x, sizeof(four));
  return reinterpret_cast<Bits>(Ints{} + four);
}

/// Sums of codes times the activations from `x` on, 4 kWords of them; codes(k) are the bytes of
/// word k, none above kLargest. Without an instruction that adds four products, as many pairs are
/// added in 16 bits as fit there.
template <size_t kWords, int kLargest, typename Codes>
SMELT_LANES_INLINE Floats Products(const int8_t* x, const Codes& codes) {
#if SMELT_LANES_HAS_VNNI
  Bits sum = reinterpret_cast<Bits>(Ints{});
#pragma GCC unroll 8
  for (size_t k = 0; k < kWords; ++k)
    sum = SMELT_LANES_VNNI(sum, reinterpret_cast<Bits>(codes(k)), FourOf(x + 4 * k));
  return __builtin_convertvector(reinterpret_cast<Ints>(sum), Floats);
#else
  constexpr size_t kFit = std::min(kWords, std::bit_floor(size_t{32767} / (2 * 127 * kLargest)));
  static_assert(kFit > 0 && kWords % kFit == 0);
  Ints sum{};
#pragma GCC unroll 8
  for (size_t first = 0; first < kWords; first += kFit) {
    Bits pairs = reinterpret_cast<Bits>(Ints{});
#pragma GCC unroll 8
    for (size_t k = first; k < first + kFit; ++k) {
      pairs = _mm256_add_epi16(
          pairs, _mm256_maddubs_epi16(reinterpret_cast<Bits>(codes(k)), FourOf(x + 4 * k)));
    }
    sum += reinterpret_cast<Ints>(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  return __builtin_convertvector(sum, Floats);
#endif
}

/// Codes at most so large are added up as they are; of larger ones two products do not fit into 16
/// bits.
constexpr bool FitsUnsigned(int largest) { return SMELT_LANES_HAS_VNNI || largest <= 128; }

/// What is added to signed values, none further from zero than kBelow, where that fits; what it
/// adds to their products is for the caller to take off.
template <int kBelow>
constexpr int kZeroOf = FitsUnsigned(2 * kBelow) ? kBelow : 0;

/// Products of signed values; values(k) has kZeroOf<kBelow> added.
template <size_t kWords, int kBelow, typename Values>
SMELT_LANES_INLINE Floats SignedProducts(const int8_t* x, const Values& values) {
#if SMELT_LANES_HAS_VNNI
  return Products<kWords, 2 * kBelow>(x, values);
#else
  if constexpr (FitsUnsigned(2 * kBelow)) {
    return Products<kWords, 2 * kBelow>(x, values);
  } else {
    Ints sum{};
#pragma GCC unroll 8
    for (size_t k = 0; k < kWords; ++k) {
      const Bits value = reinterpret_cast<Bits>(values(k));
      const Bits pairs =
          _mm256_maddubs_epi16(_mm256_abs_epi8(value), _mm256_sign_epi8(FourOf(x + 4 * k), value));
      sum += reinterpret_cast<Ints>(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    return __builtin_convertvector(sum, Floats);
  }
#endif
}

}  // namespace SMELT_LANES_NAMESPACE
}  // namespace smelt
