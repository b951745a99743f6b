// What the tests of the Vulkan backend share. They run on Mesa's software device where the machine
// has no card, and are skipped, loudly, where it has no Vulkan.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "infer/open_backend.h"
#include "lib/model/open.h"
#include "tests/model/expected_gguf.h"
#ifdef SMELT_HAS_VULKAN
#include "infer/vulkan/device.h"
#endif

#define SMELT_REQUIRE_VULKAN()                                        \
  if (const DeviceList list = ListDevices(); list.devices.size() < 2) \
  GTEST_SKIP() << "SKIPPED: there is no Vulkan device here: " << list.problem

namespace smelt::testing {

inline const DeviceOptions kVulkan = {.device = "vulkan"};

/// The recorded llama (2.8 MB of weights), without its vocabulary.
inline auto OpenLlama() {
  OpenOptions options;
  options.vocabulary = false;
  return OpenModel(ModelPath("llama"), options);
}

using Logits = std::vector<std::vector<double>>;

inline double Difference(const Logits& a, const Logits& b) {
  if (a.size() != b.size()) return HUGE_VAL;
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t j = 0; j < a[i].size(); ++j) {
      const double d = std::abs(a[i][j] - b[i][j]);
      worst = std::max(worst, std::isnan(d) ? HUGE_VAL : d);
    }
  }
  return worst;
}

/// The greatest difference as a share of the greatest value of b.
inline double RelativeDifference(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return HUGE_VAL;
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    worst = std::max(worst, std::isnan(d) ? HUGE_VAL : d);
  }
  double largest = 0;
  for (const float v : b) largest = std::max(largest, std::abs(static_cast<double>(v)));
  return worst / largest;
}

#ifdef SMELT_HAS_VULKAN

/// The functions of Vulkan that a test replaced are as they were when it goes; so is what is known
/// of the devices.
template <auto& kFunction>
class Replaced {
 public:
  explicit Replaced(std::remove_reference_t<decltype(kFunction)> with) : before_(kFunction) {
    real = kFunction;
    kFunction = with;
    DeviceTrials::Forget();
  }
  ~Replaced() {
    kFunction = before_;
    DeviceTrials::Forget();
  }
  static inline std::remove_reference_t<decltype(kFunction)> real = nullptr;

 private:
  const std::remove_reference_t<decltype(kFunction)> before_;
};

#endif

}  // namespace smelt::testing
