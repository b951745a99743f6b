#include "infer/model_pipeline.h"

#include <algorithm>
#include <set>
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

absl::StatusOr<std::unique_ptr<ModelPipeline>> ModelPipeline::Open(
    const ModelSource& source, ModelSpec model, std::span<const Computer> computers,
    std::optional<uint64_t> layers, CacheType cache) {
  std::unique_ptr<ModelPipeline> pipeline(new ModelPipeline(source, std::move(model), computers));
  const ModelSpec& spec = pipeline->spec_;
  SMELT_RETURN_IF_ERROR(pipeline->ChoosePlaces(layers, cache));
  SMELT_ASSIGN_OR_RETURN(pipeline->embedding_,
                         Embedding::Open(source, spec.embedding, spec.positions,
                                         static_cast<float>(spec.embedding_scale)));
  if (spec.inputs.present()) SMELT_RETURN_IF_ERROR(pipeline->OpenInputs());
  const Computer& last = pipeline->head_computer();
  SMELT_ASSIGN_OR_RETURN(Graph final_norm, LowerFinalNorm(spec, source, *last.backend));
  SMELT_ASSIGN_OR_RETURN(pipeline->final_norm_,
                         last.backend->Compile(std::move(final_norm), last.precision));
  SMELT_ASSIGN_OR_RETURN(pipeline->head_, LowerHead(spec, source, last.use, *last.backend));
  return pipeline;
}

// A layer takes its weights, and the keys and values of as long a text as is usual.
absl::Status ModelPipeline::ChoosePlaces(std::optional<uint64_t> layers, CacheType cache) {
  constexpr uint64_t kPositions = 4096;
  const uint64_t value_bytes = cache == CacheType::kF16 ? 2 : sizeof(float);
  placement_.layers.assign(spec_.layers.size(), 0);
  if (computers_.size() == 1) return absl::OkStatus();
  const uint64_t positions =
      spec_.context_length == 0 ? kPositions : std::min(spec_.context_length, kPositions);
  const WeightUse use = computers_[0].use;
  Backend& device = *computers_[0].backend;
  std::vector<uint64_t> bytes;
  for (size_t i = 0; i < spec_.layers.size(); ++i) {
    SMELT_ASSIGN_OR_RETURN(const Graph graph, LowerLayer(spec_, i, source_, use, device));
    std::set<const Weight*> weights;
    for (const Op& op : graph.ops)
      for (const Matrix* matrix : MatricesOf(op)) weights.insert(matrix->weight.get());
    uint64_t layer = graph.state_per_token * positions * value_bytes;
    for (const Weight* weight : weights) layer += weight->bytes();
    bytes.push_back(layer);
  }
  SMELT_ASSIGN_OR_RETURN(const Head head, LowerHead(spec_, source_, use, device));
  placement_ =
      PlaceLayers(spec_, bytes, head.output.weight->bytes(), device.resident_bytes(), layers);
  return absl::OkStatus();
}

absl::Status ModelPipeline::OpenInputs() {
  const PerLayerInputs& inputs = spec_.inputs;
  inputs_.features = inputs.size * static_cast<uint32_t>(spec_.layers.size());
  SMELT_ASSIGN_OR_RETURN(inputs_.table,
                         Embedding::Open(source_, inputs.table, kNoTensor,
                                         static_cast<float>(inputs.table_scale * inputs.scale)));
  const Computer& first = first_computer();
  SMELT_ASSIGN_OR_RETURN(Graph graph, LowerInputs(spec_, source_, first.use, *first.backend));
  inputs_.scratch = graph.scratch_features;
  SMELT_ASSIGN_OR_RETURN(inputs_.program,
                         first.backend->Compile(std::move(graph), first.precision));
  return absl::OkStatus();
}

absl::StatusOr<Graph> ModelPipeline::Layer(size_t layer, const ModelSource& source) const {
  return LowerLayer(spec_, layer, source, computer(layer).use, backend(layer));
}

absl::StatusOr<std::unique_ptr<Program>> ModelPipeline::Compile(size_t layer, Graph graph) const {
  return backend(layer).Compile(std::move(graph), computer(layer).precision);
}

absl::StatusOr<std::unique_ptr<Buffer>> ModelPipeline::NewInputs(Backend& backend,
                                                                 const Batch& batch,
                                                                 Place place) const {
  if (inputs_.program == nullptr) return nullptr;
  return backend.NewBuffer(batch, inputs_.features, place);
}

