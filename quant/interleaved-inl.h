// The kernels of interleaved.cc, included once per instruction set. A lane is a row; a word is what
// lies side by side: four bytes of each row of a group.
//
// Codes are unsigned bytes of few bits; what a format subtracts from them (its zero point or
// minimum) is taken off through the sums of the activations.

// No include guard: see above.

namespace smelt {
namespace SMELT_LANES_NAMESPACE {

#define SMELT_LANES_INLINE inline __attribute__((always_inline))

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
    total = Fma(LowHalves(d), sum, total);
    return Fma(-LowHalves(d >> 16), below, total);
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
    const Words d = Word(words, 0);
    total = Fma(LowHalves(d), sum, total);
    return Fma(-LowHalves(d >> 16), below, total);
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
  total = Fma(LowHalves(d), products * x.scales[0], total);
  return Fma(LowHalves(d >> 16), Floats{} + x.pair_sums[0], total);
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

/// Asks for what is needed a page later: processors read ahead by themselves, but most not beyond a
/// page's end.
SMELT_LANES_INLINE void ReadAhead(const uint8_t* words, size_t bytes) {
#if SMELT_LANES_READ_AHEAD
#pragma GCC unroll 32
  for (size_t i = 0; i < bytes; i += 64)
    _mm_prefetch(reinterpret_cast<const char*>(words + i + 4096), _MM_HINT_T0);
#endif
}

/// How the words of a format's rows lie.
template <typename Format>
struct Layout {
  static constexpr size_t kWords = Format::kWordsFrom.size();
  static constexpr size_t kTailBytes = Format::kTailBytes;
  static constexpr size_t kBlockBytes = Format::kBytes;
  /// Blocks that share a word of scales, and words of all of them.
  static constexpr size_t kBlocks = kTailBytes == 0 ? 1 : 4 / kTailBytes;
  static constexpr size_t kTails = kTailBytes == 0 ? 0 : 1;
  static constexpr size_t kSharedWords = kTails + kBlocks * kWords;

