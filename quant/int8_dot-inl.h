// The kernels of int8_dot.cc, included once per instruction set (int8_dot.cc). Codes
// are unsigned bytes, 32 in a vector; what a format subtracts from them (its zero point or minimum)
// is taken off through the sums of the activations.
//
// One step is up to 256 elements: a super-block or eight simple blocks.

// No include guard: see above.

namespace smelt {
namespace SMELT_DOT_NAMESPACE {

#define SMELT_DOT_INLINE inline __attribute__((always_inline))

/// Eight sums of four products each. maddubs adds two products in 16 bits: codes up to 128 cannot
/// saturate.
SMELT_DOT_INLINE __m256i Products(__m256i codes, __m256i activations) {
#if SMELT_DOT_HAS_VNNI
  return SMELT_DOT_VNNI(_mm256_setzero_si256(), codes, activations);
#else
  return _mm256_madd_epi16(_mm256_maddubs_epi16(codes, activations), _mm256_set1_epi16(1));
#endif
}

SMELT_DOT_INLINE __m256i Load32(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}

/// The next page of a row, for the loops that go through rows: processors' own prefetchers end at
/// a page's end, and look ahead less than a core that computes this much needs.
template <int kBytes>
SMELT_DOT_INLINE void Prefetch(const uint8_t* step) {
  for (int i = 0; i < kBytes; i += 64)
    _mm_prefetch(reinterpret_cast<const char*>(step + 4096 + i), _MM_HINT_T0);
}

/// Bytes of 4 bits each: the low and high nibbles of 16 bytes, one after the other.
SMELT_DOT_INLINE __m256i Nibbles(const uint8_t* qs) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(qs));
  const __m256i both = _mm256_set_m128i(_mm_srli_epi16(bytes, 4), bytes);
  return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

/// 16 where bit i of `bits` is set.
SMELT_DOT_INLINE __m256i FifthBits(uint32_t bits) {
  const __m256i spread = _mm256_shuffle_epi8(
      _mm256_set1_epi32(static_cast<int>(bits)),
      _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
  const __m256i mask = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201ull));
  const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, mask), mask);
  return _mm256_and_si256(set, _mm256_set1_epi8(16));
}

SMELT_DOT_INLINE float Sum(__m256 v) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

SMELT_DOT_INLINE float Half(const uint8_t* p) {
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(LoadU16(p))));
}

/// Adds scale times the products to one of four accumulators, which hide the latency.
struct Accumulators {
  __m256 sum[4];
  __m256 below;  ///< what zero points and minimums take off

  SMELT_DOT_INLINE Accumulators() {
    below = _mm256_setzero_ps();
    for (__m256& s : sum) s = below;
  }
  SMELT_DOT_INLINE void Add(int i, __m256i products, __m256 scale) {
    sum[i & 3] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), scale, sum[i & 3]);
  }
  SMELT_DOT_INLINE float Total() const {
    const __m256 all = _mm256_add_ps(_mm256_add_ps(sum[0], sum[1]), _mm256_add_ps(sum[2], sum[3]));
    return Sum(_mm256_sub_ps(all, below));
  }
};

/// Sixteen signed values, each with `zero` added, by 4-bit codes.
SMELT_DOT_INLINE __m256i LookUp(const int8_t* values, int zero, __m256i codes) {
  const __m128i table = _mm_add_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(values)),
                                     _mm_set1_epi8(static_cast<char>(zero)));
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), codes);
}

/// Codes at most so large are added up as they are; larger ones need an instruction that adds four
/// products without saturation.
constexpr bool FitsUnsigned(int largest) { return SMELT_DOT_HAS_VNNI || largest <= 128; }

/// f16 values at the same place of `n` blocks, at most eight; zeros for blocks that do not exist.
template <int kBytes>
SMELT_DOT_INLINE __m256 BlockHalves(const uint8_t* field, int n) {
  const auto half = [=](int k) {
    return static_cast<int16_t>(k < n ? LoadU16(field + k * kBytes) : 0);
  };
  return _mm256_cvtph_ps(
      _mm_setr_epi16(half(0), half(1), half(2), half(3), half(4), half(5), half(6), half(7)));
}

