// Kernels of formats whose codes are signed values out of tables, grids of eight or four, or a few
// bits each: included behind int8_dot-inl.h, once per instruction set.
//
// A format gives `Codes`, the 32 codes from element 32 g of a block on, and `Scales`, one for each
// kGroup elements: the common form of its scalar reference, so that the same two unpack a block.

// No include guard: see above.

namespace smelt {
namespace SMELT_DOT_NAMESPACE {

#define SMELT_DOT_INLINE inline __attribute__((always_inline))

SMELT_DOT_INLINE long long Load64(const void* p) {
  long long v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

SMELT_DOT_INLINE int Load4(const int8_t* p) {
  int v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

/// All bits of byte i where bit i of `bits` is set.
SMELT_DOT_INLINE __m256i ByteMask(uint32_t bits) {
  const __m256i spread = _mm256_shuffle_epi8(
      _mm256_set1_epi32(static_cast<int>(bits)),
      _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
  const __m256i mask = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201ull));
  return _mm256_cmpeq_epi8(_mm256_and_si256(spread, mask), mask);
}

/// Values above zero, negative where the bit is set.
SMELT_DOT_INLINE __m256i WithSigns(__m256i values, uint32_t bits) {
  const __m256i mask = ByteMask(bits);
  return _mm256_sub_epi8(_mm256_xor_si256(values, mask), mask);
}

/// The signs of four octets, seven bits each, the lowest first.
SMELT_DOT_INLINE uint32_t FourEvenSigns(uint32_t word) {
  return kEvenSigns[word & 127] | uint32_t{kEvenSigns[(word >> 7) & 127]} << 8 |
         uint32_t{kEvenSigns[(word >> 14) & 127]} << 16 |
         uint32_t{kEvenSigns[(word >> 21) & 127]} << 24;
}

template <size_t kEntries>
SMELT_DOT_INLINE __m256i Octets(const int8_t (&grid)[kEntries][8], uint32_t i0, uint32_t i1,
                                uint32_t i2, uint32_t i3) {
  return _mm256_setr_epi64x(Load64(grid[i0]), Load64(grid[i1]), Load64(grid[i2]), Load64(grid[i3]));
}

template <size_t kEntries, typename Index>
SMELT_DOT_INLINE __m256i Quads(const int8_t (&grid)[kEntries][4], const Index& index) {
  return _mm256_setr_epi32(Load4(grid[index(0)]), Load4(grid[index(1)]), Load4(grid[index(2)]),
                           Load4(grid[index(3)]), Load4(grid[index(4)]), Load4(grid[index(5)]),
                           Load4(grid[index(6)]), Load4(grid[index(7)]));
}

/// scale[i] = d (offset + nibble i), exact.
template <int kCount>
SMELT_DOT_INLINE void NibbleScales(const uint8_t* packed, float d, float offset, float* scales) {
  __m128i bytes;
  if constexpr (kCount == 16) {
    bytes = _mm_cvtsi64_si128(Load64(packed));
  } else {
    bytes = _mm_cvtsi32_si128(static_cast<int>(LoadU32(packed)));
  }
  const __m128i nibbles =
      _mm_and_si128(_mm_unpacklo_epi8(bytes, _mm_srli_epi16(bytes, 4)), _mm_set1_epi8(15));
  for (int i = 0; i < kCount; i += 8) {
    const __m128i eight = i == 0 ? nibbles : _mm_srli_si128(nibbles, 8);
    const __m256 s = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(eight));
    _mm256_storeu_ps(scales + i,
                     _mm256_mul_ps(_mm256_set1_ps(d), _mm256_add_ps(_mm256_set1_ps(offset), s)));
  }
}

// What int8_dot-inl.h multiplies otherwise, in the common form.

struct CommonIQ4_NL {
  static constexpr int kElements = 32;
  static SMELT_DOT_INLINE void Scales(const uint8_t* block, float* scales) {
    scales[0] = Half(block);
  }
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block, int) {
    return LookUp(kIq4Values, 0, Nibbles(block + 2));
  }
};

struct CommonIQ4_XS {
  static constexpr int kElements = 256;
  static SMELT_DOT_INLINE void Scales(const uint8_t* block, float* scales) {
    _mm256_storeu_ps(scales, DotIQ4_XS::Scales(block));
  }
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block, int g) {
    return DotIQ4_XS::Codes(block, 0, g);
  }
};

