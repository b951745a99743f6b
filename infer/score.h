// Perplexity and KL divergence, layer by layer: a batch of chunks goes through layer i of the
// model, and of the reference beside it, then through layer i + 1, so that every weight is read and
// decoded once per batch.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/model/layer_spec.h"
#include "lib/model/model_source.h"
#include "smelt/observer.h"

namespace smelt {

/// Arithmetic of matrix products. kF32 is the truth; kQ8 rounds the activations of products with
/// block formats to 8 bits per 32, as llama.cpp does.
enum class Activations { kF32, kQ8 };

struct ScoreOptions {
  uint64_t context = 512;
  uint64_t chunks = 0;   ///< 0 = all complete ones
  bool add_bos = false;  ///< replace each chunk's first id by `bos`
  int32_t bos = -1;
  Activations activations = Activations::kF32;
  uint64_t batch_tokens = 2048;  ///< positions that go through a layer together
};

/// Statistics over the scored positions; see facts about llama-perplexity: second half of each
/// chunk.
struct ScoreResult {
  uint64_t chunks = 0;
  uint64_t tokens_scored = 0;
  double mean_nll = 0, perplexity = 0, perplexity_error = 0;
  double seconds = 0;
  uint64_t tokens_processed = 0;  ///< positions that went through the model
  bool finite = true;             ///< false when any logit was not finite
  struct Reference {
    double perplexity = 0, mean_nll = 0;
    double kl_mean = 0, kl_median = 0, kl_p99 = 0, kl_p999 = 0, kl_max = 0;
    double top1_agreement = 0;  ///< share 0..1
    double ln_ratio = 0, ln_ratio_error = 0;
    bool finite = true;
  };
  std::optional<Reference> reference;
};

/// A model whose description somebody has already (tests build theirs by hand).
struct SpecifiedModel {
  const ModelSource* source = nullptr;
  ModelSpec spec;
};

/// `ids` are the text's ids; `reference` may be nullptr. kInvalidInput when there are fewer than 2
/// x context ids.
absl::StatusOr<ScoreResult> Score(const ModelSource& model, const ModelSource* reference,
                                  std::span<const int32_t> ids, const ScoreOptions& options,
                                  const Observer& observer);

absl::StatusOr<ScoreResult> Score(const SpecifiedModel& model, const SpecifiedModel* reference,
                                  std::span<const int32_t> ids, const ScoreOptions& options,
                                  const Observer& observer);

/// One sequence from position 0, any number of ids; logits are handed over row by row, in order of
/// position.
absl::Status ComputeLogits(
    const ModelSource& model, std::span<const int32_t> ids, Activations activations,
    const std::function<absl::Status(uint64_t position, std::span<const float> logits)>& sink,
    const Observer& observer);

absl::Status ComputeLogits(
    const SpecifiedModel& model, std::span<const int32_t> ids, Activations activations,
    const std::function<absl::Status(uint64_t position, std::span<const float> logits)>& sink,
    const Observer& observer);

}  // namespace smelt