// Simple blocks, kBytes each. Format::Codes gives the 32 codes of a block: unsigned ones, of which
// Format::kZero is subtracted, or (kSigned) values. Format::Scales gives the scales of eight
// blocks.

template <int kBlockBytes>
struct HalfFirst {
  static constexpr int kBytes = kBlockBytes;
  static constexpr bool kSigned = false;
  static SMELT_DOT_INLINE __m256 Scales(const uint8_t* blocks, int n) {
    return BlockHalves<kBytes>(blocks, n);
  }
};

struct DotQ4_0 : HalfFirst<18> {
  static constexpr int kZero = 8;
  static constexpr bool kMinimum = false;
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block) { return Nibbles(block + 2); }
};
struct DotQ4_1 : HalfFirst<20> {
  static constexpr int kZero = 0;
  static constexpr bool kMinimum = true;
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block) { return Nibbles(block + 4); }
};
struct DotQ5_0 : HalfFirst<22> {
  static constexpr int kZero = 16;
  static constexpr bool kMinimum = false;
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block) {
    return _mm256_or_si256(Nibbles(block + 6), FifthBits(LoadU32(block + 2)));
  }
};
struct DotQ5_1 : HalfFirst<24> {
  static constexpr int kZero = 0;
  static constexpr bool kMinimum = true;
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block) {
    return _mm256_or_si256(Nibbles(block + 8), FifthBits(LoadU32(block + 4)));
  }
};
struct DotQ8_0 : HalfFirst<34> {
  static constexpr bool kSigned = !FitsUnsigned(256), kMinimum = false;
  static constexpr int kZero = kSigned ? 0 : 128;
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block) {
    return _mm256_xor_si256(Load32(block + 2), _mm256_set1_epi8(static_cast<char>(kZero)));
  }
};
/// Values out of a table, at least -kBelow and at most as far above zero.
template <int kBelow>
struct FromTable {
  static constexpr bool kSigned = !FitsUnsigned(2 * kBelow), kMinimum = false;
  static constexpr int kZero = kSigned ? 0 : kBelow;
};
struct DotIQ4_NL : HalfFirst<18>, FromTable<127> {
  using FromTable<127>::kSigned;
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block) {
    return LookUp(kIq4Values, kZero, Nibbles(block + 2));
  }
};
struct DotMXFP4 : FromTable<12> {
  static constexpr int kBytes = 17;
  static SMELT_DOT_INLINE __m256 Scales(const uint8_t* blocks, int n) {
    const auto byte = [=](int k) { return k < n ? blocks[k * kBytes] : 0; };
    const __m256i e =
        _mm256_setr_epi32(byte(0), byte(1), byte(2), byte(3), byte(4), byte(5), byte(6), byte(7));
    // HalfE8M0 of eight.
    const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    const __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    return _mm256_castsi256_ps(
        _mm256_blendv_epi8(normal, small, _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e)));
  }
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block) {
    return LookUp(kFp4Doubled, kZero, Nibbles(block + 1));
  }
};

/// Products of signed codes, none of them -128: their magnitudes with activations that take the
/// signs.
SMELT_DOT_INLINE __m256i SignedProducts(__m256i codes, __m256i activations) {
  return Products(_mm256_sign_epi8(codes, codes), _mm256_sign_epi8(activations, codes));
}

template <typename Format>
SMELT_DOT_INLINE __m256i CodeProducts(__m256i codes, const int8_t* activations) {
  if constexpr (Format::kSigned) return SignedProducts(codes, Load32(activations));
  return Products(codes, Load32(activations));
}

