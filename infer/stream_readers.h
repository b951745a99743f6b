// What reads the residual stream first, and so what an error in a token's embedding costs.
#pragma once

#include "absl/status/status.h"
#include "infer/tap.h"
#include "lib/model/layer_spec.h"
#include "lib/model/model_source.h"

namespace smelt {

/// to.sums[i][j] += for j <= i the sum of w_i w_j over the rows w, norms included, of what reads
/// the stream in the first layer: what an error of the stream does to their products, in the mean.
/// Mixer and feed-forward part have a trace of 1 each, shared by their matrices; of a very high
/// matrix (experts) rows from all over it stand for all. Nothing is added where no layer reads it.
/// The same sums for any number of threads and every instruction set.
absl::Status AddReaders(const ModelSource& source, const ModelSpec& spec, InputGram& to);

}  // namespace smelt
