#include "quant/simd.h"

#include <atomic>
#include <cstdlib>

#include "hwy/highway.h"
#include "hwy/targets.h"
#include "lib/base/status.h"

#if HWY_ARCH_X86
#include <cpuid.h>
#endif

namespace smelt {
namespace {

/// Bits of the targets with kernels in this build.
constexpr int64_t kBuilt = HWY_TARGETS;

std::string Upper(std::string_view text) {
  std::string upper(text);
  for (char& c : upper) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return upper;
}

/// What the machine can run, whatever is forced now.
int64_t MachineTargets() {
  static const int64_t targets = hwy::SupportedTargets();
  return targets;
}

/// Targets that kernels may use now. Asking Highway takes a cpuid, which is slow in a virtual
/// machine.
std::atomic<int64_t>& AllowedTargets() {
  static std::atomic<int64_t> targets = MachineTargets();
  return targets;
}

void Restrict(int64_t targets) {
  hwy::SetSupportedTargetsForTest(targets);
  const int64_t allowed = hwy::SupportedTargets();
  hwy::GetChosenTarget().Update(allowed);
  AllowedTargets() = allowed;
}

#if HWY_ARCH_X86
/// True when `target` is there and no weaker one is forced.
bool Allows(int64_t target) { return (AllowedTargets() & kBuilt & target) != 0; }
#endif

}  // namespace

std::vector<std::string> SimdTargets() {
  std::vector<std::string> names;
  // A smaller bit is a better target.
  for (int64_t bits = MachineTargets() & kBuilt; bits != 0; bits &= bits - 1) {
    names.emplace_back(hwy::TargetName(bits & ~(bits - 1)));
  }
  return names;
}

absl::Status ForceSimdTarget(std::string_view name) {
  MachineTargets();
  if (name.empty()) {
    Restrict(0);
    return absl::OkStatus();
  }
  const std::string wanted = Upper(name);
  for (int64_t bits = MachineTargets() & kBuilt; bits != 0; bits &= bits - 1) {
    const int64_t target = bits & ~(bits - 1);
    if (Upper(hwy::TargetName(target)) != wanted) continue;
    Restrict(target);
    return absl::OkStatus();
  }
  std::string known;
  for (const std::string& target : SimdTargets()) known += (known.empty() ? "" : ", ") + target;
  return Error(
      ErrorCode::kUsage, "SMELT_SIMD=", name,
      " is no instruction set that this machine has and this build supports; choose one of ", known,
      " or leave SMELT_SIMD unset");
}

absl::Status InitSimd() {
  static const absl::Status status = [] {
    const char* name = std::getenv("SMELT_SIMD");
    return name == nullptr || *name == '\0' ? absl::OkStatus() : ForceSimdTarget(name);
  }();
  return status;
}

#if HWY_ARCH_X86
bool SimdAllowsAvx2() { return Allows(HWY_AVX2) || Allows(HWY_AVX3); }

bool SimdAllowsAvxVnni() {
  // Leaf 7.1, EAX bit 4; compilers of 2022 do not all know its name.
  static const bool vnni = [] {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1) != 0;
  }();
  return vnni && SimdAllowsAvx2();
}

bool SimdAllowsVnni512() {
  static const bool vnni = __builtin_cpu_supports("avx512vnni") != 0;
  return vnni && Allows(HWY_AVX3);
}
#else
bool SimdAllowsAvx2() { return false; }
bool SimdAllowsAvxVnni() { return false; }
bool SimdAllowsVnni512() { return false; }
#endif

}  // namespace smelt
