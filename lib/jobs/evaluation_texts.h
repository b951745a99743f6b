// What `eval` and the gate score: texts, or ids, with what is known of them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "infer/score.h"
#include "lib/model/model_source.h"
#include "lib/text/tokenizer.h"
#include "smelt/evaluate.h"
#include "smelt/observer.h"

namespace smelt {

struct NamedText {
  std::string name, text;
};

/// The files' texts, in their order; "-" (at most once) is standard input.
absl::StatusOr<std::vector<NamedText>> ReadEvaluationTexts(const std::vector<std::string>& files,
                                                           const Observer& observer);

/// Ids of every text, ready to be scored.
struct EvaluationTexts {
  std::vector<std::string> names;
  std::vector<std::vector<int32_t>> ids;
  std::unique_ptr<Tokenizer> tokenizer;  ///< nullptr: ids without a vocabulary that we know

  void SetBos(ScoreOptions& options) const;
};

absl::StatusOr<EvaluationTexts> Encode(const std::vector<NamedText>& texts,
                                       std::unique_ptr<Tokenizer> tokenizer);

/// Notes what is scored of texts shorter than two contexts, warns of texts of which nothing can be.
/// kInvalidInput when there is nothing to score at all.
absl::Status DescribeShortTexts(const EvaluationTexts& texts, const ScoreOptions& options,
                                const Observer& observer);

/// Fills `result.texts` and the bits per byte. A token's bytes are those that it decodes to.
void AddTexts(const EvaluationTexts& texts, const ScoreOptions& options, const ScoreResult& score,
              EvaluateResult& result);

}  // namespace smelt
