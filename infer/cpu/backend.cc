#include "infer/cpu/backend.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <span>
#include <tuple>

#include "infer/cpu/attention.h"
#include "infer/cpu/delta.h"
#include "infer/cpu/experts.h"
#include "infer/cpu/kernels.h"
#include "infer/cpu/latent.h"
#include "infer/cpu/loss.h"
#include "infer/cpu/scan.h"
#include "infer/cpu/watch.h"
#include "infer/cpu/weights.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"

namespace smelt::cpu {
namespace {

// Runs the operations of one program over one batch.
class Executor {
 public:
  Executor(const CpuProgram& program, CpuBatch& batch, CpuState& state, CpuBuffer& x,
           CpuBuffer* inputs, Tap* tap)
      : graph_(program.graph),
        precision_(program.precision),
        batch_(batch),
        state_(state),
        x_(x),
        inputs_(inputs),
        tap_(tap) {}

  absl::Status RunAll() {
    const Layout& layout = batch_.layout;
    batch_.scratch.Reserve(layout.Floats(graph_.scratch_features));
    if (tap_ != nullptr) tokens_ = TokensOfPanels(layout);
    SMELT_RETURN_IF_ERROR(ForOperations(
        graph_, [&](size_t first, size_t count) { return Multiply(first, count); },
        [&](const auto& op) { return Do(op); }));
    state_.SetStarted();
    return absl::OkStatus();
  }

 private:
  float* At(Slot slot) {
    if (slot == kStream) return x_.values.data();
    if (slot == kInputs) return inputs_->values.data();
    return batch_.scratch.data() + batch_.layout.Floats(graph_.slots[slot].offset);
  }
  // The input of a product, its 8-bit form kept while the slot is not written.
  Input& InputOf(Slot slot, uint32_t columns) {
    if (input_slot_ != slot + 1) {
      batch_.input.Set(At(slot), columns, batch_.layout.panels, batch_.layout.lanes);
      input_slot_ = slot + 1;
    }
    return batch_.input;
  }
  void Wrote(Slot slot) {
    // Buffers may overlap: what a slot's memory held before is gone too.
    if (input_slot_ != 0 && Overlap(graph_, input_slot_ - 1, slot)) input_slot_ = 0;
  }
  template <typename F>
  absl::Status ForPanels(const F& f) {
    return ParallelForWorkers(batch_.layout.panels, 1, [&](uint64_t first, uint64_t last, int) {
      for (uint64_t p = first; p < last; ++p) f(p);
    });
  }

  // f(floats before it, floats) for every panel of a slot with so many features, which it writes.
  template <typename F>
  absl::Status Write(Slot slot, uint32_t features, const F& f) {
    const size_t size = static_cast<size_t>(features) * batch_.layout.lanes;
    SMELT_RETURN_IF_ERROR(ForPanels([&](uint64_t p) { f(p * size, size); }));
    Wrote(slot);
    return absl::OkStatus();
  }

  absl::Status Do(const NormOp& op) {
    const NormArgs args{.kind = op.kind,
                        .epsilon = op.epsilon,
                        .weight = ValuesOf(op.weight),
                        .bias = ValuesOf(op.bias),
                        .features = op.features,
                        .group = op.group,
                        .weights = op.weights,
                        .add = op.add};
    const float* in = At(op.in);
    float* out = At(op.out);
    const auto norm = batch_.layout.lanes == 1 ? NormRow : NormPanel;
    return Write(op.out, op.features, [&](size_t at, size_t) { norm(args, in + at, out + at); });
  }

  absl::Status Do(const AddOp& op) {
    const float* in = At(op.in);
    float* out = At(op.out);
    return Write(op.out, op.features,
                 [&](size_t at, size_t size) { AddScaled(in + at, op.scale, size, out + at); });
  }

  absl::Status Do(const ScaleOp& op) {
    float* x = At(op.x);
    return Write(op.x, op.features, [&](size_t at, size_t size) {
      for (float& v : std::span(x + at, size)) v *= op.scale;
    });
  }

