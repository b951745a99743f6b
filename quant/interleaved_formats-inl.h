// The formats of interleaved-inl.h: where the words of their blocks come from, and how a block's
// products are added up.

// No include guard: included once per instruction set.

#include "quant/lanes-inl.h"

namespace smelt {
namespace SMELT_LANES_NAMESPACE {

// Formats. kWordsFrom says where in a block each word comes from: they lie in the order in which
// they are needed, since memory is read ahead only for those who go through it in order. A scale
// that is no word (kTailBytes of it, at the block's begin) shares one with those of the next
// blocks, before the words of these. Add adds a block's products to the sums of the rows.

template <size_t kCount>
using Places = std::array<uint16_t, kCount>;

/// Words one after the other.
template <size_t kCount>
constexpr Places<kCount> InOrder(size_t first) {
  Places<kCount> places{};
  for (size_t i = 0; i < kCount; ++i) places[i] = static_cast<uint16_t>(first + 4 * i);
  return places;
}

/// What scale and minimum, two f16 to a word, add.
SMELT_LANES_INLINE Floats AddBoth(Words d, Floats by_scale, Floats by_minimum, Floats total) {
  Floats scale, minimum;
  Halves(d, scale, minimum);
  return Fma(minimum, by_minimum, Fma(scale, by_scale, total));
}

/// Q4_K and Q5_K: d; dmin; scales and minimums of 6 bits (k_scales.h); (fifth bits;) nibbles.
template <bool kFifthBit>
struct LanesQ45_K {
  static constexpr size_t kElements = 256, kBytes = kFifthBit ? 176 : 144, kTailBytes = 0;
  static constexpr auto kWordsFrom = InOrder<(kFifthBit ? 44 : 36)>(0);
  static constexpr size_t kNibbles = kFifthBit ? 12 : 4;
  static SMELT_LANES_INLINE Floats Add(const uint8_t* words, Words, const Activations8& x,
                                       Floats total) {
    constexpr uint32_t kLow6 = 0x3f3f3f3f, kUpper2 = 0x30303030;
    const Words d = Word(words, 0), a = Word(words, 1), b = Word(words, 2), c = Word(words, 3);
    const Words scales[2] = {a & kLow6, (c & kLow4) | ((a >> 2) & kUpper2)};
    const Words minimums[2] = {b & kLow6, ((c >> 4) & kLow4) | ((b >> 2) & kUpper2)};
    Floats sum{}, below{};
#pragma GCC unroll 8
    for (size_t g = 0; g < 8; ++g) {
      const auto codes = [&](size_t k) {
        const Words nibbles = (Word(words, kNibbles + g / 2 * 8 + k) >> (g % 2 * 4)) & kLow4;
        if constexpr (!kFifthBit) return nibbles;
        return nibbles | BitsAt<4>(Word(words, 4 + k), g, 1);
      };
      const Floats products = Products<8, (kFifthBit ? 31 : 15)>(x.codes + 32 * g, codes);
      sum = Fma(products, Byte(scales[g / 4], g % 4) * x.scales[g], sum);
      below = Fma(Byte(minimums[g / 4], g % 4), Floats{} + x.pair_sums[g], below);
    }
    return AddBoth(d, sum, -below, total);
  }
};

/// What the formats with sixteen groups share: codes(h, half, j, k) are the codes from element
/// 128 h + 32 j + 16 half + 4 k on, scale(g) is the scale of those from element 16 g on. `below`,
/// if any, gets the scales times the sums of activations.
template <int kLargest, typename Codes, typename Scale>
SMELT_LANES_INLINE void AddSixteen(const Activations8& x, const Codes& codes, const Scale& scale,
                                   Floats* sum, Floats* below) {
#pragma GCC unroll 2
  for (size_t half = 0; half < 2; ++half) {
#pragma GCC unroll 2
    for (size_t h = 0; h < 2; ++h) {
#pragma GCC unroll 4
      for (size_t j = 0; j < 4; ++j) {
        const size_t g = 8 * h + 2 * j + half;
        const Floats s = scale(g);
        const Floats products =
            Products<4, kLargest>(x.codes + 16 * g, [&](size_t k) { return codes(h, half, j, k); });
        *sum = Fma(products, s * x.scales[g / 2], *sum);
        if (below != nullptr) *below = Fma(s, Floats{} + x.sums[g], *below);
      }
    }
  }
}

/// d (the upper half of a word); scales; then for each half of each h the low bits of j = 0 and 1
/// and the upper bits.
constexpr size_t AtQ6_K(size_t h, size_t half) { return 5 + 12 * (2 * half + h); }
struct LanesQ6_K {
  static constexpr size_t kElements = 256, kBytes = 210, kTailBytes = 0;
  static constexpr auto kWordsFrom = [] {
    Places<53> places{206, 192, 196, 200, 204};
    for (size_t h = 0; h < 2; ++h) {
      for (size_t half = 0; half < 2; ++half) {
        for (size_t k = 0; k < 4; ++k) {
          const size_t at = AtQ6_K(h, half) + k, byte = 16 * half + 4 * k;
          places[at + k] = static_cast<uint16_t>(64 * h + byte);
          places[at + k + 1] = static_cast<uint16_t>(128 + 32 * h + byte);
          places[at + 8] = static_cast<uint16_t>(64 * h + 32 + byte);
        }
      }
    }
    return places;
  }();
  static SMELT_LANES_INLINE Floats Add(const uint8_t* words, Words, const Activations8& x,
                                       Floats total) {
    Floats sum{}, below{};
    AddSixteen<63>(
        x,
        [words](size_t h, size_t half, size_t j, size_t k) {
          const size_t at = AtQ6_K(h, half) + k;
          const Words low = (Word(words, j % 2 == 0 ? at + k : at + 8) >> (j / 2 * 4)) & kLow4;
          return low | BitsAt<4>(Word(words, at + k + 1), 2 * j, 3);
        },
        [words](size_t g) { return SignedByte(Word(words, 1 + g / 4), g % 4); }, &sum, &below);
    return Fma(LowHalves(Word(words, 0) >> 16), Fma(below, Floats{} - 32.0f, sum), total);
  }
};

/// d (the upper half of a word); scales; then for each half the third bits and the low bits of both
/// h.
constexpr size_t AtQ3_K(size_t half) { return 4 + 12 * half; }
struct LanesQ3_K {
  static constexpr size_t kElements = 256, kBytes = 110, kTailBytes = 0;
  static constexpr auto kWordsFrom = [] {
    Places<28> places{106, 96, 100, 104};
    for (size_t half = 0; half < 2; ++half) {
      for (size_t k = 0; k < 4; ++k) {
        const size_t at = AtQ3_K(half) + k, byte = 16 * half + 4 * k;
        places[at] = static_cast<uint16_t>(byte);
        places[at + 4] = static_cast<uint16_t>(32 + byte);
        places[at + 8] = static_cast<uint16_t>(64 + byte);
      }
    }
    return places;
  }();
  static SMELT_LANES_INLINE Floats Add(const uint8_t* words, Words, const Activations8& x,
                                       Floats total) {
    constexpr uint32_t kUpper2 = 0x30303030;
    const Words a = Word(words, 1), b = Word(words, 2), u = Word(words, 3);
    const Words scales[4] = {(a & kLow4) | ((u << 4) & kUpper2), (b & kLow4) | ((u << 2) & kUpper2),
                             ((a >> 4) & kLow4) | (u & kUpper2),
                             ((b >> 4) & kLow4) | ((u >> 2) & kUpper2)};
    Floats sum{}, below{};
    AddSixteen<7>(
        x,
        [words](size_t h, size_t half, size_t j, size_t k) {
          const size_t at = AtQ3_K(half) + k;
          return ((Word(words, at + 4 + 4 * h) >> (2 * j)) & kLow2) |
                 BitsAt<2>(Word(words, at), 4 * h + j, 1);
        },
        [&scales](size_t g) { return Byte(scales[g / 4], g % 4) - 32.0f; }, &sum, &below);
    return Fma(LowHalves(Word(words, 0) >> 16), Fma(below, Floats{} - 4.0f, sum), total);
  }
};

/// d; dmin; scales and minimums; then the codes of each half of each h.
constexpr size_t AtQ2_K(size_t h, size_t half) { return 5 + 4 * (2 * half + h); }
struct LanesQ2_K {
  static constexpr size_t kElements = 256, kBytes = 84, kTailBytes = 0;
  static constexpr auto kWordsFrom = [] {
    Places<21> places{80, 0, 4, 8, 12};
    for (size_t h = 0; h < 2; ++h) {
      for (size_t half = 0; half < 2; ++half) {
        for (size_t k = 0; k < 4; ++k)
          places[AtQ2_K(h, half) + k] = static_cast<uint16_t>(16 + 32 * h + 16 * half + 4 * k);
      }
    }
    return places;
  }();
  static SMELT_LANES_INLINE Floats Add(const uint8_t* words, Words, const Activations8& x,
                                       Floats total) {
    const auto packed = [words](size_t g) { return Word(words, 1 + g / 4); };
    Floats below{};
#pragma GCC unroll 16
    for (size_t g = 0; g < 16; ++g)
      below = Fma(Byte((packed(g) >> 4) & kLow4, g % 4), Floats{} + x.sums[g], below);
    Floats sum{};
    AddSixteen<3>(
        x,
        [words](size_t h, size_t half, size_t j, size_t k) {
          return (Word(words, AtQ2_K(h, half) + k) >> (2 * j)) & kLow2;
        },
        [&](size_t g) { return Byte(packed(g) & kLow4, g % 4); }, &sum, nullptr);
    return AddBoth(Word(words, 0), sum, -below, total);
  }
};

/// 32 nibbles as the simple formats lay them out, the low ones first.
struct Nibbles {
  const uint8_t* words;
  SMELT_LANES_INLINE Words operator()(size_t k) const {
    return (Word(words, k % 4) >> (k / 4 * 4)) & kLow4;
  }
};

/// The values of a table by these nibbles.
template <int kBelow>
struct TableValues {
  __m128i table;
  Nibbles nibbles;
  SMELT_LANES_INLINE TableValues(const int8_t (&values)[16], const uint8_t* words)
      : table(_mm_add_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(values)),
                           _mm_set1_epi8(static_cast<char>(kZeroOf<kBelow>)))),
        nibbles{words} {}
  SMELT_LANES_INLINE Words operator()(size_t k) const { return LookUp(table, nibbles(k)); }
};

