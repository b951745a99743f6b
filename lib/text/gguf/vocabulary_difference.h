// Whether two models mean the same by an id, and give the same ids to a text.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "lib/base/metadata.h"
#include "lib/text/tokenizer.h"

namespace smelt {

/// The first thing that two vocabularies do not have in common, as halves of a sentence: WHAT is
/// ONE in the first, OTHER in the second.
struct VocabularyDifference {
  std::string what, one, other;
  bool ids = true;  ///< false: only where generated text ends depends on it
};

/// "WHAT is ONE in FIRST and OTHER in SECOND".
std::string Sentence(const VocabularyDifference& difference, std::string_view first,
                     std::string_view second);

/// Compares the vocabularies of two models' metadata (tokenizer.ggml.*, smelt.tokenizer.*): kind,
/// settings that change ids (missing keys have the values that readers take), texts and types of
/// tokens, merges or scores, and at last which tokens end a text. Pre-tokenizers of two names are
/// the same when they split alike, scores when they put the merges into the same order. Padding,
/// which is unused tokens behind the last other one, counts as absent: its length may differ.
/// A key of ours that only one of them has is left to a comparison of ids. nullopt: all the same.
/// Linear in the vocabulary. Errors: a vocabulary that contradicts itself.
absl::StatusOr<std::optional<VocabularyDifference>> CompareVocabularies(const Metadata& a,
                                                                        const Metadata& b);

/// The first of the probe texts of self_check.h to which the two give different ids.
absl::StatusOr<std::optional<VocabularyDifference>> CompareOnProbes(const Tokenizer& a,
                                                                    const Tokenizer& b);

}  // namespace smelt