  absl::Status Multiply(size_t first, size_t count) {
    std::array<Product, kMostProducts> products;
    for (size_t i = 0; i < count; ++i) {
      const MatMulOp& op = std::get<MatMulOp>(graph_.ops[first + i]);
      Input& in = InputOf(op.in, op.matrix.columns);
      if (tap_ != nullptr) SMELT_RETURN_IF_ERROR(Watch(*tap_, op.matrix, 0, tokens_, in));
      products[i] = {&op.matrix, &in, op.store, op.activation, At(op.out)};
    }
    SMELT_RETURN_IF_ERROR(MatMul(std::span(products).first(count), precision_));
    for (size_t i = 0; i < count; ++i) Wrote(std::get<MatMulOp>(graph_.ops[first + i]).out);
    return absl::OkStatus();
  }

  absl::Status Do(const RopeOp& op) {
    SMELT_ASSIGN_OR_RETURN(const RopeTable* found, batch_.TableFor(op.rope));
    const RopeTable& table = *found;
    const uint32_t lanes = batch_.layout.lanes;
    const size_t pairs = op.rope.dims / 2;
    float* q = At(op.q);
    float* k = At(op.k);
    SMELT_RETURN_IF_ERROR(ForPanels([&](uint64_t p) {
      const float* cos = table.cos.data() + p * pairs * lanes;
      const float* sin = table.sin.data() + p * pairs * lanes;
      const size_t q_head = static_cast<size_t>(op.head_size) * lanes;
      const uint32_t k_size = op.k_head_size != 0 ? op.k_head_size : op.head_size;
      RotateHeads(q + p * op.heads * q_head + op.q_first * lanes, op.heads, op.head_size,
                  op.rope.style, pairs, cos, sin, lanes);
      RotateHeads(k + p * op.kv_heads * k_size * lanes, op.kv_heads, k_size, op.rope.style, pairs,
                  cos, sin, lanes);
    }));
    Wrote(op.q);
    Wrote(op.k);
    return absl::OkStatus();
  }

  // Queries, which go into the matrices of keys before a temperature scales what comes of it.
  absl::Status WatchQueries(const LatentAttentionOp& op) {
    if (tap_ == nullptr || queries_watched_) return absl::OkStatus();
    queries_watched_ = true;
    return WatchHeads(*tap_, op.k_b, op.heads, op.plain_size + op.rope_size, batch_.layout,
                      At(op.q));
  }

  absl::Status Do(const TemperatureOp& op) {
    for (const Op& next : graph_.ops) {
      const LatentAttentionOp* attention = std::get_if<LatentAttentionOp>(&next);
      if (attention != nullptr && attention->q == op.x)
        SMELT_RETURN_IF_ERROR(WatchQueries(*attention));
    }
    const Layout& layout = batch_.layout;
    float* x = At(op.x);
    const size_t size = static_cast<size_t>(op.features) * layout.lanes;
    const auto factor = [&](uint64_t position) {
      return static_cast<float>(1 + op.temperature *
                                        std::log(1 + static_cast<double>(position / op.length)));
    };
    for (const Layout::Segment& s : layout.segments) {
      SMELT_RETURN_IF_ERROR(
          ParallelForWorkers(s.panels, 1, [&](uint64_t first, uint64_t last, int) {
            for (uint64_t p = first; p < last; ++p) {
              float* panel = x + (s.first_panel + p) * size;
              alignas(64) float factors[kPanel];
              for (uint32_t lane = 0; lane < layout.lanes; ++lane)
                factors[lane] = factor(s.position + p * layout.lanes + lane);
              if (layout.lanes == 1) {
                for (size_t i = 0; i < size; ++i) panel[i] *= factors[0];
              } else {
                ScalePanel(factors, op.features, panel);
              }
            }
          }));
    }
    Wrote(op.x);
    return absl::OkStatus();
  }

  absl::Status Do(const CopyOp& op) {
    const float* in = At(op.in);
    float* out = At(op.out);
    const size_t lanes = batch_.layout.lanes;
    SMELT_RETURN_IF_ERROR(ForPanels([&](uint64_t p) {
      for (uint64_t g = p * op.groups; g < (p + 1) * op.groups; ++g) {
        std::copy_n(in + (g * op.in_stride + op.in_first) * lanes, op.count * lanes,
                    out + (g * op.out_stride + op.out_first) * lanes);
      }
    }));
    Wrote(op.out);
    return absl::OkStatus();
  }

