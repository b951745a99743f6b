// The variants of MultiplyQ8 for one instruction set each; call them only on machines that have it.
#pragma once

#include "infer/cpu/q8_kernel.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define SMELT_Q8_X86 1
#else
#define SMELT_Q8_X86 0
#endif

#if SMELT_Q8_X86
namespace smelt::cpu {

void MultiplyQ8Vnni512(const Q8Tile& tile, const int8_t* codes, const float* scales,
                       const float* sums, float* out);
void MultiplyQ8Avx2(const Q8Tile& tile, const int8_t* codes, const float* scales, const float* sums,
                    float* out);

}  // namespace smelt::cpu
#endif