  static uint64_t GroupBytes(uint64_t columns) {
    return (columns / Format::kElements + kBlocks - 1) / kBlocks * kSharedWords * sizeof(Words);
  }
  /// Where the words of block b are, in bytes, and where the one is that it shares.
  static uint64_t TailAt(uint64_t b) { return b / kBlocks * kSharedWords * sizeof(Words); }
  static uint64_t WordsAt(uint64_t b) {
    return TailAt(b) + (kTails + b % kBlocks * kWords) * sizeof(Words);
  }
};

template <typename Format>
void Dot(const uint8_t* group, uint64_t groups, uint64_t columns, const Activations8& x,
         float* out) {
  using L = Layout<Format>;
  constexpr size_t kParts = Format::kElements / 32;
  const uint64_t blocks = columns / Format::kElements;
  for (uint64_t g = 0; g < groups; ++g, group += L::GroupBytes(columns)) {
    Floats total{};
    for (uint64_t b = 0; b < blocks; ++b) {
      Words tail{};
      if constexpr (L::kTails != 0)
        tail = Word(group + L::TailAt(b), 0) >>
               static_cast<uint32_t>(8 * L::kTailBytes * (b % L::kBlocks));
      ReadAhead(group + L::WordsAt(b), L::kWords * sizeof(Words));
      total = Format::Add(group + L::WordsAt(b), tail,
                          {x.codes + b * Format::kElements, x.scales + b * kParts,
                           x.sums + b * 2 * kParts, x.pair_sums + b * kParts},
                          total);
    }
    std::memcpy(out + g * kLanes, &total, sizeof(total));
  }
}

template <typename Format>
void Interleave(const uint8_t* rows, uint64_t columns, uint8_t* group) {
  using L = Layout<Format>;
  const uint64_t blocks = columns / Format::kElements, row_bytes = blocks * L::kBlockBytes;
  for (uint64_t b = 0; b < blocks; ++b) {
    const uint8_t* const block = rows + b * L::kBlockBytes;
    uint8_t* to = group + L::WordsAt(b);
    for (const uint16_t from : Format::kWordsFrom) {
      for (uint64_t lane = 0; lane < kLanes; ++lane, to += 4)
        std::memcpy(to, block + lane * row_bytes + from, 4);
    }
    if constexpr (L::kTails != 0) {
      to = group + L::TailAt(b) + L::kTailBytes * (b % L::kBlocks);
      for (uint64_t lane = 0; lane < kLanes; ++lane, to += 4)
        std::memcpy(to, block + lane * row_bytes, L::kTailBytes);
    }
  }
}

/// 16-bit floats, two to a word; Format::Values gives the first (0) or second of each.
template <typename Format>
void DotFloats(const uint8_t* group, uint64_t groups, uint64_t columns, const float* x,
               float* out) {
  const uint64_t words = columns / 2;
  for (uint64_t g = 0; g < groups; ++g, group += words * sizeof(Words)) {
    Floats sums[4] = {};  // hide the latency of the additions
    uint64_t k = 0;
    for (; k + 2 <= words; k += 2) {
      ReadAhead(group + k * sizeof(Words), 2 * sizeof(Words));
      const Words a = Word(group, k), b = Word(group, k + 1);
      sums[0] = Fma(Format::template Values<0>(a), Floats{} + x[2 * k], sums[0]);
      sums[1] = Fma(Format::template Values<1>(a), Floats{} + x[2 * k + 1], sums[1]);
      sums[2] = Fma(Format::template Values<0>(b), Floats{} + x[2 * k + 2], sums[2]);
      sums[3] = Fma(Format::template Values<1>(b), Floats{} + x[2 * k + 3], sums[3]);
    }
    if (k < words) {
      const Words a = Word(group, k);
      sums[0] = Fma(Format::template Values<0>(a), Floats{} + x[2 * k], sums[0]);
      sums[1] = Fma(Format::template Values<1>(a), Floats{} + x[2 * k + 1], sums[1]);
    }
    const Floats total = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    std::memcpy(out + g * kLanes, &total, sizeof(total));
  }
}

struct LanesF16 {
  static constexpr size_t kElements = 2, kBytes = 4, kTailBytes = 0;
  static constexpr auto kWordsFrom = InOrder<1>(0);
  template <int kWhich>
  static SMELT_LANES_INLINE Floats Values(Words w) {
    return LowHalves(w >> (16 * kWhich));
  }
};
struct LanesBF16 {
  static constexpr size_t kElements = 2, kBytes = 4, kTailBytes = 0;
  static constexpr auto kWordsFrom = InOrder<1>(0);
  template <int kWhich>
  static SMELT_LANES_INLINE Floats Values(Words w) {
    return reinterpret_cast<Floats>(kWhich == 0 ? w << 16 : w & 0xffff0000u);
  }
};

template <typename Format>
constexpr InterleavedKernels kFloatKernels = {kLanes, Layout<Format>::GroupBytes,
                                              Interleave<Format>, nullptr, DotFloats<Format>};

template <typename Format>
constexpr InterleavedKernels kKernels = {kLanes, Layout<Format>::GroupBytes, Interleave<Format>,
                                         Dot<Format>, nullptr};

const InterleavedKernels* Find(TensorType type) {
  switch (type) {
    case TensorType::kF16:
      return &kFloatKernels<LanesF16>;
    case TensorType::kBF16:
      return &kFloatKernels<LanesBF16>;
    case TensorType::kQ4_0:
      return &kKernels<LanesQ4_0>;
    case TensorType::kQ4_1:
      return &kKernels<LanesQ4_1>;
    case TensorType::kQ5_0:
      return &kKernels<LanesQ5_0>;
    case TensorType::kQ5_1:
      return &kKernels<LanesQ5_1>;
    case TensorType::kQ8_0:
      return &kKernels<LanesQ8_0>;
    case TensorType::kQ2_K:
      return &kKernels<LanesQ2_K>;
    case TensorType::kQ3_K:
      return &kKernels<LanesQ3_K>;
    case TensorType::kQ4_K:
      return &kKernels<LanesQ45_K<false>>;
    case TensorType::kQ5_K:
      return &kKernels<LanesQ45_K<true>>;
    case TensorType::kQ6_K:
      return &kKernels<LanesQ6_K>;
    case TensorType::kIQ4_NL:
      return &kKernels<LanesIQ4_NL>;
    case TensorType::kIQ4_XS:
      return &kKernels<LanesIQ4_XS>;
    case TensorType::kMXFP4:
      return &kKernels<LanesMXFP4>;
    default:
      return nullptr;
  }
}

#undef SMELT_LANES_INLINE

}  // namespace SMELT_LANES_NAMESPACE
}  // namespace smelt
