#include "infer/session.h"

#include <algorithm>

#include "infer/backend.h"
#include "infer/model_pipeline.h"
#include "infer/open_backend.h"
#include "lib/base/job_scope.h"
#include "lib/base/mapped_file.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr uint64_t kBatchTokens = 512;  // of a prompt, at most
constexpr uint64_t kActivationBudget = 128ull << 20;

/// The rotation of a mixer; nullptr where it has none.
const Rope* RopeOf(const Mixer& mixer) {
  return std::visit(
      [](const auto& kind) -> const Rope* {
        if constexpr (requires { kind.rope; }) return &kind.rope;
        return nullptr;
      },
      mixer);
}

class EngineState : public SessionState {
 public:
  std::unique_ptr<SessionState> Copy() const override { return CopyState(); }
  uint64_t positions() const override { return fed; }

  std::unique_ptr<EngineState> CopyState() const {
    auto copy = std::make_unique<EngineState>();
    copy->fed = fed;
    copy->ids = ids;
    copy->broken = broken;
    for (const auto& layer : layers) copy->layers.push_back(layer->Copy());
    return copy;
  }

  uint64_t fed = 0;
  bool broken = false;       ///< some layers have seen more than others
  std::vector<int32_t> ids;  ///< what was fed, where it may have to be fed again
  std::vector<std::unique_ptr<State>> layers;
};

class EngineSession : public Session {
 public:
  absl::Status Open(const SpecifiedModel& model, Precision precision, const DeviceOptions& device,
                    WeightUse use, Precision on_device) {
    const ModelSource& source = *model.source;
    SMELT_ASSIGN_OR_RETURN(backends_, OpenBackends(device));
    std::vector<Computer> computers = {{backends_.back().get(), use, precision}};
    if (backends_.size() > 1)
      computers.insert(computers.begin(),
                       {backends_.front().get(), WeightUse::kResident, on_device});
    const CacheType cache = CacheTypeOf(device);
    SMELT_ASSIGN_OR_RETURN(
        pipeline_, ModelPipeline::Open(source, model.spec, computers, device.device_layers, cache));
    token_cost_ = TokenCost(cache);
    uint64_t activations = kActivationBudget;
    const uint64_t kept = spec().width + pipeline_->input_features();
    uint64_t features = kept;
    for (size_t i = 0; i < spec().layers.size(); ++i) {
      SMELT_RETURN_IF_ERROR(GoOn());
      SMELT_ASSIGN_OR_RETURN(Graph graph, pipeline_->Layer(i, source));
      features = std::max(features, kept + graph.scratch_features);
      token_cost_.Add(graph, source);
      SMELT_ASSIGN_OR_RETURN(std::unique_ptr<Program> program,
                             pipeline_->Compile(i, std::move(graph)));
      programs_.push_back(std::move(program));
      state_.layers.push_back(pipeline_->backend(i).NewState(1, Place::kMemory, cache));
      activations = std::min(activations, pipeline_->backend(i).activation_bytes());
      for (const Mixer* mixer : {&spec().layers[i].mixer, &spec().layers[i].beside}) {
        const Rope* rope = RopeOf(*mixer);
        if (rope != nullptr && rope->style != RopeStyle::kNone) ropes_.push_back(*rope);
      }
      if (const JobScope* const job = JobScope::Current()) {
        job->observer().Report(
            {.phase = "loading", .done = i + 1, .total = spec().layers.size(), .unit = "layers"});
      }
    }
    token_cost_.Add(pipeline_->head(), source);
    batch_tokens_ = std::clamp<uint64_t>(activations / (features * sizeof(float)), 1, kBatchTokens);
    return absl::OkStatus();
  }

  uint32_t vocabulary() const override { return pipeline_->head().output.rows; }

  const TokenCost& token_cost() const override { return token_cost_; }

  uint64_t interleaved_bytes() const override {
    uint64_t bytes = 0;
    for (const auto& backend : backends_) bytes += backend->interleaved_bytes();
    return bytes;
  }

  CommandCounts counts() const override { return backends_[0]->counts(); }

  uint64_t layers() const override { return programs_.size(); }

  std::vector<Precision> precisions() const override {
    const Placement& placement = pipeline_->placement();
    std::vector<Precision> precisions;
    for (size_t i = 0; i < backends_.size(); ++i) {
      if (placement.layers_on(i) > 0 || placement.head == i)
        precisions.push_back(pipeline_->computers()[i].precision);
    }
    return precisions;
  }

  std::optional<uint64_t> device_layers() const override {
    if (backends_.size() == 1) return std::nullopt;
    return pipeline_->placement().layers_on(0);
  }

  absl::Status Feed(std::span<const int32_t> ids, std::vector<float>& logits,
                    const Observer& observer) override {
    if (ids.empty()) return Error(ErrorCode::kInvalidInput, "there are no ids to feed");
    SMELT_RETURN_IF_ERROR(CheckIds(ids, std::min(spec().vocabulary, vocabulary())));
    SMELT_RETURN_IF_ERROR(CheckWhole());
    const JobScope job(observer);
    const uint64_t before = state_.fed, total = before + ids.size();
    // Keys that were rotated by the frequencies of shorter sequences.
    const bool outgrown =
        before > 0 && std::any_of(ropes_.begin(), ropes_.end(), [&](const Rope& rope) {
          return rope.ChangesBetween(before, total);
        });
    state_.broken = true;  // until it is known to be whole
    absl::Status status =
        outgrown ? FeedAnew(ids, job.observer()) : Append(ids, total, job.observer());
    if (status.ok()) status = CheckMappedFiles();
    state_.broken = !status.ok() && (outgrown || !Return(before));
    if (status.ok()) logits.swap(logits_);
    return status;
  }

