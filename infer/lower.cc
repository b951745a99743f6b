#include "infer/lower.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "infer/lowerer.h"
#include "lib/base/status.h"

namespace smelt {

Lowerer::Lowerer(const ModelSpec& spec, const ModelSource& source, WeightUse use, Backend& backend)
    : width_(spec.width), inputs_(spec.inputs.size), source_(source), use_(use), backend_(backend) {
  graph_.slots.push_back({width_, 0});
  graph_.slots.push_back({inputs_ * static_cast<uint32_t>(spec.layers.size()), 0});
}

absl::Status Lowerer::Layer(const LayerSpec& layer, uint32_t number) {
  const uint64_t start = top_;
  SMELT_RETURN_IF_ERROR(MixAndFeed(layer));
  top_ = start;
  if (layer.input.present()) SMELT_RETURN_IF_ERROR(AddInput(layer.input, number));
  if (layer.output_scale != 1) {
    graph_.ops.push_back(
        ScaleOp{.x = kStream, .features = width_, .scale = static_cast<float>(layer.output_scale)});
  }
  return absl::OkStatus();
}

absl::Status Lowerer::Inputs(const PerLayerInputs& inputs) {
  const uint32_t features = graph_.slots[kInputs].features;
  const Slot projected = NewSlot(features);
  SMELT_RETURN_IF_ERROR(Multiply(inputs.projection, kStream, projected));
  SMELT_RETURN_IF_ERROR(AddNorm(inputs.norm, projected, projected, features, false));
  graph_.ops.push_back(AddOp{.in = projected,
                             .out = kInputs,
                             .features = features,
                             .scale = static_cast<float>(inputs.scale)});
  return absl::OkStatus();
}

absl::Status Lowerer::MixAndFeed(const LayerSpec& layer) {
  Slot ffn_in = 0;
  const uint64_t start = top_;
  residual_scale_ = static_cast<float>(layer.residual_scale);
  if (layer.parallel) {
    // Both halves read the block's input: this one must be taken before the other half changes
    // it.
    ffn_in = NewSlot(width_);
    if (layer.ffn_norm.present()) {
      parallel_ffn_ = &layer.ffn_norm;
    } else {
      SMELT_RETURN_IF_ERROR(AddNorm(layer.mixer_norm, 0, ffn_in, width_, false));
      shared_in_ = ffn_in;
    }
  }
  parallel_in_ = ffn_in;
  const bool two = !std::holds_alternative<std::monostate>(layer.beside);
  if (two && shared_in_ == 0) {
    shared_in_ = NewSlot(width_);
    SMELT_RETURN_IF_ERROR(AddNorm(layer.mixer_norm, 0, shared_in_, width_, false));
  }
  const uint64_t mixer_start = top_;
  for (const smelt::Mixer* mixer : {&layer.mixer, &layer.beside}) {
    top_ = mixer_start;
    SMELT_RETURN_IF_ERROR(std::visit([&](const auto& kind) { return Mixer(layer, kind); }, *mixer));
  }
  if (std::holds_alternative<std::monostate>(layer.ffn)) return absl::OkStatus();
  top_ = layer.parallel ? mixer_start : start;
  if (layer.experts_beside.present()) return FeedBoth(layer);
  if (!layer.parallel && layer.ffn_norm.present()) {
    ffn_in = NewSlot(width_);
    SMELT_RETURN_IF_ERROR(AddNorm(layer.ffn_norm, 0, ffn_in, width_, false));
  }
  if (const Mlp* mlp = std::get_if<Mlp>(&layer.ffn)) return Feed(layer, *mlp, ffn_in);
  return Feed(layer, std::get<Experts>(layer.ffn), ffn_in);
}

absl::Status Lowerer::AddInput(const LayerInput& input, uint32_t number) {
  const Slot gate = NewSlot(inputs_), own = NewSlot(inputs_), delta = NewSlot(width_);
  SMELT_RETURN_IF_ERROR(Multiply(input.gate, kStream, gate));
  graph_.ops.push_back(CopyOp{.in = kInputs,
                              .out = own,
                              .in_stride = graph_.slots[kInputs].features,
                              .in_first = number * inputs_,
                              .out_stride = inputs_,
                              .count = inputs_});
  graph_.ops.push_back(
      GateOp{.x = own, .z = gate, .features = inputs_, .activation = input.activation});
  SMELT_RETURN_IF_ERROR(Multiply(input.projection, own, delta));
  return AddNorm(input.post_norm, delta, kStream, width_, true);
}

absl::Status Lowerer::AddNorm(const Norm& norm, Slot in, Slot out, uint32_t features, bool add) {
  NormOp op{.in = in,
            .out = out,
            .kind = norm.kind,
            .epsilon = static_cast<float>(norm.epsilon),
            .features = features,
            .weights = features,
            .add = add};
  op.group = norm.group == 0 ? features : static_cast<uint32_t>(norm.group);
  if (norm.weight != kNoTensor) {
    op.weights = static_cast<uint32_t>(Shape(norm.weight).elements());
    SMELT_ASSIGN_OR_RETURN(op.weight, Values(norm.weight));
  }
  SMELT_ASSIGN_OR_RETURN(op.bias, Values(norm.bias));
  if (op.group == 0 || features % op.group != 0 || op.weights == 0 || features % op.weights != 0)
    return Error(ErrorCode::kUnsupported, "a norm over groups of ", op.group, " of ", features,
                 " values");
  graph_.ops.push_back(std::move(op));
  return absl::OkStatus();
}

absl::StatusOr<Matrix> Lowerer::Lower(const Linear& linear) { return Lower(linear, use_); }

absl::StatusOr<Matrix> Lowerer::LowerInPlace(const Linear& linear) {
  return Lower(linear, use_ == WeightUse::kInterleaved ? WeightUse::kResident : use_);
}

absl::StatusOr<Matrix> Lowerer::Lower(const Linear& linear, WeightUse use) {
  Matrix m;
  if (!linear.present()) return m;
  const smelt::Shape& shape = Shape(linear.weight);
  m.columns = static_cast<uint32_t>(shape.columns());
  m.expert_rows = shape.ne[1];
  m.tensor = linear.weight;
  m.count = shape.ne[2] * shape.ne[3];
  m.first_row = linear.first_row;
  m.rows = static_cast<uint32_t>(linear.rows == 0 ? shape.ne[1] - linear.first_row : linear.rows);
  if (shape.columns() > std::numeric_limits<uint32_t>::max() ||
      linear.first_row + m.rows > shape.ne[1])
    return Error(ErrorCode::kInternal, "rows of a fused tensor beyond its end");
  SMELT_ASSIGN_OR_RETURN(m.weight, backend_.LoadWeight(source_, linear.weight, use));
  SMELT_ASSIGN_OR_RETURN(m.bias, Values(linear.bias));
  return m;
}

const smelt::Shape& Lowerer::Shape(TensorRef t) const {
  return source_.tensors()[static_cast<size_t>(t)].shape;
}

absl::StatusOr<WeightPtr> Lowerer::Values(TensorRef t) {
  if (t == kNoTensor) return WeightPtr();
  return backend_.LoadWeight(source_, t, WeightUse::kValues);
}

Slot Lowerer::NewSlot(uint32_t features) {
  graph_.slots.push_back({features, top_});
  top_ += features;
  graph_.scratch_features = std::max(graph_.scratch_features, top_);
  return static_cast<Slot>(graph_.slots.size() - 1);
}

absl::Status Lowerer::Multiply(const Linear& linear, Slot in, Slot out, Store store,
                               Activation activation) {
  MatMulOp op{.in = in, .out = out, .store = store, .activation = activation};
  SMELT_ASSIGN_OR_RETURN(op.matrix, Lower(linear));
  graph_.ops.push_back(std::move(op));
  return absl::OkStatus();
}

Linear Lowerer::Part(const Linear& whole, uint64_t first, uint64_t rows) {
  Linear part = whole;
  part.first_row += first;
  part.rows = rows;
  return part;
}

absl::Status Lowerer::MultiplySplit(const Linear& linear, Slot in, uint32_t turns,
                                    std::initializer_list<Share> shares) {
  uint32_t step = 0;
  for (const Share& share : shares) step += share.count;
  const uint64_t top = top_;
  const Slot all = NewSlot(turns * step);
  SMELT_RETURN_IF_ERROR(Multiply(linear, in, all));
  uint32_t at = 0;
  for (const Share& share : shares) {
    const uint32_t features = graph_.slots[share.out].features;
    if (features == turns * share.count) {
      graph_.ops.push_back(CopyOp{.in = all,
                                  .out = share.out,
                                  .groups = turns,
                                  .in_stride = step,
                                  .in_first = at,
                                  .out_stride = share.count,
                                  .count = share.count});
    } else {  // a part of a buffer, turn by turn
      for (uint32_t turn = 0; turn < turns; ++turn) {
        graph_.ops.push_back(CopyOp{.in = all,
                                    .out = share.out,
                                    .in_stride = turns * step,
                                    .in_first = turn * step + at,
                                    .out_stride = features,
                                    .out_first = share.first + turn * share.count,
                                    .count = share.count});
      }
    }
    at += share.count;
  }
  top_ = top;
  return absl::OkStatus();
}

absl::Status Lowerer::AddToStream(const Linear& linear, Slot in, const Norm& post) {
  if (parallel_ffn_ != nullptr) {
    SMELT_RETURN_IF_ERROR(
        AddNorm(*std::exchange(parallel_ffn_, nullptr), 0, parallel_in_, width_, false));
  }
  if (!post.present() && residual_scale_ == 1) return Multiply(linear, in, 0, Store::kAdd);
  const Slot delta = NewSlot(width_);
  SMELT_RETURN_IF_ERROR(Multiply(linear, in, delta));
  return AddDelta(delta, post);
}

absl::Status Lowerer::AddDelta(Slot delta, const Norm& post) {
  if (residual_scale_ == 1) return AddNorm(post, delta, 0, width_, true);
  if (post.present()) SMELT_RETURN_IF_ERROR(AddNorm(post, delta, delta, width_, false));
  graph_.ops.push_back(AddOp{.in = delta, .out = 0, .features = width_, .scale = residual_scale_});
  return absl::OkStatus();
}

absl::StatusOr<Slot> Lowerer::MixerInput(const LayerSpec& layer, uint32_t reuse, Slot& scratch) {
  scratch = NewSlot(std::max(width_, reuse));
  if (shared_in_ != 0) return shared_in_;
  if (!layer.mixer_norm.present()) return Slot{0};
  SMELT_RETURN_IF_ERROR(AddNorm(layer.mixer_norm, 0, scratch, width_, false));
  return scratch;
}

absl::StatusOr<Graph> LowerLayer(const ModelSpec& spec, size_t layer, const ModelSource& source,
                                 WeightUse use, Backend& backend) {
  Lowerer lowerer(spec, source, use, backend);
  SMELT_RETURN_IF_ERROR(lowerer.Layer(spec.layers[layer], static_cast<uint32_t>(layer)));
  return lowerer.Take();
}

absl::StatusOr<Graph> LowerInputs(const ModelSpec& spec, const ModelSource& source, WeightUse use,
                                  Backend& backend) {
  Lowerer lowerer(spec, source, use, backend);
  SMELT_RETURN_IF_ERROR(lowerer.Inputs(spec.inputs));
  return lowerer.Take();
}

absl::StatusOr<Graph> LowerFinalNorm(const ModelSpec& spec, const ModelSource& source,
                                     Backend& backend) {
  Lowerer lowerer(spec, source, WeightUse::kStream, backend);
  if (spec.final_norm.present())
    SMELT_RETURN_IF_ERROR(lowerer.AddNorm(spec.final_norm, 0, 0, spec.width, false));
  return lowerer.Take();
}

absl::StatusOr<Head> LowerHead(const ModelSpec& spec, const ModelSource& source, WeightUse use,
                               Backend& backend) {
  Lowerer lowerer(spec, source, use, backend);
  Head head{.scale = static_cast<float>(spec.logit_scale),
            .softcap = static_cast<float>(spec.logit_softcap)};
  SMELT_ASSIGN_OR_RETURN(head.output, lowerer.Lower(spec.output));
  return head;
}

}  // namespace smelt