struct CommonMXFP4 {
  static constexpr int kElements = 32;
  static SMELT_DOT_INLINE void Scales(const uint8_t* block, float* scales) {
    scales[0] = HalfE8M0(block[0]);
  }
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block, int) {
    return LookUp(kFp4Doubled, 0, Nibbles(block + 1));
  }
};

struct DotNVFP4 {
  static constexpr int kBytes = 36, kElements = 64, kGroup = 16;
  static SMELT_DOT_INLINE void Scales(const uint8_t* block, float* scales) {
    for (int g = 0; g < 4; ++g) scales[g] = HalfE4M3(block[g]);
  }
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block, int g) {
    // Each half of eight bytes holds sixteen codes: its low nibbles before its high ones.
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 4 + 16 * g));
    const __m128i high = _mm_srli_epi16(bytes, 4);
    const __m256i codes =
        _mm256_set_m128i(_mm_unpackhi_epi64(bytes, high), _mm_unpacklo_epi64(bytes, high));
    return LookUp(kFp4Doubled, 0, _mm256_and_si256(codes, _mm256_set1_epi8(15)));
  }
};

struct DotIQ2_XXS {
  static constexpr int kBytes = 66, kElements = 256, kGroup = 32;
  static SMELT_DOT_INLINE void Scales(const uint8_t* block, float* scales) {
    const float d = 0.25f * Half(block);
    for (int g = 0; g < 8; ++g)
      scales[g] = d * (0.5f + static_cast<float>(LoadU32(block + 6 + 8 * g) >> 28));
  }
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block, int g) {
    const uint8_t* group = block + 2 + 8 * g;
    return WithSigns(Octets(kIqTables.iq2_xxs, group[0], group[1], group[2], group[3]),
                     FourEvenSigns(LoadU32(group + 4)));
  }
};

struct DotIQ2_XS {
  static constexpr int kBytes = 74, kElements = 256, kGroup = 16;
  static SMELT_DOT_INLINE void Scales(const uint8_t* block, float* scales) {
    NibbleScales<16>(block + 66, 0.25f * Half(block), 0.5f, scales);
  }
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block, int g) {
    const uint64_t q = static_cast<uint64_t>(Load64(block + 2 + 8 * g));
    const auto index = [q](int i) { return static_cast<uint32_t>(q >> (16 * i)) & 511; };
    const auto signs = [q](int i) {
      return uint32_t{kEvenSigns[static_cast<uint32_t>(q >> (16 * i + 9)) & 127]} << (8 * i);
    };
    return WithSigns(Octets(kIqTables.iq2_xs, index(0), index(1), index(2), index(3)),
                     signs(0) | signs(1) | signs(2) | signs(3));
  }
};

struct DotIQ2_S {
  static constexpr int kBytes = 82, kElements = 256, kGroup = 16;
  static SMELT_DOT_INLINE void Scales(const uint8_t* block, float* scales) {
    NibbleScales<16>(block + 74, 0.25f * Half(block), 0.5f, scales);
  }
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block, int g) {
    const uint8_t* qs = block + 2 + 4 * g;
    const uint32_t qh = block[66 + g];
    const auto index = [&](int i) { return qs[i] | ((qh << (8 - 2 * i)) & 0x300); };
    return WithSigns(Octets(kIqTables.iq2_s, index(0), index(1), index(2), index(3)),
                     LoadU32(block + 34 + 4 * g));
  }
};

struct DotIQ3_XXS {
  static constexpr int kBytes = 98, kElements = 256, kGroup = 32;
  static SMELT_DOT_INLINE void Scales(const uint8_t* block, float* scales) {
    const float d = 0.5f * Half(block);
    for (int g = 0; g < 8; ++g)
      scales[g] = d * (0.5f + static_cast<float>(LoadU32(block + 66 + 4 * g) >> 28));
  }
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block, int g) {
    const uint8_t* qs = block + 2 + 8 * g;
    return WithSigns(Quads(kIqTables.iq3_xxs, [qs](int i) { return qs[i]; }),
                     FourEvenSigns(LoadU32(block + 66 + 4 * g)));
  }
};

