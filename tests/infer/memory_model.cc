#include "tests/infer/memory_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <tuple>
#include <utility>

#include "lib/base/cat.h"
#include "lib/base/status.h"
#include "quant/codec.h"
#include "quant/encoder.h"

namespace smelt::testing {

TensorRef MemoryModel::Add(std::vector<uint64_t> ne, double spread, double center,
                           TensorType type) {
  TensorInfo info;
  info.name = Cat("t", tensors_.size());
  info.shape.dims = static_cast<int>(ne.size());
  for (size_t i = 0; i < ne.size(); ++i) info.shape.ne[i] = ne[i];
  info.type = type;
  std::vector<float> values(info.shape.elements());
  for (float& v : values) {
    const double unit = static_cast<double>(random_() >> 11) * 0x1p-53;
    v = static_cast<float>(center + spread * (2 * unit - 1));
  }
  const Codec* codec = FindCodec(type);
  std::vector<std::byte> bytes(RowBytes(type, info.shape.columns()).value() * info.shape.rows());
  EncodeScratch scratch;
  FindEncoder(type)->Encode(info.shape.rows(), info.shape.columns(), values.data(), {},
                            bytes.data(), scratch);
  codec->Decode(bytes.data(), values.size(), values.data());
  tensors_.push_back(std::move(info));
  bytes_.push_back(std::move(bytes));
  values_.push_back(std::move(values));
  return static_cast<TensorRef>(tensors_.size() - 1);
}

void MemoryModel::Set(TensorRef t, size_t element, float value) {
  values_[static_cast<size_t>(t)][element] = value;
  std::memcpy(bytes_[static_cast<size_t>(t)].data() + element * sizeof(float), &value,
              sizeof(float));
}

absl::Status MemoryModel::ReadRows(size_t tensor, uint64_t first, uint64_t count,
                                   float* out) const {
  const uint64_t columns = tensors_[tensor].shape.columns();
  std::memcpy(out, values_[tensor].data() + first * columns, count * columns * sizeof(float));
  return absl::OkStatus();
}

absl::Status MemoryModel::ReadRawRows(size_t tensor, uint64_t first, uint64_t count,
                                      std::byte* out) const {
  const uint64_t row = RowBytes(tensors_[tensor].type, tensors_[tensor].shape.columns()).value();
  std::memcpy(out, bytes_[tensor].data() + first * row, count * row);
  return absl::OkStatus();
}

absl::StatusOr<MappedRows> MemoryModel::MapRows(size_t tensor) const {
  if (!mappable_) return Error(ErrorCode::kUnsupported, "not mappable");
  MappedRows rows;
  rows.base = bytes_[tensor].data();
  rows.stride = RowBytes(tensors_[tensor].type, tensors_[tensor].shape.columns()).value();
  return rows;
}

namespace {

using Row = std::vector<double>;
using Rows = std::vector<Row>;

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

class Forward {
 public:
  Forward(const ModelSpec& spec, const MemoryModel& model,
          std::map<TensorRef, InputSquares>* inputs = nullptr)
      : spec_(spec), model_(model), inputs_(inputs) {}