  absl::Status Do(const LatentAttentionOp& op) {
    SMELT_RETURN_IF_ERROR(WatchQueries(op));
    SMELT_RETURN_IF_ERROR(
        AttendLatent(op, batch_.layout, At(op.q), At(op.k), state_, At(op.out), tap_));
    Wrote(op.out);
    return absl::OkStatus();
  }

  absl::Status Do(const AttentionOp& op) {
    const float* values = op.values_in_keys ? nullptr : At(op.v);
    SMELT_RETURN_IF_ERROR(
        Attend(op, batch_.layout, At(op.q), At(op.k), values, state_, At(op.out)));
    Wrote(op.out);
    return absl::OkStatus();
  }

  absl::Status Do(const ExpertsOp& op) {
    SMELT_RETURN_IF_ERROR(RunExperts(op, batch_.layout, precision_,
                                     InputOf(op.in, op.router.columns), At(op.expert_in),
                                     At(op.out), tap_));
    Wrote(op.out);
    return absl::OkStatus();
  }

  absl::Status Do(const ConvOp& op) {
    SMELT_RETURN_IF_ERROR(Convolve(op, batch_.layout, state_, At(op.x)));
    Wrote(op.x);
    return absl::OkStatus();
  }

  absl::Status Do(const Scan1Op& op) {
    SMELT_RETURN_IF_ERROR(Scan1(op, batch_.layout, At(op.x), At(op.z), At(op.dt), At(op.b),
                                At(op.c), state_, At(op.out)));
    Wrote(op.out);
    return absl::OkStatus();
  }

  absl::Status Do(const Scan2Op& op) {
    SMELT_RETURN_IF_ERROR(Scan2(op, batch_.layout, At(op.xbc), At(op.dt), state_, At(op.out)));
    Wrote(op.out);
    return absl::OkStatus();
  }

  absl::Status Do(const DeltaOp& op) {
    SMELT_RETURN_IF_ERROR(
        Delta(op, batch_.layout, At(op.qkv), At(op.beta), At(op.alpha), state_, At(op.out)));
    Wrote(op.qkv);
    Wrote(op.out);
    return absl::OkStatus();
  }

  absl::Status Do(const ClampOp& op) {
    float* x = At(op.x);
    return Write(op.x, op.features, [&](size_t at, size_t size) {
      for (float& v : std::span(x + at, size)) v = std::clamp(v, -op.limit, op.limit);
    });
  }

  absl::Status Do(const XieluOp& op) {
    float* x = At(op.x);
    const Xielu& f = op.xielu;
    return Write(op.x, op.features, [&](size_t at, size_t size) {
      for (float& v : std::span(x + at, size)) {
        v = v > 0 ? f.alpha_p * v * v + f.beta * v
                  : (std::expm1(std::min(v, f.eps)) - v) * f.alpha_n + f.beta * v;
      }
    });
  }

  absl::Status Do(const GateOp& op) {
    float* x = At(op.x);
    const float* z = At(op.z);
    return Write(op.x, op.features, [&](size_t at, size_t size) {
      if (op.plain) {
        MultiplyBy(z + at, size, x + at);
      } else {
        Gate(op.activation, z + at, size, x + at);
      }
    });
  }