struct DotIQ3_S {
  static constexpr int kBytes = 110, kElements = 256, kGroup = 32;
  static SMELT_DOT_INLINE void Scales(const uint8_t* block, float* scales) {
    NibbleScales<8>(block + 106, 2 * Half(block), 0.5f, scales);
  }
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block, int g) {
    const uint8_t* qs = block + 2 + 8 * g;
    const uint32_t qh = block[66 + g];
    const auto index = [&](int i) { return qs[i] | ((qh << (8 - i)) & 0x100); };
    return WithSigns(Quads(kIqTables.iq3_s, index), LoadU32(block + 74 + 4 * g));
  }
};

/// Eight times a grid's values of -1, 0, 1, and one more or less.
SMELT_DOT_INLINE __m256i Shifted(__m256i grid, __m256i shifts) {
  const __m256i twice = _mm256_add_epi8(grid, grid), four = _mm256_add_epi8(twice, twice);
  return _mm256_add_epi8(_mm256_add_epi8(four, four), shifts);
}

struct DotIQ1_S {
  static constexpr int kBytes = 50, kElements = 256, kGroup = 32;
  static SMELT_DOT_INLINE void Scales(const uint8_t* block, float* scales) {
    const __m256i qh =
        _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 34)));
    const __m256i s = _mm256_and_si256(_mm256_srli_epi32(qh, 11), _mm256_set1_epi32(14));
    const __m256i odd = _mm256_or_si256(s, _mm256_set1_epi32(1));
    _mm256_storeu_ps(scales,
                     _mm256_mul_ps(_mm256_set1_ps(0.125f * Half(block)), _mm256_cvtepi32_ps(odd)));
  }
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block, int g) {
    const uint8_t* qs = block + 2 + 4 * g;
    const uint32_t qh = LoadU16(block + 34 + 2 * g);
    const auto index = [&](int i) { return qs[i] | (((qh >> (3 * i)) & 7) << 8); };
    return Shifted(Octets(kIqTables.iq1, index(0), index(1), index(2), index(3)),
                   _mm256_set1_epi8(qh >> 15 != 0 ? -1 : 1));
  }
};

struct DotIQ1_M {
  static constexpr int kBytes = 56, kElements = 256, kGroup = 16;
  static SMELT_DOT_INLINE void Scales(const uint8_t* block, float* scales) {
    // Four words of four scales of 3 bits each; their upper nibbles make the f16.
    const uint64_t words = static_cast<uint64_t>(Load64(block + 48));
    const uint16_t bits = static_cast<uint16_t>(((words >> 12) & 15) | ((words >> 24) & 0xf0) |
                                                ((words >> 36) & 0xf00) | ((words >> 48) & 0xf000));
    const float d = 0.125f * _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)));
    const __m256i four = _mm256_cvtepu16_epi64(_mm_cvtsi64_si128(static_cast<int64_t>(words)));
    const __m256i sixteen = _mm256_or_si256(four, _mm256_slli_epi64(four, 29));  // and s[1], s[3]
    for (int h = 0; h < 2; ++h) {
      // Lanes of 32 bits: words h * 2 and h * 2 + 1, each with its scales 0 .. 3.
      const __m256i pair = h == 0 ? _mm256_permute4x64_epi64(sixteen, 0x50)
                                  : _mm256_permute4x64_epi64(sixteen, 0xfa);
      const __m256i s = _mm256_srlv_epi32(pair, _mm256_setr_epi32(0, 0, 6, 6, 0, 0, 6, 6));
      const __m256i odd = _mm256_or_si256(
          _mm256_slli_epi32(_mm256_and_si256(s, _mm256_set1_epi32(7)), 1), _mm256_set1_epi32(1));
      _mm256_storeu_ps(scales + 8 * h, _mm256_mul_ps(_mm256_set1_ps(d), _mm256_cvtepi32_ps(odd)));
    }
  }
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block, int g) {
    const uint8_t* qs = block + 4 * g;
    const uint32_t qh = LoadU16(block + 32 + 2 * g);
    const auto index = [&](int i) { return qs[i] | (((qh >> (4 * i)) & 7) << 8); };
    const auto shift = [&](int i) -> int64_t {
      return (qh >> (4 * i)) & 8 ? -1 : 0x0101010101010101;
    };
    return Shifted(Octets(kIqTables.iq1, index(0), index(1), index(2), index(3)),
                   _mm256_setr_epi64x(shift(0), shift(1), shift(2), shift(3)));
  }
};