/// `n` blocks, at most eight. `scales` and `sums` have room for eight.
template <typename Format>
SMELT_DOT_INLINE void SimpleStep(const uint8_t* blocks, int n, const int8_t* activations,
                                 __m256 activation_scales, __m256 sums, Accumulators& acc) {
  const __m256 d = Format::Scales(blocks, n);
  alignas(32) float scales[8];
  _mm256_store_ps(scales, _mm256_mul_ps(d, activation_scales));
  for (int k = 0; k < n; ++k) {
    const __m256i codes = Format::Codes(blocks + k * Format::kBytes);
    acc.Add(k, CodeProducts<Format>(codes, activations + 32 * k), _mm256_broadcast_ss(scales + k));
  }
  if constexpr (Format::kMinimum) {
    acc.below = _mm256_fnmadd_ps(BlockHalves<Format::kBytes>(blocks + 2, n), sums, acc.below);
  } else if constexpr (Format::kZero != 0) {
    const __m256 zero = _mm256_mul_ps(d, _mm256_set1_ps(Format::kZero));
    acc.below = _mm256_fmadd_ps(zero, sums, acc.below);
  }
}

template <typename Format>
void SimpleRows(const uint8_t* weights, uint64_t rows, uint64_t columns, const Activations8& x,
                float* out) {
  const uint64_t blocks = columns / 32;
  const uint64_t whole = blocks / 8 * 8;
  const int rest = static_cast<int>(blocks - whole);
  // The incomplete step at the end of a row reads copies padded with zeros.
  alignas(32) float rest_scales[8] = {}, rest_sums[8] = {};
  std::memcpy(rest_scales, x.scales + whole, sizeof(float) * static_cast<size_t>(rest));
  std::memcpy(rest_sums, x.pair_sums + whole, sizeof(float) * static_cast<size_t>(rest));
  for (uint64_t r = 0; r < rows; ++r) {
    const uint8_t* row = weights + r * blocks * Format::kBytes;
    Accumulators acc;
    for (uint64_t b = 0; b < whole; b += 8) {
      Prefetch<8 * Format::kBytes>(row + b * Format::kBytes);
      SimpleStep<Format>(row + b * Format::kBytes, 8, x.codes + 32 * b,
                         _mm256_loadu_ps(x.scales + b), _mm256_loadu_ps(x.pair_sums + b), acc);
    }
    if (rest != 0) {
      SimpleStep<Format>(row + whole * Format::kBytes, rest, x.codes + 32 * whole,
                         _mm256_load_ps(rest_scales), _mm256_load_ps(rest_sums), acc);
    }
    out[r] = acc.Total();
  }
}

/// The 6-bit scales and minimums of Q4_K and Q5_K (k_scales.h) as eight floats each.
SMELT_DOT_INLINE void KScales(const uint8_t* packed, __m256* scales, __m256* minimums) {
  const uint32_t low = LoadU32(packed), middle = LoadU32(packed + 4), high = LoadU32(packed + 8);
  const uint64_t s =
      (low & 0x3f3f3f3fu) |
      (static_cast<uint64_t>((high & 0x0f0f0f0fu) | ((low >> 2) & 0x30303030u)) << 32);
  const uint64_t m =
      (middle & 0x3f3f3f3fu) |
      (static_cast<uint64_t>(((high >> 4) & 0x0f0f0f0fu) | ((middle >> 2) & 0x30303030u)) << 32);
  *scales = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(s))));
  *minimums = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(m))));
}

