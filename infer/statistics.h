// From losses of single tokens to perplexity and KL figures.
#pragma once

#include <span>
#include <vector>

#include "infer/backend.h"
#include "infer/score.h"

namespace smelt {

/// Value at fraction f of sorted values: position f (n - 1), linear interpolation. Empty: 0.
double Percentile(std::span<const double> sorted, double f);

/// Fills the figures of `result` that follow from the losses.
void Summarize(std::span<const TokenLoss> losses, bool with_reference, ScoreFigures& result);

}  // namespace smelt
