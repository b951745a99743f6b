#include "infer/cpu/q8_kernel_variants.h"

#if SMELT_Q8_X86

#include <immintrin.h>

#include <cstring>

#include "infer/cpu/layout.h"
#include "infer/cpu/memory.h"
#include "lib/base/per_thread.h"

#define SMELT_VNNI512 \
  __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")))
#define SMELT_AVX2 __attribute__((target("avx2,fma")))

namespace smelt::cpu {
namespace {

int32_t LoadFour(const int8_t* p) {
  int32_t four;
  std::memcpy(&four, p, sizeof(four));
  return four;
}

// R rows times 32 lanes. The instruction multiplies unsigned by signed bytes, so weights are
// shifted by 128: the sum 128 sum(x) that this adds is taken off beforehand, exactly, from the
// integer sums of x.
template <size_t R, uint32_t kGroup>
SMELT_VNNI512 void TileVnni(const Q8Tile& t, size_t first, const int8_t* codes, const float* scales,
                            const float* sums, float* out) {
  const size_t groups = t.columns / kGroup;
  const int8_t* w = t.codes + first * t.stride;
  const float* ws = t.scales + first * groups;
  const float* wm = t.minimums == nullptr ? nullptr : t.minimums + first * groups;
  const __m512i flip = _mm512_set1_epi32(static_cast<int32_t>(0x80808080u));
  const __m512i ones = _mm512_set1_epi32(0x01010101);
  __m512 total[R][2];
  for (size_t r = 0; r < R; ++r) total[r][0] = total[r][1] = _mm512_setzero_ps();
  for (size_t g = 0; g < groups; ++g) {
    __m512i dot[R][2];
    __m512i shift0 = _mm512_setzero_si512(), shift1 = _mm512_setzero_si512();
    for (size_t r = 0; r < R; ++r) dot[r][0] = dot[r][1] = _mm512_setzero_si512();
    for (size_t k = g * kGroup; k < (g + 1) * kGroup; k += 4) {
      const __m512i x0 = _mm512_load_si512(codes + k * kPanel);
      const __m512i x1 = _mm512_load_si512(codes + k * kPanel + 64);
      shift0 = _mm512_dpbusd_epi32(shift0, ones, x0);
      shift1 = _mm512_dpbusd_epi32(shift1, ones, x1);
      for (size_t r = 0; r < R; ++r) {
        const __m512i b = _mm512_xor_si512(_mm512_set1_epi32(LoadFour(w + r * t.stride + k)), flip);
        dot[r][0] = _mm512_dpbusd_epi32(dot[r][0], b, x0);
        dot[r][1] = _mm512_dpbusd_epi32(dot[r][1], b, x1);
      }
    }
    shift0 = _mm512_slli_epi32(shift0, 7);
    shift1 = _mm512_slli_epi32(shift1, 7);
    const __m512 xs0 = _mm512_load_ps(scales + g * kGroup / 32 * kPanel);
    const __m512 xs1 = _mm512_load_ps(scales + g * kGroup / 32 * kPanel + 16);
    for (size_t r = 0; r < R; ++r) {
      const __m512 s = _mm512_set1_ps(ws[r * groups + g]);
      total[r][0] =
          _mm512_fmadd_ps(_mm512_mul_ps(s, xs0),
                          _mm512_cvtepi32_ps(_mm512_sub_epi32(dot[r][0], shift0)), total[r][0]);
      total[r][1] =
          _mm512_fmadd_ps(_mm512_mul_ps(s, xs1),
                          _mm512_cvtepi32_ps(_mm512_sub_epi32(dot[r][1], shift1)), total[r][1]);
    }
    if (wm == nullptr) continue;
    for (size_t s = g * kGroup / 16; s < (g + 1) * kGroup / 16; ++s) {
      const __m512 x0 = _mm512_load_ps(sums + s * kPanel);
      const __m512 x1 = _mm512_load_ps(sums + s * kPanel + 16);
      for (size_t r = 0; r < R; ++r) {
        const __m512 m = _mm512_set1_ps(wm[r * groups + g]);
        total[r][0] = _mm512_fnmadd_ps(m, x0, total[r][0]);
        total[r][1] = _mm512_fnmadd_ps(m, x1, total[r][1]);
      }
    }
  }
  for (size_t r = 0; r < R; ++r) {
    _mm512_store_ps(out + (first + r) * kPanel, total[r][0]);
    _mm512_store_ps(out + (first + r) * kPanel + 16, total[r][1]);
  }
}

// Scale and minimum of group g: what the two AVX2 tiles do with a group's integer sums, 8 lanes.
template <size_t R, uint32_t kGroup>
SMELT_AVX2 inline void AddGroup(const float* ws, const float* wm, size_t groups, size_t g,
                                const float* scales, const float* sums, size_t lane,
                                const __m256i (&dot)[R], __m256 (&total)[R]) {
  const __m256 xs = _mm256_load_ps(scales + g * kGroup / 32 * kPanel + lane);
  for (size_t r = 0; r < R; ++r) {
    total[r] = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_set1_ps(ws[r * groups + g]), xs),
                               _mm256_cvtepi32_ps(dot[r]), total[r]);
  }
  if (wm == nullptr) return;
  for (size_t s = g * kGroup / 16; s < (g + 1) * kGroup / 16; ++s) {
    const __m256 x = _mm256_load_ps(sums + s * kPanel + lane);
    for (size_t r = 0; r < R; ++r)
      total[r] = _mm256_fnmadd_ps(_mm256_set1_ps(wm[r * groups + g]), x, total[r]);
  }
}