/// Q4_K and Q5_K: eight groups of 32 with minimums.
template <bool kFifthBit>
SMELT_DOT_INLINE void KStep(const uint8_t* block, const int8_t* activations, const float* a_scales,
                            const float* pair_sums, Accumulators& acc) {
  const __m256 d = _mm256_set1_ps(Half(block)), dmin = _mm256_set1_ps(Half(block + 2));
  __m256 s, m;
  KScales(block + 4, &s, &m);
  alignas(32) float scales[8];
  _mm256_store_ps(scales, _mm256_mul_ps(_mm256_mul_ps(d, s), _mm256_loadu_ps(a_scales)));
  acc.below = _mm256_fmadd_ps(_mm256_mul_ps(dmin, m), _mm256_loadu_ps(pair_sums), acc.below);
  const uint8_t* qs = block + (kFifthBit ? 48 : 16);
  const __m256i low4 = _mm256_set1_epi8(15), bit4 = _mm256_set1_epi8(16);
  const __m256i qh = kFifthBit ? Load32(block + 16) : low4;
  // Constant shifts need the loop unrolled by hand.
#define SMELT_DOT_PAIR(p, even_bit, odd_bit)                                 \
  {                                                                          \
    const __m256i bytes = Load32(qs + 32 * (p));                             \
    __m256i even = _mm256_and_si256(bytes, low4);                            \
    __m256i odd = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), low4);       \
    if constexpr (kFifthBit) {                                               \
      even = _mm256_or_si256(even, _mm256_and_si256(even_bit, bit4));        \
      odd = _mm256_or_si256(odd, _mm256_and_si256(odd_bit, bit4));           \
    }                                                                        \
    acc.Add(2 * (p), Products(even, Load32(activations + 64 * (p))),         \
            _mm256_broadcast_ss(scales + 2 * (p)));                          \
    acc.Add(2 * (p) + 1, Products(odd, Load32(activations + 64 * (p) + 32)), \
            _mm256_broadcast_ss(scales + 2 * (p) + 1));                      \
  }
  SMELT_DOT_PAIR(0, _mm256_slli_epi16(qh, 4), _mm256_slli_epi16(qh, 3))
  SMELT_DOT_PAIR(1, _mm256_slli_epi16(qh, 2), _mm256_slli_epi16(qh, 1))
  SMELT_DOT_PAIR(2, qh, _mm256_srli_epi16(qh, 1))
  SMELT_DOT_PAIR(3, _mm256_srli_epi16(qh, 2), _mm256_srli_epi16(qh, 3))
#undef SMELT_DOT_PAIR
}

struct DotQ4_K {
  static constexpr int kBytes = 144;
  static SMELT_DOT_INLINE void Step(const uint8_t* block, const int8_t* a, const float* a_scales,
                                    const float*, const float* pair_sums, Accumulators& acc) {
    KStep<false>(block, a, a_scales, pair_sums, acc);
  }
};
struct DotQ5_K {
  static constexpr int kBytes = 176;
  static SMELT_DOT_INLINE void Step(const uint8_t* block, const int8_t* a, const float* a_scales,
                                    const float*, const float* pair_sums, Accumulators& acc) {
    KStep<true>(block, a, a_scales, pair_sums, acc);
  }
};

/// Scales of a super-block in groups of 16: d s times the activations' scales, and what is taken
/// off.
struct Scales16 {
  __m256 half[2];  ///< groups 0..7, 8..15

  /// `s` sixteen integers as bytes, signed.
  SMELT_DOT_INLINE Scales16(float d, __m128i s, float zero, const float* a_scales,
                            const float* a_sums, Accumulators& acc) {
    const __m256 d8 = _mm256_set1_ps(d), zero8 = _mm256_set1_ps(zero);
    const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    for (int h = 0; h < 2; ++h) {
      const __m128i bytes = h == 0 ? s : _mm_srli_si128(s, 8);
      const __m256 ds = _mm256_mul_ps(d8, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)));
      const __m256 a =
          _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(a_scales + 4 * h)), twice);
      half[h] = _mm256_mul_ps(ds, a);
      if (zero != 0) {
        acc.below =
            _mm256_fmadd_ps(_mm256_mul_ps(ds, zero8), _mm256_loadu_ps(a_sums + 8 * h), acc.below);
      }
    }
  }
  /// Scales of elements 32 i .. 32 i + 31: lanes 0..3 the first group, 4..7 the second.
  SMELT_DOT_INLINE __m256 Of(int i) const {
    const int g = 2 * (i & 3);
    return _mm256_permutevar8x32_ps(half[i >> 2],
                                    _mm256_setr_epi32(g, g, g, g, g + 1, g + 1, g + 1, g + 1));
  }
};

