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
  SMELT_RETURN_IF_ERROR(run->inputs_.Open(spec, source, WeightUse::kStream, precision, backend));
  SMELT_ASSIGN_OR_RETURN(run->head_, LowerHead(spec, source, WeightUse::kStream, backend));
  SMELT_ASSIGN_OR_RETURN(Graph final_norm, LowerFinalNorm(spec, source, backend));
  SMELT_ASSIGN_OR_RETURN(run->final_norm_, backend.Compile(std::move(final_norm), precision));
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    if (StateOf(spec, i) != i) run->shared_.emplace(StateOf(spec, i), nullptr);
  }
  uint64_t most = 0, state = 0, kept = run->inputs_.features();
  uint64_t stream = spec.width + run->inputs_.features();
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    SMELT_RETURN_IF_ERROR(GoOn());
    SMELT_ASSIGN_OR_RETURN(const Graph graph,
                           LowerLayer(spec, i, source, WeightUse::kStream, backend));
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

size_t StateOf(const ModelSpec& spec, size_t layer) {
  const Attention* attention = std::get_if<Attention>(&spec.layers[layer].mixer);
  return attention == nullptr || attention->keys_of < 0 ? layer
                                                        : static_cast<size_t>(attention->keys_of);
}

absl::Status InputsRun::Open(const ModelSpec& spec, const ModelSource& source, WeightUse use,
                             Precision precision, Backend& backend) {
  backend_ = &backend;
  if (!spec.inputs.present()) return absl::OkStatus();
  features_ = spec.inputs.size * static_cast<uint32_t>(spec.layers.size());
  table_scale_ = static_cast<float>(spec.inputs.table_scale * spec.inputs.scale);
  SMELT_ASSIGN_OR_RETURN(table_, backend.LoadWeight(source, spec.inputs.table, WeightUse::kStream));
  SMELT_ASSIGN_OR_RETURN(Graph graph, LowerInputs(spec, source, use, backend));
  scratch_ = graph.scratch_features;
  SMELT_ASSIGN_OR_RETURN(program_, backend.Compile(std::move(graph), precision));
  return absl::OkStatus();
}

absl::Status InputsRun::Allocate(const Batch& batch, Place place) {
  buffer_.reset();
  if (program_ == nullptr) return absl::OkStatus();
  SMELT_ASSIGN_OR_RETURN(buffer_, backend_->NewBuffer(batch, features_, place));
  return absl::OkStatus();
}

absl::Status InputsRun::Fill(Batch& batch, std::span<const int32_t> ids, State& state, Buffer& x) {
  if (program_ == nullptr) return absl::OkStatus();
  SMELT_RETURN_IF_ERROR(backend_->Embed(batch, *table_, nullptr, table_scale_, ids, *buffer_));
  return backend_->Run(*program_, batch, state, x, buffer_.get());
}

absl::StatusOr<Stream> ModelRun::NewStream(const Batch& batch, size_t sequences, Place place) {
  Stream stream;
  stream.sequences = sequences;
  SMELT_ASSIGN_OR_RETURN(stream.x, backend_.NewBuffer(batch, spec_.width, place));
  for (const auto& [layer, state] : shared_)
    stream.shared.emplace(layer, backend_.NewState(sequences, place));
  SMELT_RETURN_IF_ERROR(inputs_.Allocate(batch, place));
  stream.inputs = std::move(inputs_.buffer());
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
    state_ = backend_.NewState(stream.sequences);
  sequences_ = stream.sequences;
  x_ = std::move(stream.x);
  inputs_.buffer() = std::move(stream.inputs);
  shared_ = std::move(stream.shared);
}

Stream ModelRun::TakeStream() {
  Stream stream;
  stream.sequences = sequences_;
  stream.x = std::move(x_);
  stream.inputs = std::move(inputs_.buffer());
  for (auto& [layer, state] : shared_) stream.shared.emplace(layer, std::move(state));
  return stream;
}

absl::Status ModelRun::Allocate(const Batch& batch, size_t sequences) {
  x_.reset();
  inputs_.buffer().reset();
  state_.reset();
  for (auto& [layer, state] : shared_) state.reset();
  SMELT_ASSIGN_OR_RETURN(Stream stream, NewStream(batch, sequences));
  SetStream(std::move(stream));
  return absl::OkStatus();
}

absl::Status ModelRun::Embed(Batch& batch, std::span<const int32_t> ids) {
  SMELT_RETURN_IF_ERROR(backend_.Embed(batch, *embedding_, positions_.get(),
                                       static_cast<float>(spec_.embedding_scale), ids, *x_));
  return inputs_.Fill(batch, ids, *state_, *x_);
}

absl::Status ModelRun::RunLayer(size_t layer, Batch& batch, Tap* tap, const ModelSource* variant) {
  if (layer >= spec_.layers.size()) return absl::OkStatus();
  std::unique_ptr<Program> of_variant;
  if (variant != nullptr) {
    SMELT_ASSIGN_OR_RETURN(of_variant, CompileLayer(layer, *variant));
  } else if (program_ == nullptr || program_layer_ != layer) {
    program_.reset();
    SMELT_ASSIGN_OR_RETURN(program_, CompileLayer(layer, source_));
    program_layer_ = layer;
  }
  const size_t of = StateOf(spec_, layer);
  const auto shared = shared_.find(of);
  State& state = shared == shared_.end() ? *state_ : *shared->second;
  if (of == layer) state.Clear();
  const Program& program = variant != nullptr ? *of_variant : *program_;
  return backend_.Run(program, batch, state, *x_, inputs_.buffer().get(), tap);
}

absl::StatusOr<std::unique_ptr<Program>> ModelRun::CompileLayer(size_t layer,
                                                                const ModelSource& source) {
  SMELT_ASSIGN_OR_RETURN(Graph graph,
                         LowerLayer(spec_, layer, source, WeightUse::kStream, backend_));
  return backend_.Compile(std::move(graph), precision_);
}

absl::Status ModelRun::RunFinalNorm(Batch& batch) {
  program_.reset();
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