// R rows of any codes times 32 lanes, 16 at a time, which share |w|. |w| sign(x, w) keeps maddubs'
// pairs within 2 x 128 x 127 < 2^15.
template <size_t R, uint32_t kGroup>
SMELT_AVX2 void TileAvx2(const Q8Tile& t, size_t first, const int8_t* codes, const float* scales,
                         const float* sums, float* out) {
  const size_t groups = t.columns / kGroup;
  const int8_t* w = t.codes + first * t.stride;
  const float* ws = t.scales + first * groups;
  const float* wm = t.minimums == nullptr ? nullptr : t.minimums + first * groups;
  const __m256i ones = _mm256_set1_epi16(1);
  for (size_t lane = 0; lane < kPanel; lane += 16) {
    __m256 low_total[R], high_total[R];
    for (size_t r = 0; r < R; ++r) low_total[r] = high_total[r] = _mm256_setzero_ps();
    for (size_t g = 0; g < groups; ++g) {
      __m256i low[R], high[R];
      for (size_t r = 0; r < R; ++r) low[r] = high[r] = _mm256_setzero_si256();
#pragma GCC unroll 2  // more, and all products are computed before any is added: registers spill
      for (size_t k = g * kGroup; k < (g + 1) * kGroup; k += 4) {
        const __m256i* x = reinterpret_cast<const __m256i*>(codes + k * kPanel + lane * 4);
        const __m256i x0 = _mm256_load_si256(x), x1 = _mm256_load_si256(x + 1);
        for (size_t r = 0; r < R; ++r) {
          const __m256i b = _mm256_set1_epi32(LoadFour(w + r * t.stride + k));
          const __m256i size = _mm256_abs_epi8(b);
          const __m256i pairs0 = _mm256_maddubs_epi16(size, _mm256_sign_epi8(x0, b));
          const __m256i pairs1 = _mm256_maddubs_epi16(size, _mm256_sign_epi8(x1, b));
          low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(pairs0, ones));
          high[r] = _mm256_add_epi32(high[r], _mm256_madd_epi16(pairs1, ones));
        }
      }
      AddGroup<R, kGroup>(ws, wm, groups, g, scales, sums, lane, low, low_total);
      AddGroup<R, kGroup>(ws, wm, groups, g, scales, sums, lane + 8, high, high_total);
    }
    for (size_t r = 0; r < R; ++r) {
      _mm256_store_ps(out + (first + r) * kPanel + lane, low_total[r]);
      _mm256_store_ps(out + (first + r) * kPanel + lane + 8, high_total[r]);
    }
  }
}

// Codes of few bits, 8 lanes at a time. Unsigned (`w` holds code + zero, at most 128 / kSteps),
// they need no signs, and kSteps products fit into 16 bits: 2 x 127 x 128 < 2^15. What the zero
// adds is taken off through the integer sums of x.
template <size_t R, uint32_t kGroup, uint32_t kSteps, bool kZero>
SMELT_AVX2 void TileFewBits(const Q8Tile& t, size_t first, const uint8_t* w, size_t stride,
                            int zero, const int8_t* codes, const float* scales, const float* sums,
                            float* out) {
  const size_t groups = t.columns / kGroup;
  const float* ws = t.scales + first * groups;
  const float* wm = t.minimums == nullptr ? nullptr : t.minimums + first * groups;
  const __m256i ones = _mm256_set1_epi16(1);
  const __m256i zeros = _mm256_set1_epi32(zero);
  for (size_t lane = 0; lane < kPanel; lane += 8) {
    __m256 total[R];
    for (size_t r = 0; r < R; ++r) total[r] = _mm256_setzero_ps();
    for (size_t g = 0; g < groups; ++g) {
      __m256i dot[R], x_sum = _mm256_setzero_si256();
      for (size_t r = 0; r < R; ++r) dot[r] = _mm256_setzero_si256();
      for (size_t k = g * kGroup; k < (g + 1) * kGroup; k += 4 * kSteps) {
        __m256i pairs[R], x_pairs = _mm256_setzero_si256();
        for (size_t r = 0; r < R; ++r) pairs[r] = _mm256_setzero_si256();
#pragma GCC unroll 2  // more, and all products are computed before any is added: registers spill
        for (size_t j = k; j < k + 4 * kSteps; j += 4) {
          const __m256i x =
              _mm256_load_si256(reinterpret_cast<const __m256i*>(codes + j * kPanel + lane * 4));
          if (kZero)
            x_pairs = _mm256_add_epi16(x_pairs, _mm256_maddubs_epi16(_mm256_set1_epi8(1), x));
          for (size_t r = 0; r < R; ++r) {
            const __m256i b =
                _mm256_set1_epi32(LoadFour(reinterpret_cast<const int8_t*>(w) + r * stride + j));
            pairs[r] = _mm256_add_epi16(pairs[r], _mm256_maddubs_epi16(b, x));
          }
        }
        if (kZero) x_sum = _mm256_add_epi32(x_sum, _mm256_madd_epi16(x_pairs, ones));
        for (size_t r = 0; r < R; ++r)
          dot[r] = _mm256_add_epi32(dot[r], _mm256_madd_epi16(pairs[r], ones));
      }
      if (kZero) {
        const __m256i added = _mm256_mullo_epi32(x_sum, zeros);
        for (size_t r = 0; r < R; ++r) dot[r] = _mm256_sub_epi32(dot[r], added);
      }
      AddGroup<R, kGroup>(ws, wm, groups, g, scales, sums, lane, dot, total);
    }
    for (size_t r = 0; r < R; ++r) _mm256_store_ps(out + (first + r) * kPanel + lane, total[r]);
  }
}

