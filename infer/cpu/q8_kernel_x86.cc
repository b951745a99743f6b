#include "infer/cpu/q8_kernel_variants.h"

#if SMELT_Q8_X86

#include <immintrin.h>

#include <cstring>

#include "infer/cpu/layout.h"

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

// One row times 32 lanes, 8 at a time in 4 vectors. |w| sign(x, w) keeps maddubs' pairs within 2 x
// 128 x 127 < 2^15.
template <size_t R, uint32_t kGroup>
SMELT_AVX2 void TileAvx2(const Q8Tile& t, size_t first, const int8_t* codes, const float* scales,
                         const float* sums, float* out) {
  const size_t groups = t.columns / kGroup;
  const int8_t* w = t.codes + first * t.stride;
  const float* ws = t.scales + first * groups;
  const float* wm = t.minimums == nullptr ? nullptr : t.minimums + first * groups;
  const __m256i ones = _mm256_set1_epi16(1);
  for (size_t lane = 0; lane < kPanel; lane += 8) {
    __m256 total[R];
    for (size_t r = 0; r < R; ++r) total[r] = _mm256_setzero_ps();
    for (size_t g = 0; g < groups; ++g) {
      __m256i dot[R];
      for (size_t r = 0; r < R; ++r) dot[r] = _mm256_setzero_si256();
      for (size_t k = g * kGroup; k < (g + 1) * kGroup; k += 4) {
        const __m256i x =
            _mm256_load_si256(reinterpret_cast<const __m256i*>(codes + k * kPanel + lane * 4));
        for (size_t r = 0; r < R; ++r) {
          const __m256i b = _mm256_set1_epi32(LoadFour(w + r * t.stride + k));
          const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(b), _mm256_sign_epi8(x, b));
          dot[r] = _mm256_add_epi32(dot[r], _mm256_madd_epi16(pairs, ones));
        }
      }
      const __m256 xs = _mm256_load_ps(scales + g * kGroup / 32 * kPanel + lane);
      for (size_t r = 0; r < R; ++r) {
        total[r] = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_set1_ps(ws[r * groups + g]), xs),
                                   _mm256_cvtepi32_ps(dot[r]), total[r]);
      }
      if (wm == nullptr) continue;
      for (size_t s = g * kGroup / 16; s < (g + 1) * kGroup / 16; ++s) {
        const __m256 x = _mm256_load_ps(sums + s * kPanel + lane);
        for (size_t r = 0; r < R; ++r)
          total[r] = _mm256_fnmadd_ps(_mm256_set1_ps(wm[r * groups + g]), x, total[r]);
      }
    }
    for (size_t r = 0; r < R; ++r) _mm256_store_ps(out + (first + r) * kPanel + lane, total[r]);
  }
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
  size_t r = 0;
  if (t.group == 32) {
    for (; r + 4 <= t.rows; r += 4) TileAvx2<4, 32>(t, r, codes, scales, sums, out);
    for (; r < t.rows; ++r) TileAvx2<1, 32>(t, r, codes, scales, sums, out);
  } else {
    for (; r + 4 <= t.rows; r += 4) TileAvx2<4, 16>(t, r, codes, scales, sums, out);
    for (; r < t.rows; ++r) TileAvx2<1, 16>(t, r, codes, scales, sums, out);
  }
}

}  // namespace smelt::cpu

#endif  // SMELT_Q8_X86
