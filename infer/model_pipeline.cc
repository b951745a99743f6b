#include "infer/model_pipeline.h"

#include <utility>

#include "lib/base/status.h"

namespace smelt {

size_t StateOf(const ModelSpec& spec, size_t layer) {
  const Attention* attention = std::get_if<Attention>(&spec.layers[layer].mixer);
  return attention == nullptr || attention->keys_of < 0 ? layer
                                                        : static_cast<size_t>(attention->keys_of);
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

absl::StatusOr<std::unique_ptr<ModelPipeline>> ModelPipeline::Open(const ModelSource& source,
                                                                   ModelSpec model, WeightUse use,
                                                                   Precision precision,
                                                                   Backend& backend) {
  std::unique_ptr<ModelPipeline> pipeline(
      new ModelPipeline(source, std::move(model), use, precision, backend));
  const ModelSpec& spec = pipeline->spec_;
  SMELT_ASSIGN_OR_RETURN(pipeline->embedding_,
                         backend.LoadWeight(source, spec.embedding, WeightUse::kStream));
  if (spec.positions != kNoTensor) {
    SMELT_ASSIGN_OR_RETURN(pipeline->positions_,
                           backend.LoadWeight(source, spec.positions, WeightUse::kStream));
  }
  if (spec.inputs.present()) SMELT_RETURN_IF_ERROR(pipeline->OpenInputs());
  SMELT_ASSIGN_OR_RETURN(Graph final_norm, LowerFinalNorm(spec, source, backend));
  SMELT_ASSIGN_OR_RETURN(pipeline->final_norm_, pipeline->Compile(std::move(final_norm)));
  SMELT_ASSIGN_OR_RETURN(pipeline->head_, LowerHead(spec, source, use, backend));
  return pipeline;
}

absl::Status ModelPipeline::OpenInputs() {
  const PerLayerInputs& inputs = spec_.inputs;
  inputs_.features = inputs.size * static_cast<uint32_t>(spec_.layers.size());
  inputs_.table_scale = static_cast<float>(inputs.table_scale * inputs.scale);
  SMELT_ASSIGN_OR_RETURN(inputs_.table,
                         backend_.LoadWeight(source_, inputs.table, WeightUse::kStream));
  SMELT_ASSIGN_OR_RETURN(Graph graph, LowerInputs(spec_, source_, use_, backend_));
  inputs_.scratch = graph.scratch_features;
  SMELT_ASSIGN_OR_RETURN(inputs_.program, Compile(std::move(graph)));
  return absl::OkStatus();
}

absl::StatusOr<Graph> ModelPipeline::Layer(size_t layer, const ModelSource& source) const {
  return LowerLayer(spec_, layer, source, use_, backend_);
}

absl::StatusOr<std::unique_ptr<Program>> ModelPipeline::Compile(Graph graph) const {
  return backend_.Compile(std::move(graph), precision_);
}

absl::StatusOr<std::unique_ptr<Buffer>> ModelPipeline::NewInputs(const Batch& batch,
                                                                 Place place) const {
  if (inputs_.program == nullptr) return nullptr;
  return backend_.NewBuffer(batch, inputs_.features, place);
}

absl::Status ModelPipeline::Embed(Batch& batch, std::span<const int32_t> ids, State& state,
                                  Buffer& x, Buffer* inputs) const {
  SMELT_RETURN_IF_ERROR(backend_.Embed(batch, *embedding_, positions_.get(),
                                       static_cast<float>(spec_.embedding_scale), ids, x));
  if (inputs_.program == nullptr) return absl::OkStatus();
  SMELT_RETURN_IF_ERROR(
      backend_.Embed(batch, *inputs_.table, nullptr, inputs_.table_scale, ids, *inputs));
  return backend_.Run(*inputs_.program, batch, state, x, inputs);
}

absl::Status ModelPipeline::FinalNorm(Batch& batch, State& state, Buffer& x) const {
  return backend_.Run(*final_norm_, batch, state, x);
}

absl::Status ModelPipeline::Logits(const Batch& batch, const Buffer& x,
                                   std::span<const uint32_t> tokens,
                                   std::span<float> logits) const {
  return backend_.Logits(batch, head_, x, tokens, precision_, logits);
}

}  // namespace smelt