SMELT_AVX2 void AddToBytes(const uint8_t* in, size_t n, int added, uint8_t* out) {
  const __m256i a = _mm256_set1_epi8(static_cast<char>(added));
  for (size_t i = 0; i < n; i += 32) {
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + i));
    _mm256_store_si256(reinterpret_cast<__m256i*>(out + i), _mm256_add_epi8(bytes, a));
  }
}

constexpr size_t kFewBitsRows = 4;

const PerThread<Array<uint8_t>> shifted;

template <uint32_t kGroup, uint32_t kSteps>
void MultiplyFewBits(const Q8Tile& t, const int8_t* codes, const float* scales, const float* sums,
                     float* out) {
  const int zero = t.low < 0 ? -t.low : 0;
  for (size_t r = 0; r < t.rows;) {
    const size_t n = t.rows - r >= kFewBitsRows ? kFewBitsRows : 1;
    const uint8_t* w = reinterpret_cast<const uint8_t*>(t.codes) + r * t.stride;
    size_t stride = t.stride;
    if (zero != 0) {
      uint8_t* to = shifted->Reserve(n * t.columns);
      for (size_t i = 0; i < n; ++i)
        AddToBytes(w + i * t.stride, t.columns, zero, to + i * t.columns);
      w = to;
      stride = t.columns;
    }
    const auto tile = n == 1 ? (zero == 0 ? TileFewBits<1, kGroup, kSteps, false>
                                          : TileFewBits<1, kGroup, kSteps, true>)
                             : (zero == 0 ? TileFewBits<kFewBitsRows, kGroup, kSteps, false>
                                          : TileFewBits<kFewBitsRows, kGroup, kSteps, true>);
    tile(t, r, w, stride, zero, codes, scales, sums, out);
    r += n;
  }
}

template <uint32_t kGroup>
void MultiplyAvx2(const Q8Tile& t, const int8_t* codes, const float* scales, const float* sums,
                  float* out) {
  const int largest = t.low < 0 ? t.high - t.low : t.high;
  if (largest <= 16 && kGroup == 32)
    return MultiplyFewBits<kGroup, kGroup / 4>(t, codes, scales, sums, out);
  if (largest <= 32) return MultiplyFewBits<kGroup, 4>(t, codes, scales, sums, out);
  if (largest <= 64) return MultiplyFewBits<kGroup, 2>(t, codes, scales, sums, out);
  size_t r = 0;
  for (; r + 2 <= t.rows; r += 2) TileAvx2<2, kGroup>(t, r, codes, scales, sums, out);
  for (; r < t.rows; ++r) TileAvx2<1, kGroup>(t, r, codes, scales, sums, out);
}

}  // namespace

void MultiplyQ8Vnni512(const Q8Tile& t, const int8_t* codes, const float* scales, const float* sums,
                       float* out) {
  size_t r = 0;
  if (t.group == 32) {
    for (; r + 6 <= t.rows; r += 6) TileVnni<6, 32>(t, r, codes, scales, sums, out);
    for (; r < t.rows; ++r) TileVnni<1, 32>(t, r, codes, scales, sums, out);
  } else {
    for (; r + 6 <= t.rows; r += 6) TileVnni<6, 16>(t, r, codes, scales, sums, out);
    for (; r < t.rows; ++r) TileVnni<1, 16>(t, r, codes, scales, sums, out);
  }
}

void MultiplyQ8Avx2(const Q8Tile& t, const int8_t* codes, const float* scales, const float* sums,
                    float* out) {
  if (t.group == 32) return MultiplyAvx2<32>(t, codes, scales, sums, out);
  MultiplyAvx2<16>(t, codes, scales, sums, out);
}

}  // namespace smelt::cpu

#endif  // SMELT_Q8_X86