  Rows Run(const std::vector<int32_t>& ids) const {
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

 private:
  double At(TensorRef t, size_t i) const { return model_.Values(t)[i]; }

  // x goes into a product with expert `index` of a tensor.
  void Watch(TensorRef t, size_t index, const double* x) const {
    if (inputs_ == nullptr) return;
    const Shape& shape = model_.ShapeOf(t);
    Watch(t, index, shape.columns(), shape.ne[2], x);
  }
  void Watch(TensorRef t, size_t index, size_t columns, size_t matrices, const double* x) const {
    if (inputs_ == nullptr) return;
    InputSquares& squares = (*inputs_)[t];
    squares.columns = columns;
    squares.sums.resize(columns * matrices);
    squares.counts.resize(matrices);
    ++squares.counts[index];
    for (size_t c = 0; c < columns; ++c) squares.sums[index * columns + c] += x[c] * x[c];
  }

  Row Normed(const Norm& n, const Row& x) const {
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

  Row Multiply(const Linear& l, const Row& x, size_t expert = 0) const {
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

  struct KeysValues {
    Rows k, v;
  };

  // What every token gives to every layer.
  Rows Inputs(const std::vector<int32_t>& ids, const Rows& x) const {
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

  void Layer(const LayerSpec& layer, size_t number, const Rows& inputs,
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

  Rows MixAny(const Attention& a, const Rows& in, std::vector<KeysValues>& keys) const {
    keys.back() = a.keys_of < 0 ? Keys(a, in) : keys[static_cast<size_t>(a.keys_of)];
    return Mix(a, in, keys.back());
  }
  template <typename M>
  Rows MixAny(const M& mixer, const Rows& in, std::vector<KeysValues>& keys) const {
    return Mix(mixer, in);
  }

  void MixAndFeed(const LayerSpec& layer, std::vector<KeysValues>& keys, Rows& x) const {
    keys.emplace_back();
    Rows in;
    for (const Row& row : x) in.push_back(Normed(layer.mixer_norm, row));
    const Rows before = x;
    for (const Mixer* one : {&layer.mixer, &layer.beside}) {
      if (std::holds_alternative<std::monostate>(*one)) continue;
      const Rows mixed =
          std::visit([&](const auto& mixer) { return MixAny(mixer, in, keys); }, *one);
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

  static void AddTo(Row& x, const Row& y, double scale = 1) {
    for (size_t i = 0; i < x.size(); ++i) x[i] += scale * y[i];
  }

  Row Feed(const Mlp& mlp, const Row& x) const {
    Row up = Multiply(mlp.up, x);
    if (mlp.gate.present()) {
      const Row gate = Multiply(mlp.gate, x);
      for (size_t i = 0; i < up.size(); ++i) up[i] *= Act(mlp.activation, gate[i]);
    } else {
      for (double& v : up) v = Act(mlp.activation, v);
    }
    return Multiply(mlp.down, up);
  }

  Row Feed(const Experts& e, const Row& x, const Row& router_in) const {
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

  // SparseMixer's weights of the chosen, each among those that were left when it was.
  static Row ShareOfNear(const Experts& e, const Row& logits, const std::vector<size_t>& chosen) {
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

  // Those in the groups that are looked at.
  static std::vector<bool> OpenExperts(const Experts& e, const Row& selection) {
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

  void Rotate(const Rope& rope, size_t position, bool is_long, double* head) const {
    const std::vector<double>& f = is_long ? rope.long_frequency : rope.frequency;
    const double magnitude = is_long ? rope.long_magnitude : rope.magnitude;
    for (size_t j = 0; j < rope.dims / 2; ++j) {
      const double angle = static_cast<double>(position) * f[j];
      const double c = std::cos(angle) * magnitude, s = std::sin(angle) * magnitude;
      double& a = rope.style == RopeStyle::kHalves ? head[j] : head[2 * j];
      double& b = rope.style == RopeStyle::kHalves ? head[j + rope.dims / 2] : head[2 * j + 1];
      const double x = a, y = b;
      a = x * c - y * s;
      b = x * s + y * c;
    }
  }

  void RotateAll(const Attention& a, size_t heads, Rows& rows) const {
    if (a.rope.style == RopeStyle::kNone) return;
    for (size_t t = 0; t < rows.size(); ++t) {
      for (size_t h = 0; h < heads; ++h)
        Rotate(a.rope, t, rows.size() > a.rope.long_from, rows[t].data() + h * a.key_size);
    }
  }

  KeysValues Keys(const Attention& a, const Rows& in) const {
    KeysValues made;
    for (const Row& row : in) {
      const Row k = Multiply(a.k, row);
      const bool one = a.k.weight == a.v.weight && a.k.first_row == a.v.first_row;
      made.k.push_back(Normed(a.k_norm, k));
      made.v.push_back(Normed(a.v_norm, one ? k : Multiply(a.v, row)));  // one product for both
    }
    RotateAll(a, a.kv_heads, made.k);
    return made;
  }

  Rows Mix(const Attention& a, const Rows& in, const KeysValues& keys) const {
    const auto& [k, v] = keys;
    Rows q, gate;
    for (const Row& row : in) {
      Row query = Multiply(a.q, row), beside;
      if (a.gated) std::tie(query, beside) = Split(Row(query), a.heads, a.key_size, a.value_size);
      q.push_back(Normed(a.q_norm, query));
      gate.push_back(beside);
    }
    RotateAll(a, a.heads, q);
    Rows out;
    for (size_t t = 0; t < in.size(); ++t) {
      Row y(static_cast<size_t>(a.heads) * a.value_size);
      for (size_t h = 0; h < a.heads; ++h) {
        const size_t g = h / (a.heads / a.kv_heads);
        Row weight(in.size());
        double sum = a.sinks == kNoTensor ? 0 : std::exp(At(a.sinks, h));
        for (size_t s = 0; s < in.size(); ++s) {
          if (a.causal && s > t) continue;
          if (a.window != 0 && s + a.window <= t) continue;
          double dot = 0;
          for (size_t i = 0; i < a.key_size; ++i)
            dot += q[t][h * a.key_size + i] * k[s][g * a.key_size + i];
          dot *= a.scale;
          if (a.softcap > 0) dot = a.softcap * std::tanh(dot / a.softcap);
          sum += weight[s] = std::exp(dot);
        }
        for (size_t s = 0; s < in.size(); ++s) {
          for (size_t i = 0; i < a.value_size; ++i)
            y[h * a.value_size + i] += weight[s] / sum * v[s][g * a.value_size + i];
        }
      }
      for (size_t i = 0; a.gated && i < y.size(); ++i) y[i] *= Sigmoid(gate[t][i]);
      out.push_back(Multiply(a.output, y));
    }
    return out;
  }

  // Keys and values of every head written out, which the engine never does.
  Rows Mix(const LatentAttention& a, const Rows& in) const {
    const size_t head = a.plain_size + a.rope_size;
    Rows q, c, rotated, out;
    for (size_t t = 0; t < in.size(); ++t) {
      const Row low = a.q_a.present() ? Normed(a.q_a_norm, Multiply(a.q_a, in[t])) : in[t];
      q.push_back(Multiply(a.q, low));
      const Row both = Multiply(a.kv_a, in[t]);
      c.push_back(Normed(a.kv_a_norm, Row(both.begin(), both.begin() + a.rank)));
      rotated.emplace_back(both.begin() + a.rank, both.end());
      for (size_t h = 0; h < a.heads; ++h)
        Rotate(a.rope, t, false, q[t].data() + h * head + a.plain_size);
      Rotate(a.rope, t, false, rotated[t].data());
    }
    for (size_t t = 0; t < in.size(); ++t) {
      const double temperature =
          1 + a.temperature * std::log(1 + static_cast<double>(t / a.temperature_length));
      Row y(static_cast<size_t>(a.heads) * a.value_size), queries, latents;  // of all heads
      for (size_t h = 0; h < a.heads; ++h) {
        Row weight(t + 1);
        double sum = 0;
        for (size_t s = 0; s <= t; ++s) {
          double dot = 0;
          for (size_t i = 0; i < a.plain_size; ++i) {
            double key = 0;
            for (size_t r = 0; r < a.rank; ++r)
              key += At(a.k_b.weight, (h * a.rank + r) * a.plain_size + i) * c[s][r];
            dot += q[t][h * head + i] * key;
          }
          for (size_t i = 0; i < a.rope_size; ++i)
            dot += q[t][h * head + a.plain_size + i] * rotated[s][i];
          sum += weight[s] = std::exp(dot * a.scale * temperature);
        }
        queries.insert(queries.end(), q[t].begin() + static_cast<std::ptrdiff_t>(h * head),
                       q[t].begin() + static_cast<std::ptrdiff_t>(h * head + a.plain_size));
        Row latent(a.rank);
        for (size_t s = 0; s <= t; ++s) AddTo(latent, c[s], weight[s] / sum);
        latents.insert(latents.end(), latent.begin(), latent.end());
        for (size_t s = 0; s <= t; ++s) {
          for (size_t i = 0; i < a.value_size; ++i) {
            double value = 0;
            for (size_t r = 0; r < a.rank; ++r)
              value += At(a.v_b.weight, (h * a.value_size + i) * a.rank + r) * c[s][r];
            y[h * a.value_size + i] += weight[s] / sum * value;
          }
        }
      }
      Watch(a.k_b.weight, 0, queries.size(), 1, queries.data());
      Watch(a.v_b.weight, 0, latents.size(), 1, latents.data());
      out.push_back(Multiply(a.output, y));
    }
    return out;
  }

  Rows Mix(const ShortConvolution& m, const Rows& in) const {
    Rows all, product, out;
    for (const Row& row : in) {
      all.push_back(Multiply(m.in, row));
      Row p(m.channels);
      for (size_t i = 0; i < m.channels; ++i) p[i] = all.back()[i] * all.back()[2 * m.channels + i];
      product.push_back(p);
    }
    Rows mixed = Convolve(product, 0, m.channels, m.conv, m.conv_weight, m.conv_bias, false);
    for (size_t t = 0; t < in.size(); ++t) {
      for (size_t i = 0; i < m.channels; ++i) mixed[t][i] *= all[t][m.channels + i];
      out.push_back(Multiply(m.out, mixed[t]));
    }
    return out;
  }

  static Rows Mix(std::monostate, const Rows& in) { return in; }

  // So many values for the first and so many for the second by turns.
  static std::pair<Row, Row> Split(const Row& row, size_t turns, size_t first, size_t second) {
    Row a, b;
    for (size_t i = 0; i < turns * (first + second); ++i)
      (i % (first + second) < first ? a : b).push_back(row[i]);
    return {a, b};
  }

  // silu(causal convolution) of columns [first, first + channels).
  Rows Convolve(const Rows& in, size_t first, size_t channels, size_t taps, TensorRef weight,
                TensorRef bias, bool silu = true) const {
    Rows out(in.size(), Row(channels));
    for (size_t t = 0; t < in.size(); ++t) {
      for (size_t c = 0; c < channels; ++c) {
        double sum = bias == kNoTensor ? 0 : At(bias, c);
        for (size_t j = 0; j < taps; ++j) {
          if (t + j + 1 >= taps) sum += At(weight, c * taps + j) * in[t + j + 1 - taps][first + c];
        }
        out[t][c] = silu ? Act(Activation::kSilu, sum) : sum;
      }
    }
    return out;
  }

  Rows Mix(const Mamba1& m, const Rows& in) const {
    Rows xz, out;
    for (const Row& row : in) xz.push_back(Multiply(m.in, row));
    const Rows x = Convolve(xz, 0, m.inner, m.conv, m.conv_weight, m.conv_bias);
    Row h(static_cast<size_t>(m.inner) * m.state);
    for (size_t t = 0; t < in.size(); ++t) {
      const Row all = Multiply(m.x, x[t]);
      const Row rank = Normed(m.dt_norm, Row(all.begin(), all.begin() + m.rank));
      const Row b = Normed(m.b_norm, Row(all.begin() + m.rank, all.begin() + m.rank + m.state));
      const Row c = Normed(m.c_norm, Row(all.begin() + m.rank + m.state, all.end()));
      const Row dt = Multiply(m.dt, rank);
      Row y(m.inner);
      for (size_t i = 0; i < m.inner; ++i) {
        const double step = std::log1p(std::exp(dt[i]));
        for (size_t j = 0; j < m.state; ++j) {
          double& s = h[i * m.state + j];
          s = std::exp(step * At(m.a, i * m.state + j)) * s + step * b[j] * x[t][i];
          y[i] += c[j] * s;
        }
        y[i] = (y[i] + At(m.d, i) * x[t][i]) * Act(Activation::kSilu, xz[t][m.inner + i]);
      }
      out.push_back(Multiply(m.out, y));
    }
    return out;
  }

  Rows Mix(const Mamba2& m, const Rows& in) const {
    const size_t channels = m.inner + 2 * m.groups * m.state, size = m.inner / m.heads;
    Rows all, out;
    for (const Row& row : in) all.push_back(Multiply(m.in, row));
    const Rows xbc = Convolve(all, m.inner, channels, m.conv, m.conv_weight, m.conv_bias);
    Row h(static_cast<size_t>(m.inner) * m.state);
    for (size_t t = 0; t < in.size(); ++t) {
      Row y(m.inner);
      for (size_t head = 0; head < m.heads; ++head) {
        const double raw = all[t][m.inner + channels + head] + At(m.dt_bias, head);
        const double step = std::min(std::max(std::log1p(std::exp(raw)), m.dt_min), m.dt_max);
        const size_t group = head / (m.heads / m.groups);
        for (size_t p = 0; p < size; ++p) {
          const size_t i = head * size + p;
          for (size_t j = 0; j < m.state; ++j) {
            double& s = h[i * m.state + j];
            s = std::exp(step * At(m.a, head)) * s +
                step * xbc[t][m.inner + group * m.state + j] * xbc[t][i];
            y[i] += xbc[t][m.inner + (m.groups + group) * m.state + j] * s;
          }
          y[i] += At(m.d, head) * xbc[t][i];
        }
      }
      if (m.norm_before_gate) y = Normed(m.norm, y);
      for (size_t i = 0; i < m.inner; ++i) y[i] *= Act(Activation::kSilu, all[t][i]);
      out.push_back(Multiply(m.out, m.norm_before_gate ? y : Normed(m.norm, y)));
    }
    return out;
  }

  static Row UnitLength(const Row& row, size_t first, size_t count) {
    double square = 1e-6;
    for (size_t i = 0; i < count; ++i) square += row[first + i] * row[first + i];
    Row unit;
    for (size_t i = 0; i < count; ++i) unit.push_back(row[first + i] / std::sqrt(square));
    return unit;
  }

  // q, k and v, each of all heads, and z; from rows by key head.
  static std::pair<Row, Row> Unfold(const DeltaNet& d, const Row& folded) {
    const size_t key = d.key_size, value = d.value_heads / d.key_heads * d.value_size;
    const size_t step = 2 * (key + value);
    const std::pair<size_t, size_t> kParts[] = {{0, key}, {key, key}, {2 * key, value}};
    Row qkv, z;
    for (const auto& [first, count] : kParts) {
      for (size_t h = 0; h < d.key_heads; ++h)
        for (size_t i = 0; i < count; ++i) qkv.push_back(folded[h * step + first + i]);
    }
    for (size_t h = 0; h < d.key_heads; ++h)
      for (size_t i = 0; i < value; ++i) z.push_back(folded[h * step + 2 * key + value + i]);
    return {qkv, z};
  }

  Rows Mix(const DeltaNet& d, const Rows& in) const {
    const size_t keys = static_cast<size_t>(d.key_heads) * d.key_size;
    const size_t values = static_cast<size_t>(d.value_heads) * d.value_size;
    const size_t shared = d.value_heads / d.key_heads;
    Rows all, gates, out;
    for (const Row& row : in) {
      all.push_back(Multiply(d.qkv, row));
      if (d.gate.present()) {
        gates.push_back(Multiply(d.gate, row));
      } else {
        std::tie(all.back(), gates.emplace_back()) = Unfold(d, all.back());
      }
    }
    const Rows qkv = Convolve(all, 0, 2 * keys + values, d.conv, d.conv_weight, kNoTensor);
    // Per value head: what is remembered of each key for each value.
    std::vector<Rows> states(d.value_heads, Rows(d.key_size, Row(d.value_size)));
    for (size_t t = 0; t < in.size(); ++t) {
      Row beta = Multiply(d.beta, in[t]), alpha;
      if (d.alpha.present()) {
        alpha = Multiply(d.alpha, in[t]);
      } else {
        std::tie(beta, alpha) = Split(Row(beta), d.key_heads, shared, shared);
      }
      Row y(values);
      for (size_t head = 0; head < d.value_heads; ++head) {
        const size_t from = d.alternating ? head % d.key_heads : head / shared;
        const Row q = UnitLength(qkv[t], from * d.key_size, d.key_size);
        const Row k = UnitLength(qkv[t], keys + from * d.key_size, d.key_size);
        const double decay =
            std::exp(At(d.a, head) * std::log1p(std::exp(alpha[head] + At(d.dt_bias, head))));
        Rows& state = states[head];
        for (size_t v = 0; v < d.value_size; ++v) {
          const size_t i = head * d.value_size + v;
          double known = 0;
          for (size_t j = 0; j < d.key_size; ++j) known += (state[j][v] *= decay) * k[j];
          const double change = Sigmoid(beta[head]) * (qkv[t][2 * keys + i] - known);
          for (size_t j = 0; j < d.key_size; ++j) {
            state[j][v] += k[j] * change;
            y[i] += state[j][v] * q[j] / std::sqrt(static_cast<double>(d.key_size));
          }
        }
      }
      y = Normed(d.norm, y);
      for (size_t i = 0; i < values; ++i) y[i] *= Act(Activation::kSilu, gates[t][i]);
      out.push_back(Multiply(d.out, y));
    }
    return out;
  }

  const ModelSpec& spec_;
  const MemoryModel& model_;
  std::map<TensorRef, InputSquares>* const inputs_;
};

}  // namespace

void AddReferenceInputs(const ModelSpec& spec, const MemoryModel& model,
                        const std::vector<int32_t>& ids,
                        std::map<TensorRef, InputSquares>& inputs) {
  Forward(spec, model, &inputs).Run(ids);
}

std::vector<std::vector<double>> ReferenceLogits(const ModelSpec& spec, const MemoryModel& model,
                                                 const std::vector<int32_t>& ids) {
  return Forward(spec, model).Run(ids);
}

}  // namespace smelt::testing
