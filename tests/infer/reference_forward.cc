// The residual stream, norms, products, feed-forward parts and experts of the plain pass.
#include "tests/infer/reference_forward.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

namespace smelt::testing {

double Act(Activation a, double x) {
  switch (a) {
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kRelu:
      return x > 0 ? x : 0;
    case Activation::kRelu2:
      return x > 0 ? x * x : 0;
    case Activation::kSigmoid:
      return 1 / (1 + std::exp(-x));
  }
  return 0;
}
double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

Rows Forward::Run(const std::vector<int32_t>& ids) const {
  Rows x;
  for (size_t t = 0; t < ids.size(); ++t) {
    Row row(spec_.width);
    for (size_t i = 0; i < row.size(); ++i) {
      row[i] = At(spec_.embedding, static_cast<size_t>(ids[t]) * spec_.width + i) *
               spec_.embedding_scale;
      if (spec_.positions != kNoTensor) row[i] += At(spec_.positions, t * spec_.width + i);
    }
    x.push_back(row);
  }
  const Rows inputs = Inputs(ids, x);
  std::vector<KeysValues> keys;  // of each layer
  for (size_t i = 0; i < spec_.layers.size(); ++i) Layer(spec_.layers[i], i, inputs, keys, x);
  for (Row& row : x) {
    row = Multiply(spec_.output, Normed(spec_.final_norm, row));
    for (double& v : row) {
      v *= spec_.logit_scale;
      if (spec_.logit_softcap > 0) v = spec_.logit_softcap * std::tanh(v / spec_.logit_softcap);
    }
  }
  return x;
}

void Forward::Watch(TensorRef t, size_t index, const double* x) const {
  if (inputs_ == nullptr) return;
  const Shape& shape = model_.ShapeOf(t);
  Watch(t, index, shape.columns(), shape.ne[2], x);
}

void Forward::Watch(TensorRef t, size_t index, size_t columns, size_t matrices,
                    const double* x) const {
  if (inputs_ == nullptr) return;
  ReferenceInputs& squares = (*inputs_)[t];
  squares.columns = columns;
  squares.products.resize(columns * columns * matrices);
  squares.sums.resize(columns * matrices);
  squares.counts.resize(matrices);
  ++squares.counts[index];
  for (size_t c = 0; c < columns; ++c) squares.sums[index * columns + c] += x[c] * x[c];
  double* const products = squares.products.data() + index * columns * columns;
  for (size_t c = 0; c < columns; ++c)
    for (size_t d = 0; d < columns; ++d) products[c * columns + d] += x[c] * x[d];
}

Row Forward::Normed(const Norm& n, const Row& x) const {
  if (!n.present()) return x;
  Row y(x.size());
  const size_t group = n.group == 0 ? x.size() : n.group;
  const size_t weights = n.weight == kNoTensor ? 1 : model_.Values(n.weight).size();
  for (size_t g = 0; g < x.size(); g += group) {
    double mean = 0, square = 0;
    if (n.kind == NormKind::kLayer)
      for (size_t i = g; i < g + group; ++i) mean += x[i] / static_cast<double>(group);
    for (size_t i = g; i < g + group; ++i)
      square += (x[i] - mean) * (x[i] - mean) / static_cast<double>(group);
    for (size_t i = g; i < g + group; ++i) {
      y[i] = (x[i] - mean) / std::sqrt(square + n.epsilon);
      if (n.weight != kNoTensor) y[i] *= At(n.weight, i % weights);
      if (n.bias != kNoTensor) y[i] += At(n.bias, i % weights);
    }
  }
  return y;
}

Row Forward::Multiply(const Linear& l, const Row& x, size_t expert) const {
  const Shape& shape = model_.ShapeOf(l.weight);
  const size_t rows = l.rows == 0 ? shape.ne[1] - l.first_row : l.rows;
  Row y(rows);
  if (l.first_row == 0) Watch(l.weight, expert, x.data());
  for (size_t r = 0; r < rows; ++r) {
    const size_t row = expert * shape.ne[1] + l.first_row + r;
    for (size_t k = 0; k < x.size(); ++k) y[r] += At(l.weight, row * x.size() + k) * x[k];
    if (l.bias != kNoTensor) y[r] += At(l.bias, row);
  }
  return y;
}

Rows Forward::Inputs(const std::vector<int32_t>& ids, const Rows& x) const {
  Rows inputs;
  const PerLayerInputs& spec = spec_.inputs;
  const size_t columns = spec.size * spec_.layers.size();
  for (size_t t = 0; spec.present() && t < ids.size(); ++t) {
    Row row = Normed(spec.norm, Multiply(spec.projection, x[t]));
    for (size_t i = 0; i < columns; ++i) {
      row[i] += spec.table_scale * At(spec.table, static_cast<size_t>(ids[t]) * columns + i);
      row[i] *= spec.scale;
    }
    inputs.push_back(row);
  }
  return inputs;
}

void Forward::Layer(const LayerSpec& layer, size_t number, const Rows& inputs,
                    std::vector<KeysValues>& keys, Rows& x) const {
  MixAndFeed(layer, keys, x);
  for (size_t t = 0; t < x.size(); ++t) {
    if (layer.input.present()) {
      Row gate = Multiply(layer.input.gate, x[t]);
      for (size_t i = 0; i < gate.size(); ++i)
        gate[i] = Act(layer.input.activation, gate[i]) * inputs[t][number * gate.size() + i];
      AddTo(x[t], Normed(layer.input.post_norm, Multiply(layer.input.projection, gate)));
    }
    for (double& v : x[t]) v *= layer.output_scale;
  }
}

Rows Forward::MixAny(const Attention& a, const Rows& in, std::vector<KeysValues>& keys) const {
  keys.back() = a.keys_of < 0 ? Keys(a, in) : keys[static_cast<size_t>(a.keys_of)];
  return Mix(a, in, keys.back());
}

void Forward::MixAndFeed(const LayerSpec& layer, std::vector<KeysValues>& keys, Rows& x) const {
  keys.emplace_back();
  Rows in;
  for (const Row& row : x) in.push_back(Normed(layer.mixer_norm, row));
  const Rows before = x;
  for (const Mixer* one : {&layer.mixer, &layer.beside}) {
    if (std::holds_alternative<std::monostate>(*one)) continue;
    const Rows mixed = std::visit([&](const auto& mixer) { return MixAny(mixer, in, keys); }, *one);
    for (size_t t = 0; t < x.size(); ++t)
      AddTo(x[t], Normed(layer.post_mixer_norm, mixed[t]), layer.residual_scale);
  }
  if (std::holds_alternative<std::monostate>(layer.ffn)) return;
  for (size_t t = 0; t < x.size(); ++t) {
    const Row h = Normed(layer.ffn_norm, layer.parallel ? before[t] : x[t]);
    Row y = std::holds_alternative<Mlp>(layer.ffn) ? Feed(std::get<Mlp>(layer.ffn), h)
                                                   : Feed(std::get<Experts>(layer.ffn), h, h);
    if (layer.experts_beside.present()) {
      const ExpertsBeside& beside = layer.experts_beside;
      const Row own = Normed(beside.in_norm, x[t]);
      const Norm& router_norm = beside.experts.router_norm;
      const Row router_in = router_norm.present() ? Normed(router_norm, x[t]) : own;
      y = Normed(beside.mlp_norm, y);
      AddTo(y, Normed(beside.out_norm, Feed(beside.experts, own, router_in)));
    }
    AddTo(x[t], Normed(layer.post_ffn_norm, y), layer.residual_scale);
  }
}

void Forward::AddTo(Row& x, const Row& y, double scale) {
  for (size_t i = 0; i < x.size(); ++i) x[i] += scale * y[i];
}

Row Forward::Feed(const Mlp& mlp, const Row& x) const {
  Row up = Multiply(mlp.up, x);
  if (mlp.gate.present()) {
    const Row gate = Multiply(mlp.gate, x);
    for (size_t i = 0; i < up.size(); ++i) up[i] *= Act(mlp.activation, gate[i]);
  } else {
    for (double& v : up) v = Act(mlp.activation, v);
  }
  return Multiply(mlp.down, up);
}

Row Forward::Feed(const Experts& e, const Row& x, const Row& router_in) const {
  Row score = Multiply(e.router, router_in);
  for (double& v : score) v *= e.router_scale;
  const auto softmax = [](Row& r) {
    double sum = 0;
    for (double& v : r) sum += v = std::exp(v);
    for (double& v : r) v /= sum;
  };
  if (e.gating == Experts::Gating::kSoftmax) softmax(score);
  if (e.gating == Experts::Gating::kSigmoid)
    for (double& v : score) v = Sigmoid(v);
  Row selection = score;
  if (e.selection_bias != kNoTensor)
    for (size_t j = 0; j < e.count; ++j) selection[j] += At(e.selection_bias, j);
  const std::vector<bool> open = OpenExperts(e, selection);
  std::vector<size_t> chosen;
  for (uint32_t i = 0; i < e.used; ++i) {
    size_t best = e.count;
    for (size_t j = 0; j < e.count; ++j) {
      bool taken = !open[j];
      for (size_t c : chosen) taken = taken || c == j;
      if (!taken && (best == e.count || selection[j] > selection[best])) best = j;
    }
    chosen.push_back(best);
  }
  Row weight;
  double sum = 0;
  for (size_t c : chosen) weight.push_back(score[c]), sum += score[c];
  if (e.gating == Experts::Gating::kSparseMixer) {
    weight = ShareOfNear(e, score, chosen);
  } else if (e.gating == Experts::Gating::kSoftmaxOfTopK) {
    softmax(weight);
  } else if (e.normalize) {
    for (double& w : weight) w /= sum + e.sum_epsilon;
  }
  for (size_t i = 0; e.expert_scale != kNoTensor && i < weight.size(); ++i)
    weight[i] *= At(e.expert_scale, chosen[i]);
  const Row in = e.latent_down.present() ? Multiply(e.latent_down, x) : x;
  Row y(in.size());
  for (size_t i = 0; i < chosen.size(); ++i) {
    Row up = Multiply(e.up, in, chosen[i]);
    const Row gate = e.gate.present() ? Multiply(e.gate, in, chosen[i]) : Row();
    for (size_t j = 0; j < up.size(); ++j) {
      if (e.clamped) {
        const double g = std::min(gate[j], 7.0), u = std::max(-7.0, std::min(7.0, up[j]));
        up[j] = (u + 1) * g * Sigmoid(1.702 * g);
      } else {
        up[j] = e.gate.present() ? Act(e.activation, gate[j]) * up[j] : Act(e.activation, up[j]);
      }
    }
    const Row down = Multiply(e.down, up, chosen[i]);
    for (size_t j = 0; j < y.size(); ++j) y[j] += weight[i] * e.scale * down[j];
  }
  if (e.latent_up.present()) y = Multiply(e.latent_up, y);
  if (e.shared.up.present()) {
    const double scale = e.shared_gate.present() ? Sigmoid(Multiply(e.shared_gate, x)[0]) : 1;
    const Row shared = Feed(e.shared, x);
    for (size_t j = 0; j < y.size(); ++j) y[j] += scale * shared[j];
  }
  return y;
}

Row Forward::ShareOfNear(const Experts& e, const Row& logits, const std::vector<size_t>& chosen) {
  Row weights;
  std::vector<bool> left(e.count, true);
  for (size_t best : chosen) {
    double sum = 0;
    for (size_t j = 0; j < e.count; ++j) {
      const double size = std::max(std::abs(logits[j]), logits[best]);
      const bool near = (logits[best] - logits[j]) / size <= e.nearness;
      if (left[j] && near) sum += std::exp(logits[j] - logits[best]);
    }
    weights.push_back(1 / sum);
    left[best] = false;
  }
  return weights;
}

std::vector<bool> Forward::OpenExperts(const Experts& e, const Row& selection) {
  std::vector<bool> open(e.count, true);
  if (e.groups == 1) return open;
  const size_t size = e.count / e.groups;
  Row score(e.groups);
  for (size_t g = 0; g < e.groups; ++g) {
    Row of_group(selection.begin() + static_cast<std::ptrdiff_t>(g * size),
                 selection.begin() + static_cast<std::ptrdiff_t>((g + 1) * size));
    std::sort(of_group.rbegin(), of_group.rend());
    score[g] = of_group[0] + (e.group_by_two_best ? of_group[1] : 0);
  }
  for (size_t j = 0; j < e.count; ++j) {
    size_t better = 0;
    for (double other : score) better += other > score[j / size] ? 1 : 0;
    open[j] = better < e.groups_used;
  }
  return open;
}
void AddReferenceInputs(const ModelSpec& spec, const MemoryModel& model,
                        const std::vector<int32_t>& ids,
                        std::map<TensorRef, ReferenceInputs>& inputs) {
  Forward(spec, model, &inputs).Run(ids);
}

std::vector<std::vector<double>> ReferenceLogits(const ModelSpec& spec, const MemoryModel& model,
                                                 const std::vector<int32_t>& ids, CacheType cache,
                                                 double nudge) {
  return Forward(spec, model, nullptr, cache, nudge).Run(ids);
}

}  // namespace smelt::testing
