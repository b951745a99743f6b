// Matrices that get another type than the preset gives them, because its blocks do not divide their
// rows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "lib/model/model_source.h"
#include "quant/presets.h"

namespace smelt {

/// All matrices in which one type stands in for another.
struct FallbackGroup {
  TensorType type, instead_of;
  uint64_t tensors = 0;
  std::string first;           ///< name of the first
  uint64_t first_columns = 0;  ///< of its rows
};

struct Fallbacks {
  std::vector<FallbackGroup>
      kinds;              ///< in the order of their first tensors; empty: every matrix fits
  uint64_t tensors = 0;   ///< of all kinds
  uint64_t matrices = 0;  ///< that the preset quantizes
};

/// Counts what `choices`, one per tensor of the source, say; what an option asked for is not the
/// preset's.
Fallbacks CountFallbacks(const ModelSource& source, const std::vector<TypeChoice>& choices);

/// One sentence, for people.
std::string FallbackNote(const Fallbacks& fallbacks, double bits_per_weight);

/// kUnsupported with the first tensor whose rows the blocks of its type do not divide, whether the
/// type is the preset's or an option's.
absl::Status RefuseFallbacks(const ModelSource& source, const std::vector<TypeChoice>& choices);

}  // namespace smelt
