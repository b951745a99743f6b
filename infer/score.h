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
#include "smelt/devices.h"
#include "smelt/observer.h"

namespace smelt {

/// Arithmetic of matrix products. kF32 is the truth; kQ8 rounds the activations of products with
/// block formats to 8 bits per 32, as llama.cpp does.
enum class Precision { kF32, kQ8 };

/// Bytes that a batch's activations, keys and values take at most, where a single chunk does not
/// need more; with the tiles of the threads and the file caches' bookkeeping the process stays
/// below 300 MiB.
inline constexpr uint64_t kActivationBudget = 150ull << 20;

struct ScoreOptions {
  uint64_t context = 512;
  uint64_t chunks = 0;   ///< of each text, at most; 0 = all complete ones
  bool add_bos = false;  ///< replace each chunk's first id by `bos`
  int32_t bos = -1;
  Precision precision = Precision::kF32;
  uint64_t batch_tokens = 2048;  ///< positions that go through a layer together
  DeviceOptions device = {};     ///< what computes
};

/// How a model compares with a reference, over scored positions.
struct ReferenceFigures {
  double perplexity = 0, mean_nll = 0;
  double kl_mean = 0, kl_median = 0, kl_p99 = 0, kl_p999 = 0, kl_max = 0;
  double top1_agreement = 0;  ///< share 0..1
  double ln_ratio = 0, ln_ratio_error = 0;
  bool finite = true;
};

/// Statistics over scored positions: of each chunk the second half, as llama-perplexity does.
struct ScoreFigures {
  using Reference = ReferenceFigures;
  uint64_t chunks = 0;
  uint64_t tokens_scored = 0;
  double mean_nll = 0, perplexity = 0, perplexity_error = 0;
  bool finite = true;  ///< false when any logit was not finite
  std::optional<Reference> reference;
};

struct TextScore : ScoreFigures {
  uint64_t context = 0;  ///< tokens of each of its chunks
};

/// The figures are those of all texts together.
struct ScoreResult : ScoreFigures {
  double seconds = 0;
  uint64_t tokens_processed = 0;  ///< positions that went through the model
  std::vector<TextScore> texts;   ///< in the order given
};

/// Where a text's scored tokens lie: chunk c is its ids [c context, (c + 1) context), of which
/// those from `first_scored` on are predicted. A text of two contexts and more is cut into complete
/// chunks; a shorter one is a single chunk, of its first `context` ids or of all; of fewer than two
/// ids nothing can be predicted (0 chunks).
struct Chunks {
  uint64_t count = 0, context = 0, first_scored = 0;
};
Chunks ChunksOf(uint64_t ids, const ScoreOptions& options);

/// A model whose description somebody has already (tests build theirs by hand).
struct SpecifiedModel {
  const ModelSource* source = nullptr;
  ModelSpec spec;
};

/// `texts` are each text's ids; `reference` may be nullptr. Perplexities are over all rows of each
/// model's own head, what compares them (KL divergence, same top-1) over the rows that both have.
/// kInvalidInput when no text has anything to predict.
absl::StatusOr<ScoreResult> Score(const ModelSource& model, const ModelSource* reference,
                                  const std::vector<std::vector<int32_t>>& texts,
                                  const ScoreOptions& options, const Observer& observer);

absl::StatusOr<ScoreResult> Score(const SpecifiedModel& model, const SpecifiedModel* reference,
                                  const std::vector<std::vector<int32_t>>& texts,
                                  const ScoreOptions& options, const Observer& observer);

/// One sequence from position 0, any number of ids; logits are handed over row by row, in order of
/// position.
absl::Status ComputeLogits(
    const ModelSource& model, std::span<const int32_t> ids, Precision precision,
    const std::function<absl::Status(uint64_t position, std::span<const float> logits)>& sink,
    const Observer& observer, const DeviceOptions& device = {});

absl::Status ComputeLogits(
    const SpecifiedModel& model, std::span<const int32_t> ids, Precision precision,
    const std::function<absl::Status(uint64_t position, std::span<const float> logits)>& sink,
    const Observer& observer, const DeviceOptions& device = {});

}  // namespace smelt
