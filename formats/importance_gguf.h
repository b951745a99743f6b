// The parts of an importance matrix in GGUF, for all files that hold one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/gguf.h"
#include "formats/importance.h"

namespace smelt {

/// Endings of the names of a tensor's sums and counts.
inline constexpr std::string_view kSumsEnding = ".in_sum2", kCountsEnding = ".counts";

/// The keys that say where the figures come from.
Metadata ImportanceKeys(const ImportanceOrigin& origin);
/// The same read again; all of them must be there. `storage`: for messages.
absl::StatusOr<ImportanceOrigin> ImportanceOriginOf(const GgufFile& file, const Storage& storage);

/// An entry's sums and counts, appended to what a file has.
void AddImportanceSpecs(const ImportanceEntry& entry, std::vector<GgufTensorSpec>& specs);
/// The same read again, but for the sums; either may be missing, which is an error.
absl::StatusOr<ImportanceEntry> ImportanceEntryOf(const Storage& storage, const std::string& name,
                                                  const GgufTensor* sums, const GgufTensor* counts);

/// Whether it can be a sum of squares, or a count.
bool IsImportance(float value);

}  // namespace smelt
