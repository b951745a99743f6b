#include "infer/session.h"

#include <algorithm>

#include "infer/backend.h"
#include "infer/lower.h"
#include "infer/model_run.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr uint64_t kBatchTokens = 512;  // of a prompt, at most
constexpr uint64_t kActivationBudget = 128ull << 20;

class EngineState : public SessionState {
 public:
  std::unique_ptr<SessionState> Copy() const override { return CopyState(); }
  uint64_t positions() const override { return fed; }

  std::unique_ptr<EngineState> CopyState() const {
    auto copy = std::make_unique<EngineState>();
    copy->fed = fed;
    copy->ids = ids;
    for (const auto& layer : layers) copy->layers.push_back(layer->Copy());
    return copy;
  }

  uint64_t fed = 0;
  std::vector<int32_t> ids;  ///< what was fed, where it may have to be fed again
  std::vector<std::unique_ptr<State>> layers;
};

class EngineSession : public Session {
 public:
  EngineSession(const SpecifiedModel& model, Activations activations)
      : source_(*model.source),
        activations_(activations),
        backend_(NewCpuBackend()),
        spec_(model.spec) {}

  absl::Status Open() {
    SMELT_ASSIGN_OR_RETURN(embedding_,
                           backend_->LoadWeight(source_, spec_.embedding, WeightUse::kStream));
    if (spec_.positions != kNoTensor) {
      SMELT_ASSIGN_OR_RETURN(positions_,
                             backend_->LoadWeight(source_, spec_.positions, WeightUse::kStream));
    }
    uint64_t features = spec_.width;
    for (const LayerSpec& layer : spec_.layers) {
      SMELT_ASSIGN_OR_RETURN(
          Graph graph, LowerLayer(layer, spec_.width, source_, WeightUse::kResident, *backend_));
      features = std::max(features, spec_.width + graph.scratch_features);
      SMELT_ASSIGN_OR_RETURN(std::unique_ptr<Program> program,
                             backend_->Compile(std::move(graph), activations_));
      programs_.push_back(std::move(program));
      state_.layers.push_back(backend_->NewState(1));
      const Attention* a = std::get_if<Attention>(&layer.mixer);
      if (a != nullptr && a->rope.style != RopeStyle::kNone) ropes_.push_back(a->rope);
    }
    SMELT_ASSIGN_OR_RETURN(Graph final_norm, LowerFinalNorm(spec_, source_, *backend_));
    SMELT_ASSIGN_OR_RETURN(final_norm_, backend_->Compile(std::move(final_norm), activations_));
    SMELT_ASSIGN_OR_RETURN(head_, LowerHead(spec_, source_, WeightUse::kResident, *backend_));
    batch_tokens_ =
        std::clamp<uint64_t>(kActivationBudget / (features * sizeof(float)), 1, kBatchTokens);
    return absl::OkStatus();
  }

  uint32_t vocabulary() const override { return head_.output.rows; }

  absl::Status Feed(std::span<const int32_t> ids, std::vector<float>& logits) override {
    if (ids.empty()) return Error(ErrorCode::kInvalidInput, "there are no ids to feed");
    SMELT_RETURN_IF_ERROR(CheckIds(ids, std::min(spec_.vocabulary, head_.output.rows)));
    const uint64_t before = state_.fed, total = before + ids.size();
    const bool again = std::any_of(ropes_.begin(), ropes_.end(), [&](const Rope& rope) {
      return rope.ChangesBetween(before, total);
    });
    if (before == 0 || !again) return Append(ids, total, logits);
    // The sequence outgrows its rotary frequencies: all keys so far were rotated by the wrong ones.
    std::vector<int32_t> all = std::move(state_.ids);
    all.insert(all.end(), ids.begin(), ids.end());
    state_.ids.clear();
    state_.fed = 0;
    for (const auto& layer : state_.layers) layer->Clear();
    return Append(all, total, logits);
  }

  std::unique_ptr<SessionState> Save() const override { return state_.CopyState(); }

  absl::Status Restore(const SessionState& state) override {
    const EngineState* saved = dynamic_cast<const EngineState*>(&state);
    if (saved == nullptr || saved->layers.size() != state_.layers.size())
      return Error(ErrorCode::kUsage, "the state to restore belongs to another model");
    std::unique_ptr<EngineState> copy = saved->CopyState();
    state_.fed = copy->fed;
    state_.ids = std::move(copy->ids);
    state_.layers = std::move(copy->layers);
    return absl::OkStatus();
  }

 private:
  // Feeds ids in batches; `total` positions are in use when all are in.
  absl::Status Append(std::span<const int32_t> ids, uint64_t total, std::vector<float>& logits) {
    for (uint64_t first = 0; first < ids.size(); first += batch_tokens_) {
      const auto part = ids.subspan(first, std::min<uint64_t>(batch_tokens_, ids.size() - first));
      const Sequence sequence{part.size(), state_.fed};
      SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<Batch> batch,
                             backend_->NewBatch({&sequence, 1}, total));
      SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<Buffer> x,
                             backend_->NewBuffer(*batch, spec_.width));
      SMELT_RETURN_IF_ERROR(backend_->Embed(*batch, *embedding_, positions_.get(),
                                            static_cast<float>(spec_.embedding_scale), part, *x));
      for (size_t i = 0; i < programs_.size(); ++i)
        SMELT_RETURN_IF_ERROR(backend_->Run(*programs_[i], *batch, *state_.layers[i], *x));
      state_.fed += part.size();
      if (!ropes_.empty()) state_.ids.insert(state_.ids.end(), part.begin(), part.end());
      if (first + part.size() < ids.size()) continue;
      SMELT_RETURN_IF_ERROR(backend_->Run(*final_norm_, *batch, *state_.layers[0], *x));
      logits.resize(head_.output.rows);
      const uint32_t last = static_cast<uint32_t>(part.size() - 1);
      SMELT_RETURN_IF_ERROR(backend_->Logits(*batch, head_, *x, {&last, 1}, activations_, logits));
    }
    return absl::OkStatus();
  }

  const ModelSource& source_;
  const Activations activations_;
  std::unique_ptr<Backend> backend_;
  ModelSpec spec_;
  WeightPtr embedding_, positions_;
  std::vector<std::unique_ptr<Program>> programs_;
  std::unique_ptr<Program> final_norm_;
  Head head_;
  EngineState state_;
  std::vector<Rope> ropes_;  ///< those that depend on the sequence's length
  uint64_t batch_tokens_ = kBatchTokens;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Session>> Session::Create(const ModelSource& source,
                                                         Activations activations,
                                                         uint64_t max_positions) {
  SpecifiedModel model{.source = &source, .spec = {}};
  SMELT_ASSIGN_OR_RETURN(model.spec, ReadModelSpec(source));
  return Create(model, activations, max_positions);
}

absl::StatusOr<std::unique_ptr<Session>> Session::Create(const SpecifiedModel& model,
                                                         Activations activations,
                                                         uint64_t max_positions) {
  auto session = std::make_unique<EngineSession>(model, activations);
  SMELT_RETURN_IF_ERROR(session->Open());
  return std::unique_ptr<Session>(std::move(session));
}

}  // namespace smelt