struct LanesIQ4_XS {
  static constexpr size_t kElements = 256, kBytes = 136, kTailBytes = 0;
  static constexpr auto kWordsFrom = InOrder<34>(0);
  static SMELT_LANES_INLINE Floats Add(const uint8_t* words, Words, const Activations8& x,
                                       Floats total) {
    const Words d = Word(words, 0), low = Word(words, 1), high = d >> 16;
    Floats sum{}, below{};
#pragma GCC unroll 8
    for (size_t g = 0; g < 8; ++g) {
      const Words bits = ((low >> (4 * g)) & 15u) | (((high >> (2 * g)) & 3u) << 4);
      const Floats scale = ToFloats(bits) - 32.0f;
      const TableValues<127> values(kIq4Values, words + (2 + 4 * g) * sizeof(Words));
      sum = Fma(SignedProducts<8, 127>(x.codes + 32 * g, values), scale * x.scales[g], sum);
      below = Fma(scale, Floats{} + x.pair_sums[g], below);
    }
    return Fma(LowHalves(d), Fma(below, Floats{} - float{kZeroOf<127>}, sum), total);
  }
};

/// A block of 32 under the scale d, from whose codes `zero` is subtracted.
SMELT_LANES_INLINE Floats AddSimple(Floats d, Floats products, float zero, const Activations8& x,
                                    Floats total) {
  return Fma(d, Fma(products, Floats{} + x.scales[0], Floats{} - zero * x.pair_sums[0]), total);
}
/// The same with a minimum (of the other sign) behind the scale.
SMELT_LANES_INLINE Floats AddWithMinimum(Words d, Floats products, const Activations8& x,
                                         Floats total) {
  return AddBoth(d, products * x.scales[0], Floats{} + x.pair_sums[0], total);
}

