#include "infer/model_run.h"

#include <algorithm>

#include "lib/base/job_scope.h"
#include "lib/base/status.h"

namespace smelt {

absl::StatusOr<std::unique_ptr<ModelRun>> ModelRun::Create(const ModelSource& source,
                                                           ModelSpec model, Precision precision,
                                                           Backend& backend) {
  std::unique_ptr<ModelRun> run(new ModelRun(source, precision, backend));
  run->spec_ = std::move(model);
  const ModelSpec& spec = run->spec_;
  SMELT_ASSIGN_OR_RETURN(run->embedding_,
                         backend.LoadWeight(source, spec.embedding, WeightUse::kStream));
  if (spec.positions != kNoTensor) {
    SMELT_ASSIGN_OR_RETURN(run->positions_,
                           backend.LoadWeight(source, spec.positions, WeightUse::kStream));
  }
  SMELT_ASSIGN_OR_RETURN(run->head_, LowerHead(spec, source, WeightUse::kStream, backend));
  SMELT_ASSIGN_OR_RETURN(Graph final_norm, LowerFinalNorm(spec, source, backend));
  SMELT_ASSIGN_OR_RETURN(run->final_norm_, backend.Compile(std::move(final_norm), precision));
  for (const LayerSpec& layer : spec.layers) {
    SMELT_RETURN_IF_ERROR(GoOn());
    SMELT_ASSIGN_OR_RETURN(const Graph graph,
                           LowerLayer(layer, spec.width, source, WeightUse::kStream, backend));
    const uint64_t features = graph.scratch_features + graph.state_per_token;
    run->scratch_bytes_ = std::max(run->scratch_bytes_, features * sizeof(float));
  }
  return run;
}

absl::Status ModelRun::Allocate(const Batch& batch, size_t sequences) {
  x_.reset();
  SMELT_ASSIGN_OR_RETURN(x_, backend_.NewBuffer(batch, spec_.width));
  state_ = backend_.NewState(sequences);
  return absl::OkStatus();
}

absl::Status ModelRun::Embed(const Batch& batch, std::span<const int32_t> ids) {
  return backend_.Embed(batch, *embedding_, positions_.get(),
                        static_cast<float>(spec_.embedding_scale), ids, *x_);
}

absl::Status ModelRun::RunLayer(size_t layer, Batch& batch) {
  if (layer >= spec_.layers.size()) return absl::OkStatus();
  SMELT_ASSIGN_OR_RETURN(Graph graph, LowerLayer(spec_.layers[layer], spec_.width, source_,
                                                 WeightUse::kStream, backend_));
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<Program> program,
                         backend_.Compile(std::move(graph), precision_));
  state_->Clear();
  return backend_.Run(*program, batch, *state_, *x_);
}

absl::Status ModelRun::RunFinalNorm(Batch& batch) {
  state_->Clear();
  return backend_.Run(*final_norm_, batch, *state_, *x_);
}

absl::Status CheckIds(std::span<const int32_t> ids, uint32_t vocabulary) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || static_cast<uint32_t>(ids[i]) >= vocabulary) {
      return Error(ErrorCode::kInvalidInput, "id ", ids[i], " at position ", i,
                   " is outside the model's vocabulary of ", vocabulary);
    }
  }
  return absl::OkStatus();
}

}  // namespace smelt
