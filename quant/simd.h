// Which SIMD instruction set the kernels use: the best that the machine has, or the one that
// SMELT_SIMD names.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace smelt {

/// Honours the environment variable SMELT_SIMD (a Highway target's name such as AVX2, any case)
/// once for the process: later kernels run on that target. kUsage when the name is unknown, not
/// compiled in, or the machine lacks it. Every job calls it first; cheap when called again.
absl::Status InitSimd();

/// Names of the targets that this build has kernels for and this machine can run, best first.
std::vector<std::string> SimdTargets();

/// Forces a target by name (for tests); an empty name lifts the restriction.
absl::Status ForceSimdTarget(std::string_view name);

/// True when the kernels may use AVX2 with FMA, besides it AVX-VNNI, or AVX-512 with VNNI: the
/// machine has them and no weaker target is forced. For the files with their own target attributes.
bool SimdAllowsAvx2();
bool SimdAllowsAvxVnni();
bool SimdAllowsVnni512();

}  // namespace smelt