  absl::Status CheckWhole() const override {
    if (!state_.broken) return absl::OkStatus();
    return Error(ErrorCode::kUsage,
                 "the sequence is half fed since an earlier error; restore a saved state");
  }

  std::unique_ptr<SessionState> Save() const override { return state_.CopyState(); }

  absl::Status Restore(const SessionState& state) override {
    const EngineState* saved = dynamic_cast<const EngineState*>(&state);
    if (saved == nullptr || saved->layers.size() != state_.layers.size())
      return Error(ErrorCode::kUsage, "the state to restore belongs to another model");
    if (saved->broken)
      return Error(ErrorCode::kUsage,
                   "the state to restore was saved when an error had left the sequence half fed");
    for (size_t i = 0; i < saved->layers.size(); ++i) {
      if (!pipeline_->backend(i).Owns(*saved->layers[i]))
        return Error(ErrorCode::kUsage, "the state to restore is on another device");
    }
    std::unique_ptr<EngineState> copy = saved->CopyState();
    state_.fed = copy->fed;
    state_.broken = false;
    state_.ids = std::move(copy->ids);
    state_.layers = std::move(copy->layers);
    return absl::OkStatus();
  }

 private:
  // The whole sequence again, and `ids` after it.
  absl::Status FeedAnew(std::span<const int32_t> ids, const Observer& observer) {
    std::vector<int32_t> all = std::move(state_.ids);
    all.insert(all.end(), ids.begin(), ids.end());
    state_.ids.clear();
    state_.fed = 0;
    for (const auto& layer : state_.layers) layer->Clear();
    return Append(all, all.size(), observer);
  }

  // Back to the first `positions` of the sequence, after an error; false: impossible.
  bool Return(uint64_t positions) {
    if (positions == 0) {
      for (const auto& layer : state_.layers) layer->Clear();
    } else if (!std::all_of(state_.layers.begin(), state_.layers.end(),
                            [&](const auto& layer) { return layer->Truncate(positions); })) {
      return false;
    }
    state_.fed = positions;
    state_.ids.resize(ropes_.empty() ? 0 : positions);
    return true;
  }

  // Feeds ids in batches; `total` positions are in use when all are in. Leaves the last one's
  // logits in logits_.
  absl::Status Append(std::span<const int32_t> ids, uint64_t total, const Observer& observer) {
    for (uint64_t first = 0; first < ids.size(); first += batch_tokens_) {
      const auto part = ids.subspan(first, std::min<uint64_t>(batch_tokens_, ids.size() - first));
      const Sequence sequence{part.size(), state_.fed};
      SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<Passage> passage,
                             Passage::Begin(*pipeline_, {&sequence, 1}, total));
      SMELT_RETURN_IF_ERROR(passage->Embed(part));
      for (size_t i = 0; i < programs_.size(); ++i) {
        SMELT_RETURN_IF_ERROR(GoOn());
        SMELT_RETURN_IF_ERROR(
            passage->RunLayer(i, *programs_[i], *state_.layers[StateOf(spec(), i)]));
        observer.Report({.phase = "reading",
                         .done = first + part.size() * (i + 1) / programs_.size(),
                         .total = ids.size(),
                         .unit = "tokens"});
      }
      state_.fed += part.size();
      if (!ropes_.empty()) state_.ids.insert(state_.ids.end(), part.begin(), part.end());
      if (first + part.size() < ids.size()) continue;
      logits_.resize(vocabulary());
      const uint32_t last = static_cast<uint32_t>(part.size() - 1);
      SMELT_RETURN_IF_ERROR(passage->Logits({&last, 1}, logits_));
    }
    return absl::OkStatus();
  }

  const ModelSpec& spec() const { return pipeline_->spec(); }

  std::vector<std::unique_ptr<Backend>> backends_;
  std::unique_ptr<ModelPipeline> pipeline_;
  std::vector<std::unique_ptr<Program>> programs_;  ///< of the layers
  TokenCost token_cost_;
  EngineState state_;
  std::vector<float> logits_;  ///< being computed
  std::vector<Rope> ropes_;    ///< those that depend on the sequence's length
  uint64_t batch_tokens_ = kBatchTokens;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Session>> Session::Create(const ModelSource& source,
                                                         Precision precision,
                                                         const DeviceOptions& device, WeightUse use,
                                                         std::optional<Precision> on_device) {
  SpecifiedModel model{.source = &source, .spec = {}};
  SMELT_ASSIGN_OR_RETURN(model.spec, ReadModelSpec(source));
  return Create(model, precision, device, use, on_device);
}

absl::StatusOr<std::unique_ptr<Session>> Session::Create(const SpecifiedModel& model,
                                                         Precision precision,
                                                         const DeviceOptions& device, WeightUse use,
                                                         std::optional<Precision> on_device) {
  auto session = std::make_unique<EngineSession>();
  SMELT_RETURN_IF_ERROR(
      session->Open(model, precision, device, use, on_device.value_or(precision)));
  return std::unique_ptr<Session>(std::move(session));
}

}  // namespace smelt
