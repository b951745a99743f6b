// What `eval` and the gate share: scores turned into public results, and limits judged.
#pragma once

#include <cstdint>
#include <string>

#include "infer/score.h"
#include "smelt/evaluate.h"

namespace smelt {

/// Without the texts' own figures (AddTexts of evaluation_texts.h).
EvaluateResult ToEvaluateResult(const ScoreResult& score, const std::string& model,
                                const std::string& reference);

/// Adds a gate; `value` at most `limit` passes (NaN does not).
void Judge(std::string name, double limit, double value, EvaluateResult& result);

}  // namespace smelt
