#include "infer/model_run.h"

#include <algorithm>

#include "lib/base/job_scope.h"
#include "lib/base/status.h"

namespace smelt {

absl::StatusOr<std::unique_ptr<ModelRun>> ModelRun::Create(const ModelSource& source,
                                                           ModelSpec model, Precision precision,
                                                           Backend& backend, CacheType cache) {
  const Computer computer{&backend, WeightUse::kStream, precision};
  SMELT_ASSIGN_OR_RETURN(std::unique_ptr<ModelPipeline> pipeline,
                         ModelPipeline::Open(source, std::move(model), {&computer, 1}));
  std::unique_ptr<ModelRun> run(new ModelRun(std::move(pipeline), cache));
  const ModelSpec& spec = run->spec();
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    if (StateOf(spec, i) != i) run->shared_.emplace(StateOf(spec, i), nullptr);
  }
  const uint64_t inputs = run->pipeline_->input_features();
  uint64_t most = 0, state = 0, kept = inputs, stream = spec.width + inputs;
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    SMELT_RETURN_IF_ERROR(GoOn());
    SMELT_ASSIGN_OR_RETURN(const Graph graph, run->pipeline_->Layer(i, source));
    most = std::max(most, graph.scratch_features + graph.state_per_token);
    state = std::max(state, graph.state_per_token);
    if (!run->shared_.contains(i)) continue;
    kept += graph.state_per_token;
    stream += graph.state_per_token;
  }
  run->stream_bytes_ = stream * sizeof(float);
  run->scratch_bytes_ = (most + kept) * sizeof(float);
  run->state_bytes_ = state * sizeof(float);
  return run;
}

absl::StatusOr<Stream> ModelRun::NewStream(const Batch& batch, size_t sequences, Place place) {
  Stream stream;
  stream.sequences = sequences;
  Backend& backend = pipeline_->backend();
  SMELT_ASSIGN_OR_RETURN(stream.x, backend.NewBuffer(batch, spec().width, place));
  for (const auto& [layer, state] : shared_)
    stream.shared.emplace(layer, backend.NewState(sequences, place, cache_));
  SMELT_ASSIGN_OR_RETURN(stream.inputs, pipeline_->NewInputs(batch, place));
  return stream;
}

absl::StatusOr<Stream> CopyStream(const Stream& stream, Place place) {
  Stream copy;
  copy.sequences = stream.sequences;
  SMELT_ASSIGN_OR_RETURN(copy.x, stream.x->Copy(place));
  if (stream.inputs != nullptr) {
    SMELT_ASSIGN_OR_RETURN(copy.inputs, stream.inputs->Copy(place));
  }
  for (const auto& [layer, state] : stream.shared) copy.shared.emplace(layer, state->Copy());
  return copy;
}

void ModelRun::SetStream(Stream stream) {
  if (state_ == nullptr || sequences_ != stream.sequences)
    state_ = pipeline_->backend().NewState(stream.sequences, Place::kMemory, cache_);
  sequences_ = stream.sequences;
  x_ = std::move(stream.x);
  inputs_ = std::move(stream.inputs);
  shared_ = std::move(stream.shared);
}

Stream ModelRun::TakeStream() {
  Stream stream;
  stream.sequences = sequences_;
  stream.x = std::move(x_);
  stream.inputs = std::move(inputs_);
  for (auto& [layer, state] : shared_) stream.shared.emplace(layer, std::move(state));
  return stream;
}

absl::Status ModelRun::Allocate(const Batch& batch, size_t sequences) {
  x_.reset();
  inputs_.reset();
  state_.reset();
  for (auto& [layer, state] : shared_) state.reset();
  SMELT_ASSIGN_OR_RETURN(Stream stream, NewStream(batch, sequences));
  SetStream(std::move(stream));
  return absl::OkStatus();
}

absl::Status ModelRun::Embed(Batch& batch, std::span<const int32_t> ids) {
  return pipeline_->Embed(batch, ids, *state_, *x_, inputs_.get());
}

absl::Status ModelRun::RunLayer(size_t layer, Batch& batch, Tap* tap, const ModelSource* variant) {
  if (layer >= spec().layers.size()) return absl::OkStatus();
  std::unique_ptr<Program> of_variant;
  if (variant != nullptr) {
    SMELT_ASSIGN_OR_RETURN(of_variant, CompileLayer(layer, *variant));
  } else if (program_ == nullptr || program_layer_ != layer) {
    program_.reset();
    SMELT_ASSIGN_OR_RETURN(program_, CompileLayer(layer, pipeline_->source()));
    program_layer_ = layer;
  }
  const size_t of = StateOf(spec(), layer);
  const auto shared = shared_.find(of);
  State& state = shared == shared_.end() ? *state_ : *shared->second;
  if (of == layer) state.Clear();
  const Program& program = variant != nullptr ? *of_variant : *program_;
  return pipeline_->backend().Run(program, batch, state, *x_, inputs_.get(), tap);
}

absl::StatusOr<std::unique_ptr<Program>> ModelRun::CompileLayer(size_t layer,
                                                                const ModelSource& source) {
  SMELT_ASSIGN_OR_RETURN(Graph graph, pipeline_->Layer(layer, source));
  return pipeline_->Compile(layer, std::move(graph));
}

absl::Status ModelRun::RunFinalNorm(Batch& batch) {
  program_.reset();
  state_->Clear();
  return pipeline_->FinalNorm(batch, *state_, *x_);
}

}  // namespace smelt