struct DotTQ1_0 {
  static constexpr int kBytes = 54, kElements = 256, kGroup = 32;
  static SMELT_DOT_INLINE void Scales(const uint8_t* block, float* scales) {
    _mm256_storeu_ps(scales, _mm256_set1_ps(Half(block + 52)));
  }
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block, int g) {
    if (g < 5) return Trits(Power(Load32(block), g));
    const __m128i next = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 32));
    if (g < 7) {
      const __m256i twice = _mm256_broadcastsi128_si256(Power(next, 2 * (g - 5)));
      return Trits(_mm256_blend_epi32(twice, Triple(twice), 0xf0));
    }
    // The last trits of those sixteen, and the four of each of four bytes.
    const __m128i last = _mm_set1_epi32(static_cast<int>(LoadU32(block + 48)));
    const __m128i powers =
        _mm_blend_epi16(_mm_blend_epi16(last, Power(last, 1), 0x0c),
                        _mm_blend_epi16(Power(last, 2), Power(last, 3), 0xc0), 0xf0);
    return Trits(_mm256_set_m128i(powers, Power(next, 4)));
  }

 private:
  static SMELT_DOT_INLINE __m256i Triple(__m256i v) {
    return _mm256_add_epi8(_mm256_add_epi8(v, v), v);
  }
  static SMELT_DOT_INLINE __m256i Power(__m256i v, int n) {
    for (int i = 0; i < n; ++i) v = Triple(v);
    return v;
  }
  static SMELT_DOT_INLINE __m128i Power(__m128i v, int n) {
    for (int i = 0; i < n; ++i) v = _mm_add_epi8(_mm_add_epi8(v, v), v);
    return v;
  }
  /// v 3 / 256 - 1, rounded down.
  static SMELT_DOT_INLINE __m256i Trits(__m256i v) {
    const auto at_least = [v](int limit) {
      return _mm256_cmpeq_epi8(_mm256_max_epu8(v, _mm256_set1_epi8(static_cast<char>(limit))), v);
    };
    const __m256i steps = _mm256_add_epi8(at_least(86), at_least(171));  // each counts as -1
    return _mm256_sub_epi8(_mm256_set1_epi8(-1), steps);
  }
};

struct DotTQ2_0 {
  static constexpr int kBytes = 66, kElements = 256, kGroup = 32;
  static SMELT_DOT_INLINE void Scales(const uint8_t* block, float* scales) {
    _mm256_storeu_ps(scales, _mm256_set1_ps(Half(block + 64)));
  }
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block, int g) {
    const __m256i bits = _mm256_srli_epi16(Load32(block + 32 * (g / 4)), 2 * (g % 4));
    return _mm256_sub_epi8(_mm256_and_si256(bits, _mm256_set1_epi8(3)), _mm256_set1_epi8(1));
  }
};

struct DotQ1_0 {
  static constexpr int kBytes = 18, kElements = 128, kGroup = 32;
  static SMELT_DOT_INLINE void Scales(const uint8_t* block, float* scales) {
    _mm_storeu_ps(scales, _mm_set1_ps(Half(block)));
  }
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block, int g) {
    const __m256i set = ByteMask(LoadU32(block + 2 + 4 * g));
    return _mm256_sub_epi8(_mm256_set1_epi8(-1), _mm256_add_epi8(set, set));
  }
};

