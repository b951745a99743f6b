// Quantized checkpoints: the tensors that together are a weight become one tensor with its values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "formats/container.h"
#include "formats/quantized/module.h"

namespace smelt {

/// Weights of one format.
struct QuantizedCount {
  std::string format;  ///< "GPTQ, 4 bits"
  uint32_t bits = 0;
  uint64_t weights = 0;
};

/// Judged tensor by tensor: `config` fills in what shapes do not say. `counts` receives what was
/// found, by format; `notes` what was left aside. kInvalidInput names a part that is missing or
/// does not fit; kUnsupported a format that is known and not read.
absl::Status JoinQuantized(const QuantizationConfig& config, Container& container,
                           std::vector<QuantizedCount>& counts, std::vector<std::string>& notes);

}  // namespace smelt
