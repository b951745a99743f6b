#include "quant/interleaved.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "hwy/base.h"
#include "quant/iq_tables.h"
#include "quant/simd.h"

#if HWY_ARCH_X86_64
#include <immintrin.h>

// As in int8_dot.cc: SMELT_LANES_VNNI names the instruction that adds four products.
// SMELT_LANES_READ_AHEAD says whether it is worth while to ask for memory early: measured, a third
// faster on AVX2 (Zen 3), slower on AVX-512 (Zen 4).
#define SMELT_LANES_AVX2 "avx,avx2,fma,f16c"
#define SMELT_LANES_AVX512 SMELT_LANES_AVX2 ",avx512f,avx512vl,avx512bw,avx512dq,avx512vnni"

HWY_PUSH_ATTRIBUTES(SMELT_LANES_AVX2)
#define SMELT_LANES_NAMESPACE lanes_avx2
#define SMELT_LANES 8
#define SMELT_LANES_READ_AHEAD 1
#define SMELT_LANES_HAS_VNNI 0
#include "quant/interleaved-inl.h"
#undef SMELT_LANES_NAMESPACE
#undef SMELT_LANES_HAS_VNNI
HWY_POP_ATTRIBUTES

HWY_PUSH_ATTRIBUTES(SMELT_LANES_AVX2 ",avxvnni")
#define SMELT_LANES_NAMESPACE lanes_avxvnni
#define SMELT_LANES_HAS_VNNI 1
#define SMELT_LANES_VNNI _mm256_dpbusd_avx_epi32
#include "quant/interleaved-inl.h"
#undef SMELT_LANES_NAMESPACE
#undef SMELT_LANES_HAS_VNNI
#undef SMELT_LANES_VNNI
#undef SMELT_LANES_READ_AHEAD
#undef SMELT_LANES
HWY_POP_ATTRIBUTES

HWY_PUSH_ATTRIBUTES(SMELT_LANES_AVX512)
#define SMELT_LANES_NAMESPACE lanes_avx512
#define SMELT_LANES 16
#define SMELT_LANES_READ_AHEAD 0
#define SMELT_LANES_HAS_VNNI 1
#define SMELT_LANES_VNNI _mm512_dpbusd_epi32
#include "quant/interleaved-inl.h"
#undef SMELT_LANES_NAMESPACE
#undef SMELT_LANES_HAS_VNNI
#undef SMELT_LANES_VNNI
#undef SMELT_LANES_READ_AHEAD
#undef SMELT_LANES
HWY_POP_ATTRIBUTES

namespace smelt {

const InterleavedKernels* FindInterleaved(TensorType type) {
  if (SimdAllowsVnni512()) return lanes_avx512::Find(type);
  if (SimdAllowsAvxVnni()) return lanes_avxvnni::Find(type);
  if (SimdAllowsAvx2()) return lanes_avx2::Find(type);
  return nullptr;
}

}  // namespace smelt

#else  // HWY_ARCH_X86_64

namespace smelt {

const InterleavedKernels* FindInterleaved(TensorType) { return nullptr; }

}  // namespace smelt

#endif  // HWY_ARCH_X86_64
