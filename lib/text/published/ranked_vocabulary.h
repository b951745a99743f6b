// Vocabularies of byte strings whose ids are their ranks, as tiktoken and tekken have them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/text/spec/pipeline_spec.h"

namespace smelt {

/// Bytes of a token: the ways to split a token are looked at one by one, which takes its length
/// squared. Published ones have up to 128.
inline constexpr size_t kMaxRankedBytes = 512;

/// How a text is cut before ranks count, and what surrounds them.
struct RankedForm {
  std::string_view pattern;
  bool nfc = false;
  bool ignore_merges = true;  ///< a word that is a token is that token
  bool all_ways = false;      ///< every way to split a token is a merge, not only one
  int32_t first_id = 0;       ///< of the rank 0
  std::vector<AddedToken> added;
};

/// A byte-level BPE. kInvalidInput when a single byte has no rank.
absl::StatusOr<PipelineSpec> MakeRankedSpec(const TokenTable& ranks, RankedForm form,
                                            const std::string& file);

}  // namespace smelt