absl::Status ModelPipeline::Embed(Batch& batch, std::span<const int32_t> ids, State& state,
                                  Buffer& x, Buffer* inputs) const {
  SMELT_RETURN_IF_ERROR(embedding_.Fill(ids, backend(), batch, x));
  if (inputs_.program == nullptr) return absl::OkStatus();
  SMELT_RETURN_IF_ERROR(inputs_.table.Fill(ids, backend(), batch, *inputs));
  return backend().Run(*inputs_.program, batch, state, x, inputs);
}

absl::Status ModelPipeline::FinalNorm(Batch& batch, State& state, Buffer& x) const {
  return head_computer().backend->Run(*final_norm_, batch, state, x);
}

absl::Status ModelPipeline::Logits(const Batch& batch, const Buffer& x,
                                   std::span<const uint32_t> tokens,
                                   std::span<float> logits) const {
  const Computer& last = head_computer();
  return last.backend->Logits(batch, head_, x, tokens, last.precision, logits);
}

absl::StatusOr<std::unique_ptr<Passage>> Passage::Begin(const ModelPipeline& pipeline,
                                                        std::span<const Sequence> sequences,
                                                        uint64_t length) {
  std::unique_ptr<Passage> passage(new Passage(pipeline));
  passage->sequences_.assign(sequences.begin(), sequences.end());
  passage->length_ = length;
  for (const Sequence& s : sequences) passage->tokens_ += s.tokens;
  passage->at_ = pipeline.first();
  SMELT_RETURN_IF_ERROR(passage->Prepare(passage->at_));
  return passage;
}

absl::Status Passage::Prepare(size_t backend) {
  Backend& on = *pipeline_.computers()[backend].backend;
  Part& part = parts_[backend];
  SMELT_ASSIGN_OR_RETURN(part.batch, on.NewBatch(sequences_, length_));
  SMELT_ASSIGN_OR_RETURN(part.x, on.NewBuffer(*part.batch, pipeline_.spec().width));
  SMELT_ASSIGN_OR_RETURN(part.inputs, pipeline_.NewInputs(on, *part.batch, Place::kMemory));
  return absl::OkStatus();
}

absl::Status Passage::Carry(const Part& from, const Buffer& x, size_t backend, Buffer& to,
                            uint32_t features) {
  std::vector<float> values(tokens_ * features);
  SMELT_RETURN_IF_ERROR(pipeline_.computers()[at_].backend->Read(*from.batch, 0, x, values));
  return pipeline_.computers()[backend].backend->Write(*parts_[backend].batch, 0, values, to);
}

absl::Status Passage::MoveTo(size_t backend) {
  if (backend == at_) return absl::OkStatus();
  const Part& from = here();
  Part& to = parts_[backend];
  if (to.batch == nullptr) {
    SMELT_RETURN_IF_ERROR(Prepare(backend));
    // They stay what they are.
    if (from.inputs != nullptr) {
      SMELT_RETURN_IF_ERROR(
          Carry(from, *from.inputs, backend, *to.inputs, pipeline_.inputs_.features));
    }
  }
  SMELT_RETURN_IF_ERROR(Carry(from, *from.x, backend, *to.x, pipeline_.spec().width));
  at_ = backend;
  return absl::OkStatus();
}

absl::Status Passage::Embed(std::span<const int32_t> ids) {
  const std::unique_ptr<State> none =
      pipeline_.computers()[at_].backend->NewState(sequences_.size());
  return pipeline_.Embed(*here().batch, ids, *none, *here().x, here().inputs.get());
}

absl::Status Passage::RunLayer(size_t layer, const Program& program, State& state) {
  SMELT_RETURN_IF_ERROR(MoveTo(pipeline_.placement().layers[layer]));
  return pipeline_.backend(layer).Run(program, *here().batch, state, *here().x,
                                      here().inputs.get());
}

absl::Status Passage::Logits(std::span<const uint32_t> tokens, std::span<float> logits) {
  SMELT_RETURN_IF_ERROR(MoveTo(pipeline_.placement().head));
  const std::unique_ptr<State> none =
      pipeline_.computers()[at_].backend->NewState(sequences_.size());
  SMELT_RETURN_IF_ERROR(pipeline_.FinalNorm(*here().batch, *none, *here().x));
  return pipeline_.Logits(*here().batch, *here().x, tokens, logits);
}

}  // namespace smelt