  const Graph& graph_;
  const Precision precision_;
  CpuBatch& batch_;
  CpuState& state_;
  CpuBuffer& x_;
  CpuBuffer* inputs_;
  Tap* const tap_;
  bool queries_watched_ = false;
  std::vector<uint32_t> tokens_;  // of each panel, where somebody watches
  Slot input_slot_ = 0;           // 1 + slot of batch_.input, 0 = none
};

LossSide SideOf(const HeadInput& in) {
  return {in.head, &static_cast<const CpuBuffer*>(in.x)->values};
}

// Up to this many tokens, one after the other is faster than a panel that is mostly empty.
constexpr uint64_t kFewTokens = 5, kFewInterleaved = 16;  // where most weights are interleaved

class CpuBackend : public Backend {
 public:
  absl::StatusOr<WeightPtr> LoadWeight(const ModelSource& source, TensorRef tensor,
                                       WeightUse use) override {
    if (use == WeightUse::kValues || use == WeightUse::kStream)
      return CpuWeight::Load(source, tensor, use);
    // Parts of a fused tensor are one weight.
    std::weak_ptr<const CpuWeight>& known = weights_[{&source, tensor, use}];
    std::shared_ptr<const CpuWeight> weight = known.lock();
    if (weight == nullptr) {
      SMELT_ASSIGN_OR_RETURN(weight, CpuWeight::Load(source, tensor, use, &arena_));
      known = weight;
      if (use == WeightUse::kInterleaved) {
        (weight->interleaved() ? interleaved_bytes_ : other_bytes_) +=
            weight->rows() * RowBytes(weight->type(), weight->columns()).value_or(0);
      }
    }
    return WeightPtr(std::move(weight));
  }

  uint64_t interleaved_bytes() const override { return interleaved_bytes_; }

  absl::StatusOr<std::unique_ptr<Program>> Compile(Graph graph, Precision precision) override {
    auto program = std::make_unique<CpuProgram>();
    program->graph = std::move(graph);
    program->precision = precision;
    return std::unique_ptr<Program>(std::move(program));
  }

  absl::StatusOr<std::unique_ptr<Batch>> NewBatch(std::span<const Sequence> sequences,
                                                  uint64_t length) override {
    auto batch = std::make_unique<CpuBatch>(sequences);
    batch->layout =
        MakeLayout(sequences, interleaved_bytes_ > other_bytes_ ? kFewInterleaved : kFewTokens);
    batch->length = length;
    return std::unique_ptr<Batch>(std::move(batch));
  }

  absl::StatusOr<std::unique_ptr<Buffer>> NewBuffer(const Batch& batch, uint32_t features,
                                                    Place place) override {
    auto buffer = std::make_unique<CpuBuffer>();
    buffer->features = features;
    SMELT_ASSIGN_OR_RETURN(
        buffer->values,
        NewArray(static_cast<const CpuBatch&>(batch).layout.Floats(features), place));
    return std::unique_ptr<Buffer>(std::move(buffer));
  }

  std::unique_ptr<State> NewState(size_t sequences, Place place, CacheType cache) override {
    return std::make_unique<CpuState>(sequences, place, cache);
  }

  bool Owns(const State& state) const override {
    return dynamic_cast<const CpuState*>(&state) != nullptr;
  }

  uint64_t activation_bytes() const override { return kActivationBudget; }

  absl::Status Write(const Batch& batch, uint32_t first, std::span<const float> values,
                     Buffer& to) override {
    const Layout& layout = static_cast<const CpuBatch&>(batch).layout;
    CpuBuffer& buffer = static_cast<CpuBuffer&>(to);
    const size_t features = buffer.features;
    if (first == 0) std::fill_n(buffer.values.data(), buffer.values.size(), 0.0f);
    return ParallelForWorkers(values.size() / features, 64, [&](uint64_t from, uint64_t end, int) {
      for (uint64_t t = from; t < end; ++t) {
        float* out =
            buffer.values.data() + layout.Offset(first + static_cast<uint32_t>(t), features);
        for (size_t i = 0; i < features; ++i) out[i * layout.lanes] = values[t * features + i];
      }
    });
  }

  absl::Status Read(const Batch& batch, uint32_t first, const Buffer& from,
                    std::span<float> values) override {
    const Layout& layout = static_cast<const CpuBatch&>(batch).layout;
    const CpuBuffer& buffer = static_cast<const CpuBuffer&>(from);
    const size_t features = buffer.features;
    for (size_t t = 0; t < values.size() / features; ++t) {
      const float* in =
          buffer.values.data() + layout.Offset(first + static_cast<uint32_t>(t), features);
      for (size_t i = 0; i < features; ++i) values[t * features + i] = in[i * layout.lanes];
    }
    return absl::OkStatus();
  }