struct DotQ2_0 {
  static constexpr int kBytes = 18, kElements = 64, kGroup = 32;
  static SMELT_DOT_INLINE void Scales(const uint8_t* block, float* scales) {
    scales[0] = scales[1] = Half(block);
  }
  static SMELT_DOT_INLINE __m256i Codes(const uint8_t* block, int g) {
    const __m256i bytes = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(Load64(block + 2 + 8 * g)));
    // Shifted left by 0, 6, 12 and 18 bits, each code has the low bits of a byte of its own.
    const __m256i two = _mm256_or_si256(bytes, _mm256_slli_epi32(bytes, 12));
    const __m256i four = _mm256_or_si256(two, _mm256_slli_epi32(two, 6));
    return _mm256_sub_epi8(_mm256_and_si256(four, _mm256_set1_epi8(3)), _mm256_set1_epi8(1));
  }
};

template <typename Format>
void SignedRows(const uint8_t* weights, uint64_t rows, uint64_t columns, const Activations8& x,
                float* out) {
  constexpr int kParts = Format::kElements / 32;
  const uint64_t blocks = columns / Format::kElements;
  for (uint64_t r = 0; r < rows; ++r) {
    const uint8_t* block = weights + r * blocks * Format::kBytes;
    Accumulators acc;
    for (uint64_t b = 0; b < blocks; ++b, block += Format::kBytes) {
      Prefetch<Format::kBytes>(block);
      const int8_t* activations = x.codes + Format::kElements * b;
      const float* activation_scales = x.scales + kParts * b;
      alignas(32) float scales[Format::kElements / Format::kGroup];
      Format::Scales(block, scales);
      for (int g = 0; g < kParts; ++g) {
        __m256 scale = _mm256_broadcast_ss(activation_scales + g);
        if constexpr (Format::kGroup == 32) {
          scale = _mm256_mul_ps(scale, _mm256_broadcast_ss(scales + g));
        } else {
          scale = _mm256_mul_ps(scale, _mm256_set_m128(_mm_broadcast_ss(scales + 2 * g + 1),
                                                       _mm_broadcast_ss(scales + 2 * g)));
        }
        acc.Add(static_cast<int>(b * kParts) + g,
                SignedProducts(Format::Codes(block, g), Load32(activations + 32 * g)), scale);
      }
    }
    out[r] = acc.Total();
  }
}

template <typename Format>
void UnpackSigned(const uint8_t* block, int8_t* codes, float* scales, float*) {
  Format::Scales(block, scales);
  for (int g = 0; g < Format::kElements / 32; ++g) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + 32 * g), Format::Codes(block, g));
  }
}

template <typename Format>
constexpr SignedKernels kSigned = {SignedRows<Format>, UnpackSigned<Format>};

SignedKernels FindSigned(TensorType type) {
  switch (type) {
    case TensorType::kIQ1_S:
      return kSigned<DotIQ1_S>;
    case TensorType::kIQ1_M:
      return kSigned<DotIQ1_M>;
    case TensorType::kIQ2_XXS:
      return kSigned<DotIQ2_XXS>;
    case TensorType::kIQ2_XS:
      return kSigned<DotIQ2_XS>;
    case TensorType::kIQ2_S:
      return kSigned<DotIQ2_S>;
    case TensorType::kIQ3_XXS:
      return kSigned<DotIQ3_XXS>;
    case TensorType::kIQ3_S:
      return kSigned<DotIQ3_S>;
    case TensorType::kIQ4_NL:
      return {SimpleRows<DotIQ4_NL>, UnpackSigned<CommonIQ4_NL>};
    case TensorType::kIQ4_XS:
      return {SuperRows<DotIQ4_XS>, UnpackSigned<CommonIQ4_XS>};
    case TensorType::kMXFP4:
      return {SimpleRows<DotMXFP4>, UnpackSigned<CommonMXFP4>};
    case TensorType::kNVFP4:
      return kSigned<DotNVFP4>;
    case TensorType::kTQ1_0:
      return kSigned<DotTQ1_0>;
    case TensorType::kTQ2_0:
      return kSigned<DotTQ2_0>;
    case TensorType::kQ1_0:
      return kSigned<DotQ1_0>;
    case TensorType::kQ2_0:
      return kSigned<DotQ2_0>;
    default:
      return {};
  }
}

#undef SMELT_DOT_INLINE

}  // namespace SMELT_DOT_NAMESPACE
}  // namespace smelt
