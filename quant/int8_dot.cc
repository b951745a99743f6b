#include "quant/int8_dot.h"

#include <cstring>
#include <type_traits>

#include "hwy/base.h"
#include "quant/block_bytes.h"
#include "quant/fp4_scales.h"
#include "quant/iq_tables.h"
#include "quant/simd.h"

#if HWY_ARCH_X86_64
#include <immintrin.h>

// SMELT_DOT_VNNI names the instruction that adds four products: AVX-512's, that of AVX-VNNI in
// processors without AVX-512, or none.
#define SMELT_DOT_AVX2 "avx,avx2,fma,f16c"
#define SMELT_DOT_AVX512 SMELT_DOT_AVX2 ",avx512f,avx512vl,avx512bw,avx512dq,avx512vnni"

HWY_PUSH_ATTRIBUTES(SMELT_DOT_AVX2)
#define SMELT_DOT_NAMESPACE dot_avx2
#define SMELT_DOT_HAS_VNNI 0
#include "quant/int8_dot-inl.h"
#include "quant/int8_dot_signed-inl.h"
#undef SMELT_DOT_NAMESPACE
#undef SMELT_DOT_HAS_VNNI
HWY_POP_ATTRIBUTES

HWY_PUSH_ATTRIBUTES(SMELT_DOT_AVX2 ",avxvnni")
#define SMELT_DOT_NAMESPACE dot_avxvnni
#define SMELT_DOT_HAS_VNNI 1
#define SMELT_DOT_VNNI _mm256_dpbusd_avx_epi32
#include "quant/int8_dot-inl.h"
#include "quant/int8_dot_signed-inl.h"
#undef SMELT_DOT_NAMESPACE
#undef SMELT_DOT_HAS_VNNI
#undef SMELT_DOT_VNNI
HWY_POP_ATTRIBUTES

HWY_PUSH_ATTRIBUTES(SMELT_DOT_AVX512)
#define SMELT_DOT_NAMESPACE dot_vnni
#define SMELT_DOT_HAS_VNNI 1
#define SMELT_DOT_VNNI _mm256_dpbusd_epi32
#include "quant/int8_dot-inl.h"
#include "quant/int8_dot_signed-inl.h"
#undef SMELT_DOT_NAMESPACE
#undef SMELT_DOT_HAS_VNNI
#undef SMELT_DOT_VNNI
HWY_POP_ATTRIBUTES

namespace smelt {
namespace {

SignedKernels FindSigned(TensorType type) {
  if (SimdAllowsVnni512()) return dot_vnni::FindSigned(type);
  if (SimdAllowsAvxVnni()) return dot_avxvnni::FindSigned(type);
  if (SimdAllowsAvx2()) return dot_avx2::FindSigned(type);
  return {};
}

Int8DotFn FindUnsigned(TensorType type) {
  if (SimdAllowsVnni512()) return dot_vnni::Find(type);
  if (SimdAllowsAvxVnni()) return dot_avxvnni::Find(type);
  if (SimdAllowsAvx2()) return dot_avx2::Find(type);
  return nullptr;
}

}  // namespace

Int8DotFn FindInt8Dot(TensorType type) {
  const SignedKernels kernels = FindSigned(type);
  return kernels.dot != nullptr ? kernels.dot : FindUnsigned(type);
}

UnpackBlockFn FindVectorUnpack(TensorType type) { return FindSigned(type).unpack; }

}  // namespace smelt

#else  // HWY_ARCH_X86_64

namespace smelt {

Int8DotFn FindInt8Dot(TensorType) { return nullptr; }
UnpackBlockFn FindVectorUnpack(TensorType) { return nullptr; }

}  // namespace smelt

#endif  // HWY_ARCH_X86_64