struct LanesQ4_0 {
  static constexpr size_t kElements = 32, kBytes = 18, kTailBytes = 2;
  static constexpr auto kWordsFrom = InOrder<4>(2);
  static SMELT_LANES_INLINE Floats Add(const uint8_t* words, Words tail, const Activations8& x,
                                       Floats total) {
    return AddSimple(LowHalves(tail), Products<8, 15>(x.codes, Nibbles{words}), 8, x, total);
  }
};

struct LanesQ4_1 {
  static constexpr size_t kElements = 32, kBytes = 20, kTailBytes = 0;
  static constexpr auto kWordsFrom = InOrder<5>(0);
  static SMELT_LANES_INLINE Floats Add(const uint8_t* words, Words, const Activations8& x,
                                       Floats total) {
    const Nibbles codes{words + sizeof(Words)};
    return AddWithMinimum(Word(words, 0), Products<8, 15>(x.codes, codes), x, total);
  }
};

/// Nibbles with fifth bits: bit i is that of element i.
struct FiveBits {
  Words bits;
  Nibbles nibbles;
  SMELT_LANES_INLINE Words operator()(size_t k) const {
    const Words four = (bits >> (4 * k)) & 15u;
    const Words spread = four | (four << 7) | (four << 14) | (four << 21);  // one to a byte
    return nibbles(k) | ((spread & 0x01010101u) << 4);
  }
};