  absl::Status Run(const Program& program, Batch& batch, State& state, Buffer& x, Buffer* inputs,
                   Tap* tap) override {
    return Executor(static_cast<const CpuProgram&>(program), static_cast<CpuBatch&>(batch),
                    static_cast<CpuState&>(state), static_cast<CpuBuffer&>(x),
                    static_cast<CpuBuffer*>(inputs), tap)
        .RunAll();
  }

  absl::Status Watch(const Batch& batch, const Matrix& matrix, const Buffer& x, Tap& tap) override {
    const Layout& layout = static_cast<const CpuBatch&>(batch).layout;
    Input in;
    in.Set(static_cast<const CpuBuffer&>(x).values.data(), matrix.columns, layout.panels,
           layout.lanes);
    return cpu::Watch(tap, matrix, 0, TokensOfPanels(layout), in);
  }

  absl::Status Loss(const Batch& batch, std::span<const HeadInput> models,
                    const HeadInput* reference, std::span<const Target> targets,
                    Precision precision, std::span<TokenLoss> losses) override {
    std::vector<LossSide> sides;
    for (const HeadInput& model : models) sides.push_back(SideOf(model));
    if (reference != nullptr) sides.push_back(SideOf(*reference));
    return ComputeLoss(static_cast<const CpuBatch&>(batch).layout, sides, reference != nullptr,
                       targets, precision, losses);
  }

  absl::Status Logits(const Batch& batch, const Head& head, const Buffer& x,
                      std::span<const uint32_t> tokens, Precision precision,
                      std::span<float> logits) override {
    return TokenLogits(static_cast<const CpuBatch&>(batch).layout,
                       {&head, &static_cast<const CpuBuffer&>(x).values}, tokens, precision,
                       logits);
  }

 private:
  std::map<std::tuple<const ModelSource*, TensorRef, WeightUse>, std::weak_ptr<const CpuWeight>>
      weights_;
  PageArena arena_;                                   // of interleaved weights
  uint64_t interleaved_bytes_ = 0, other_bytes_ = 0;  // of weights that were to be
};

}  // namespace

absl::StatusOr<std::unique_ptr<Buffer>> CpuBuffer::Copy(Place place) const {
  auto copy = std::make_unique<CpuBuffer>();
  copy->features = features;
  SMELT_ASSIGN_OR_RETURN(copy->values, NewArray(values.size(), place));
  std::copy_n(values.data(), values.size(), copy->values.data());
  return std::unique_ptr<Buffer>(std::move(copy));
}

absl::StatusOr<const RopeTable*> CpuBatch::TableFor(const Rope& rope) {
  const std::vector<double> frequency = rope.FrequencyAt(length);
  const double magnitude = length > rope.long_from ? rope.long_magnitude : rope.magnitude;
  for (const auto& table : ropes) {
    if (table->frequency == frequency && table->magnitude == magnitude) return table.get();
  }
  auto table = std::make_unique<RopeTable>();
  table->frequency = frequency;
  table->magnitude = magnitude;
  const size_t pairs = frequency.size();
  table->cos = Array<float>(layout.Floats(pairs));
  table->sin = Array<float>(layout.Floats(pairs));
  for (const Layout::Segment& s : layout.segments) {
    SMELT_RETURN_IF_ERROR(ParallelForWorkers(s.panels, 1, [&](uint64_t first, uint64_t last, int) {
      for (uint64_t p = first; p < last; ++p) {
        const size_t base = (s.first_panel + p) * pairs * layout.lanes;
        for (size_t j = 0; j < pairs; ++j) {
          for (uint32_t lane = 0; lane < layout.lanes; ++lane) {
            const double angle =
                static_cast<double>(s.position + p * layout.lanes + lane) * frequency[j];
            table->cos[base + j * layout.lanes + lane] =
                static_cast<float>(std::cos(angle) * magnitude);
            table->sin[base + j * layout.lanes + lane] =
                static_cast<float>(std::sin(angle) * magnitude);
          }
        }
      }
    }));
  }
  ropes.push_back(std::move(table));
  return ropes.back().get();
}

}  // namespace smelt::cpu

namespace smelt {

std::unique_ptr<Backend> NewCpuBackend() { return std::make_unique<cpu::CpuBackend>(); }

}  // namespace smelt