struct DotQ6_K {
  static constexpr int kBytes = 210;
  static SMELT_DOT_INLINE void Step(const uint8_t* block, const int8_t* a, const float* a_scales,
                                    const float* a_sums, const float*, Accumulators& acc) {
    const __m128i s = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 192));
    const Scales16 scales(Half(block + 208), s, 32, a_scales, a_sums, acc);
    const __m256i low4 = _mm256_set1_epi8(15), bits45 = _mm256_set1_epi8(0x30);
    for (int h = 0; h < 2; ++h) {
      const __m256i l0 = Load32(block + 64 * h), l1 = Load32(block + 64 * h + 32);
      const __m256i qh = Load32(block + 128 + 32 * h);
      const __m256i codes[4] = {
          _mm256_or_si256(_mm256_and_si256(l0, low4),
                          _mm256_and_si256(_mm256_slli_epi16(qh, 4), bits45)),
          _mm256_or_si256(_mm256_and_si256(l1, low4),
                          _mm256_and_si256(_mm256_slli_epi16(qh, 2), bits45)),
          _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(l0, 4), low4),
                          _mm256_and_si256(qh, bits45)),
          _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(l1, 4), low4),
                          _mm256_and_si256(_mm256_srli_epi16(qh, 2), bits45))};
      for (int j = 0; j < 4; ++j) {
        acc.Add(j, Products(codes[j], Load32(a + 128 * h + 32 * j)), scales.Of(4 * h + j));
      }
    }
  }
};

struct DotQ3_K {
  static constexpr int kBytes = 110;
  static SMELT_DOT_INLINE void Step(const uint8_t* block, const int8_t* a, const float* a_scales,
                                    const float* a_sums, const float*, Accumulators& acc) {
    const __m256i two = _mm256_set1_epi8(3), third = _mm256_set1_epi8(4);
    const Scales16 scales(Half(block + 108), IntegerScales(block + 96), 4, a_scales, a_sums, acc);
    const __m256i hm = Load32(block);
    const __m256i high[8] = {
        _mm256_slli_epi16(hm, 2), _mm256_slli_epi16(hm, 1), hm,
        _mm256_srli_epi16(hm, 1), _mm256_srli_epi16(hm, 2), _mm256_srli_epi16(hm, 3),
        _mm256_srli_epi16(hm, 4), _mm256_srli_epi16(hm, 5)};
    for (int h = 0; h < 2; ++h) {
      const __m256i qs = Load32(block + 32 + 32 * h);
      const __m256i low[4] = {qs, _mm256_srli_epi16(qs, 2), _mm256_srli_epi16(qs, 4),
                              _mm256_srli_epi16(qs, 6)};
      for (int j = 0; j < 4; ++j) {
        const __m256i codes = _mm256_or_si256(_mm256_and_si256(low[j], two),
                                              _mm256_and_si256(high[4 * h + j], third));
        acc.Add(j, Products(codes, Load32(a + 128 * h + 32 * j)), scales.Of(4 * h + j));
      }
    }
  }

  /// The sixteen 6-bit scales, minus 32.
  static SMELT_DOT_INLINE __m128i IntegerScales(const uint8_t* sc) {
    const uint32_t upper = LoadU32(sc + 8);
    const __m128i low8 = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(sc));
    const __m128i low =
        _mm_and_si128(_mm_unpacklo_epi64(low8, _mm_srli_epi16(low8, 4)), _mm_set1_epi8(15));
    const uint32_t mask = 0x30303030u;
    const __m128i high =
        _mm_setr_epi32(static_cast<int>((upper << 4) & mask), static_cast<int>((upper << 2) & mask),
                       static_cast<int>(upper & mask), static_cast<int>((upper >> 2) & mask));
    return _mm_sub_epi8(_mm_or_si128(low, high), _mm_set1_epi8(32));
  }
};

struct DotQ2_K {
  static constexpr int kBytes = 84;
  static SMELT_DOT_INLINE void Step(const uint8_t* block, const int8_t* a, const float* a_scales,
                                    const float* a_sums, const float*, Accumulators& acc) {
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block));
    const __m128i low4 = _mm_set1_epi8(15);
    const Scales16 scales(Half(block + 80), _mm_and_si128(packed, low4), 0, a_scales, a_sums, acc);
    // The minimums through the same sums: a zero point of 1 under the scale dmin.
    const Scales16 minimums(Half(block + 82), _mm_and_si128(_mm_srli_epi16(packed, 4), low4), 1,
                            a_scales, a_sums, acc);
    static_cast<void>(minimums);
    const __m256i two = _mm256_set1_epi8(3);
    for (int h = 0; h < 2; ++h) {
      const __m256i qs = Load32(block + 16 + 32 * h);
      const __m256i codes[4] = {qs, _mm256_srli_epi16(qs, 2), _mm256_srli_epi16(qs, 4),
                                _mm256_srli_epi16(qs, 6)};
      for (int j = 0; j < 4; ++j) {
        acc.Add(j, Products(_mm256_and_si256(codes[j], two), Load32(a + 128 * h + 32 * j)),
                scales.Of(4 * h + j));
      }
    }
  }
};

