#include "lib/jobs/embedding_factor.h"

#include <algorithm>
#include <memory>
#include <span>

#include "infer/stream_readers.h"
#include "lib/base/cat.h"
#include "lib/base/status.h"
#include "lib/jobs/statistics_tap.h"

namespace smelt {
namespace {

/// Weights are no sample of anything: nothing is added to the damping for their number.
constexpr uint64_t kMany = uint64_t{1} << 32;

}  // namespace

bool RoundsEmbedding(const ModelSpec& spec, const Plan& plan) {
  if (!plan.gathering || !plan.gathering->moments || spec.embedding == kNoTensor ||
      spec.embedding == spec.output.weight)
    return false;
  return std::ranges::any_of(plan.tensors, [&](const PlannedTensor& t) {
    return t.source == static_cast<size_t>(spec.embedding) && Info(t.type).quantized &&
           t.type != t.source_type;
  });
}

absl::StatusOr<std::optional<InputFactor>> EmbeddingFactor(const ModelSource& source,
                                                           const ModelSpec& spec) {
  const uint64_t columns = source.tensors()[static_cast<size_t>(spec.embedding)].shape.columns();
  const bool in_file = columns * columns * sizeof(float) > StatisticsTap::kInMemory;
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<SharedGram> readers,
                         SharedGram::Make(columns, in_file));
  SMELT_RETURN_IF_ERROR(AddReaders(source, spec, readers->gram));
  if (readers->gram.tokens == 0) return std::nullopt;
  const std::span<const float> sums(readers->gram.sums, columns * columns);
  absl::StatusOr<InputFactor> factor = InputFactor::Make(columns, sums, kMany);
  if (factor.ok()) return std::optional(*std::move(factor));
  const TensorInfo& embedding = source.tensors()[static_cast<size_t>(spec.embedding)];
  return Prefixed(Cat("what reads tensor ", Escape(embedding.name), ": "), factor.status());
}

}  // namespace smelt