struct LanesQ5_0 {
  static constexpr size_t kElements = 32, kBytes = 22, kTailBytes = 2;
  static constexpr auto kWordsFrom = InOrder<5>(2);
  static SMELT_LANES_INLINE Floats Add(const uint8_t* words, Words tail, const Activations8& x,
                                       Floats total) {
    const FiveBits codes{Word(words, 0), {words + sizeof(Words)}};
    return AddSimple(LowHalves(tail), Products<8, 31>(x.codes, codes), 16, x, total);
  }
};

struct LanesQ5_1 {
  static constexpr size_t kElements = 32, kBytes = 24, kTailBytes = 0;
  static constexpr auto kWordsFrom = InOrder<6>(0);
  static SMELT_LANES_INLINE Floats Add(const uint8_t* words, Words, const Activations8& x,
                                       Floats total) {
    const FiveBits codes{Word(words, 1), {words + 2 * sizeof(Words)}};
    return AddWithMinimum(Word(words, 0), Products<8, 31>(x.codes, codes), x, total);
  }
};

struct LanesQ8_0 {
  static constexpr size_t kElements = 32, kBytes = 34, kTailBytes = 2;
  static constexpr auto kWordsFrom = InOrder<8>(2);
  static SMELT_LANES_INLINE Floats Add(const uint8_t* words, Words tail, const Activations8& x,
                                       Floats total) {
    const auto values = [words](size_t k) {
      return Word(words, k) ^ (kZeroOf<128> != 0 ? 0x80808080u : 0u);
    };
    return AddSimple(LowHalves(tail), SignedProducts<8, 128>(x.codes, values), kZeroOf<128>, x,
                     total);
  }
};

struct LanesIQ4_NL {
  static constexpr size_t kElements = 32, kBytes = 18, kTailBytes = 2;
  static constexpr auto kWordsFrom = InOrder<4>(2);
  static SMELT_LANES_INLINE Floats Add(const uint8_t* words, Words tail, const Activations8& x,
                                       Floats total) {
    const TableValues<127> values(kIq4Values, words);
    return AddSimple(LowHalves(tail), SignedProducts<8, 127>(x.codes, values), kZeroOf<127>, x,
                     total);
  }
};

struct LanesMXFP4 {
  static constexpr size_t kElements = 32, kBytes = 17, kTailBytes = 1;
  static constexpr auto kWordsFrom = InOrder<4>(1);
  static SMELT_LANES_INLINE Floats Add(const uint8_t* words, Words tail, const Activations8& x,
                                       Floats total) {
    const TableValues<12> values(kFp4Doubled, words);
    // HalfE8M0 of each lane.
    const Words e = tail & 255u;
    const Words d = e < 2u ? (Words{} + 0x00200000u) << (e & 1u) : (e - 1u) << 23;
    return AddSimple(reinterpret_cast<Floats>(d), SignedProducts<8, 12>(x.codes, values),
                     kZeroOf<12>, x, total);
  }
};

struct LanesF16 {
  static constexpr size_t kElements = 2, kBytes = 4, kTailBytes = 0;
  static constexpr auto kWordsFrom = InOrder<1>(0);
  static SMELT_LANES_INLINE void Values(Words w, Floats& first, Floats& second) {
    Halves(w, first, second);
  }
};
struct LanesBF16 {
  static constexpr size_t kElements = 2, kBytes = 4, kTailBytes = 0;
  static constexpr auto kWordsFrom = InOrder<1>(0);
  static SMELT_LANES_INLINE void Values(Words w, Floats& first, Floats& second) {
    first = reinterpret_cast<Floats>(w << 16);
    second = reinterpret_cast<Floats>(w & 0xffff0000u);
  }
};

}  // namespace SMELT_LANES_NAMESPACE
}  // namespace smelt