/// Eight groups of 32 with values out of a table.
struct DotIQ4_XS : FromTable<127> {
  static constexpr int kBytes = 136;
  static SMELT_DOT_INLINE __m256 Scales(const uint8_t* block) {
    const __m256i eight = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
    const __m256i low =
        _mm256_srlv_epi32(_mm256_set1_epi32(static_cast<int>(LoadU32(block + 4))), eight);
    const __m256i high =
        _mm256_srlv_epi32(_mm256_set1_epi32(LoadU16(block + 2)), _mm256_srli_epi32(eight, 1));
    const __m256i s =
        _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi32(15)),
                        _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(3)), 4));
    const __m256 centred = _mm256_cvtepi32_ps(_mm256_sub_epi32(s, _mm256_set1_epi32(32)));
    return _mm256_mul_ps(_mm256_set1_ps(Half(block)), centred);
  }
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block, int zero, int g) {
    return LookUp(kIq4Values, zero, Nibbles(block + 8 + 16 * g));
  }
  static SMELT_DOT_INLINE void Step(const uint8_t* block, const int8_t* a, const float* a_scales,
                                    const float*, const float* pair_sums, Accumulators& acc) {
    const __m256 d = Scales(block);
    alignas(32) float scales[8];
    _mm256_store_ps(scales, _mm256_mul_ps(d, _mm256_loadu_ps(a_scales)));
    if constexpr (kZero != 0) {
      acc.below = _mm256_fmadd_ps(_mm256_mul_ps(d, _mm256_set1_ps(kZero)),
                                  _mm256_loadu_ps(pair_sums), acc.below);
    }
    for (int g = 0; g < 8; ++g) {
      acc.Add(g, CodeProducts<DotIQ4_XS>(Codes(block, kZero, g), a + 32 * g),
              _mm256_broadcast_ss(scales + g));
    }
  }
};

template <typename Format>
void SuperRows(const uint8_t* weights, uint64_t rows, uint64_t columns, const Activations8& x,
               float* out) {
  const uint64_t blocks = columns / 256;
  for (uint64_t r = 0; r < rows; ++r) {
    const uint8_t* row = weights + r * blocks * Format::kBytes;
    Accumulators acc;
    for (uint64_t b = 0; b < blocks; ++b) {
      Prefetch<Format::kBytes>(row + b * Format::kBytes);
      Format::Step(row + b * Format::kBytes, x.codes + 256 * b, x.scales + 8 * b, x.sums + 16 * b,
                   x.pair_sums + 8 * b, acc);
    }
    out[r] = acc.Total();
  }
}

Int8DotFn Find(TensorType type) {
  switch (type) {
    case TensorType::kQ4_0:
      return SimpleRows<DotQ4_0>;
    case TensorType::kQ4_1:
      return SimpleRows<DotQ4_1>;
    case TensorType::kQ5_0:
      return SimpleRows<DotQ5_0>;
    case TensorType::kQ5_1:
      return SimpleRows<DotQ5_1>;
    case TensorType::kQ8_0:
      return SimpleRows<DotQ8_0>;
    case TensorType::kQ2_K:
      return SuperRows<DotQ2_K>;
    case TensorType::kQ3_K:
      return SuperRows<DotQ3_K>;
    case TensorType::kQ4_K:
      return SuperRows<DotQ4_K>;
    case TensorType::kQ5_K:
      return SuperRows<DotQ5_K>;
    case TensorType::kQ6_K:
      return SuperRows<DotQ6_K>;
    default:
      return nullptr;
  }
}

#undef SMELT_DOT_INLINE

}  // namespace SMELT_DOT_NAMESPACE
}  // namespace smelt
