#include "quant/int8_dot.h"

#include <cstring>
#include <type_traits>

#include "hwy/base.h"
#include "quant/block_bytes.h"
#include "quant/simd.h"

#if HWY_ARCH_X86_64
#include <immintrin.h>

HWY_PUSH_ATTRIBUTES("avx,avx2,fma,f16c")
#define SMELT_DOT_NAMESPACE dot_avx2
#define SMELT_DOT_VNNI 0
#include "quant/int8_dot-inl.h"
#undef SMELT_DOT_NAMESPACE
#undef SMELT_DOT_VNNI
HWY_POP_ATTRIBUTES

HWY_PUSH_ATTRIBUTES("avx,avx2,fma,f16c,avx512f,avx512vl,avx512bw,avx512dq,avx512vnni")
#define SMELT_DOT_NAMESPACE dot_vnni
#define SMELT_DOT_VNNI 1
#include "quant/int8_dot-inl.h"
#undef SMELT_DOT_NAMESPACE
#undef SMELT_DOT_VNNI
HWY_POP_ATTRIBUTES

namespace smelt {

Int8DotFn FindInt8Dot(TensorType type) {
  if (SimdAllowsVnni512()) return dot_vnni::Find(type);
  if (SimdAllowsAvx2()) return dot_avx2::Find(type);
  return nullptr;
}

}  // namespace smelt

#else  // HWY_ARCH_X86_64

namespace smelt {

Int8DotFn FindInt8Dot(TensorType) { return nullptr; }

}  // namespace smelt

#endif  // HWY_ARCH_X86_64
