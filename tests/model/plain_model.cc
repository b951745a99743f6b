#include "tests/model/plain_model.h"

#include <algorithm>
#include <cmath>

namespace smelt::testing::plain {
namespace {

Row Multiply(const Matrix& m, const Row& x) {
  Row y(m.rows);
  for (size_t r = 0; r < m.rows; ++r) {
    for (size_t c = 0; c < m.columns; ++c) y[r] += m.values[r * m.columns + c] * x[c];
    if (!m.bias.empty()) y[r] += m.bias[r];
  }
  return y;
}

void AddTo(Row& x, const Row& y) {
  for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

/// As many groups as fit the weight: heads, or the whole row.
Row Normed(const Norm& norm, const Row& x) {
  if (norm.kind == Norm::Kind::kNone) return x;
  Row y = x;
  size_t n = norm.group != 0 ? norm.group : norm.weight.size();
  if (n == 0) n = x.size();
  for (size_t start = 0; start < x.size(); start += n) {
    double mean = 0, square = 0;
    if (norm.kind == Norm::Kind::kLayer)
      for (size_t i = 0; i < n; ++i) mean += x[start + i] / static_cast<double>(n);
    for (size_t i = 0; i < n; ++i) square += std::pow(x[start + i] - mean, 2);
    const double deviation = std::sqrt(square / static_cast<double>(n) + norm.epsilon);
    for (size_t i = 0; i < n; ++i) {
      const size_t at = norm.weight.empty() ? 0 : (start + i) % norm.weight.size();
      const double weight = norm.weight.empty() ? 1 : norm.weight[at] + norm.added;
      y[start + i] = (x[start + i] - mean) / deviation * weight;
      if (!norm.bias.empty()) y[start + i] += norm.bias[i];
    }
  }
  return y;
}

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

double Activate(const std::string& name, double x) {
  if (name == "silu") return x * Sigmoid(x);
  if (name == "gelu") return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
  if (name == "gelu_tanh")
    return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  if (name == "relu") return std::max(x, 0.0);
  return std::max(x, 0.0) * std::max(x, 0.0);  // relu2
}

double Softplus(double x) { return std::log(1 + std::exp(x)); }

double Xielu(const Mlp& mlp, double x) {
  if (x > 0) return Softplus(mlp.alpha_p) * x * x + mlp.beta * x;
  const double alpha = mlp.beta + Softplus(mlp.alpha_n);
  return (std::exp(std::min(x, mlp.least)) - 1 - x) * alpha + mlp.beta * x;
}

Row Feed(const Mlp& mlp, const Row& x) {
  Row h = Multiply(mlp.up, x);
  if (mlp.activation == "xielu") {
    for (double& v : h) v = Xielu(mlp, v);
    return Multiply(mlp.down, h);
  }
  const Row gate = Multiply(mlp.gate, x);
  for (size_t i = 0; i < h.size(); ++i) {
    if (mlp.activation == "clamped") {
      const double g = std::min(gate[i], 7.0);
      h[i] = (std::clamp(h[i], -7.0, 7.0) + 1) * g * Sigmoid(1.702 * g);
    } else {
      h[i] =
          gate.empty() ? Activate(mlp.activation, h[i]) : h[i] * Activate(mlp.activation, gate[i]);
    }
  }
  return Multiply(mlp.down, h);
}

Row Softmax(Row x) {
  double sum = 0;
  for (double& v : x) sum += v = std::exp(v);
  for (double& v : x) v /= sum;
  return x;
}

/// Weights of all experts, 0 of those that are not chosen.
Row SigmoidWeights(const Experts& experts, const Row& logits) {
  const size_t size = logits.size() / experts.groups;
  Row score, choice;
  for (size_t e = 0; e < logits.size(); ++e) {
    score.push_back(Sigmoid(logits[e]));
    choice.push_back(score[e] + experts.bias[e]);
  }
  std::vector<std::pair<double, size_t>> groups;
  for (size_t g = 0; g < experts.groups; ++g) {
    Row best(choice.begin() + g * size, choice.begin() + (g + 1) * size);
    std::sort(best.rbegin(), best.rend());
    groups.emplace_back(best[0] + (size > 1 ? best[1] : 0), g);
  }
  std::sort(groups.rbegin(), groups.rend());
  std::vector<std::pair<double, size_t>> order;
  for (size_t g = 0; g < experts.groups_used; ++g) {
    for (size_t i = 0; i < size; ++i) {
      const size_t e = groups[g].second * size + i;
      order.emplace_back(choice[e], e);
    }
  }
  std::sort(order.rbegin(), order.rend());
  Row weights(logits.size());
  double sum = 0;
  for (size_t i = 0; i < experts.used; ++i) sum += score[order[i].second];
  for (size_t i = 0; i < experts.used; ++i) {
    const size_t e = order[i].second;
    weights[e] = score[e] / (experts.normalise ? sum : 1) * experts.scale;
  }
  return weights;
}

Row RouteBySigmoid(const Experts& experts, const Row& x) {
  const Row weights = SigmoidWeights(experts, Multiply(experts.router, x));
  Row y = Feed(experts.shared, x);
  for (size_t e = 0; e < weights.size(); ++e) {
    const Row one = Feed(experts.each[e], x);
    for (size_t j = 0; j < y.size(); ++j) y[j] += weights[e] * one[j];
  }
  return y;
}

/// As the paper's code does it in inference: the best of all and the best of the rest, each weighed
/// by a softmax in which logits that are too far from it are masked.
Row MixTwo(const Experts& experts, const Row& x) {
  const Row logits = Multiply(experts.router, x);
  Row masked = logits, y(x.size());
  for (int round = 0; round < 2; ++round) {
    const size_t best = std::max_element(masked.begin(), masked.end()) - masked.begin();
    Row gates = masked;
    for (size_t e = 0; e < gates.size(); ++e) {
      const double factor = std::max(std::abs(logits[e]), masked[best]);
      if ((masked[best] - masked[e]) / factor > 2 * experts.jitter) gates[e] = -INFINITY;
    }
    const double weight = Softmax(gates)[best];
    const Row one = Feed(experts.each[best], x);
    for (size_t j = 0; j < y.size(); ++j) y[j] += weight * one[j];
    masked[best] = -INFINITY;
  }
  return y;
}

Row Route(const Experts& experts, const Row& x) {
  if (experts.weights == Experts::Weights::kSparseMixer) return MixTwo(experts, x);
  if (experts.weights == Experts::Weights::kSigmoid) return RouteBySigmoid(experts, x);

  const Row logits = Multiply(experts.router, x);
  std::vector<size_t> order(logits.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  order.resize(experts.used);
  const Row all = Softmax(logits);
  Row weights;
  double sum = 0;
  for (size_t e : order) {
    const bool chosen_only = experts.weights == Experts::Weights::kSoftmaxOfChosen;
    weights.push_back(chosen_only ? logits[e] : all[e]);
    sum += weights.back();
  }
  if (experts.weights == Experts::Weights::kSoftmaxOfChosen) weights = Softmax(weights);
  if (experts.weights == Experts::Weights::kNormalisedSoftmax)
    for (double& w : weights) w /= sum;
  Row y(x.size());
  for (size_t i = 0; i < order.size(); ++i) {
    const Row one = Feed(experts.each[order[i]], x);
    for (size_t j = 0; j < y.size(); ++j) y[j] += weights[i] * one[j];
  }
  if (experts.shared.up.rows == 0) return y;
  const double gate = Sigmoid(Multiply(experts.shared_gate, x)[0]);
  const Row shared = Feed(experts.shared, x);
  for (size_t j = 0; j < y.size(); ++j) y[j] += gate * shared[j];
  return y;
}

void Rotate(const Rope& rope, size_t position, double* head) {
  for (size_t j = 0; j < rope.dims / 2; ++j) {
    double frequency = std::pow(rope.theta, -2.0 * static_cast<double>(j) / rope.dims);
    if (!rope.divisors.empty()) frequency /= rope.divisors[j];
    const double angle = static_cast<double>(position) * frequency;
    const size_t first = rope.pairs ? 2 * j : j,
                 second = rope.pairs ? first + 1 : j + rope.dims / 2;
    const double a = head[first], b = head[second];
    head[first] = (a * std::cos(angle) - b * std::sin(angle)) * rope.magnitude;
    head[second] = (b * std::cos(angle) + a * std::sin(angle)) * rope.magnitude;
  }
}

Row Clamped(const Layer& l, Row x) {
  if (l.clamp != 0)
    for (double& v : x) v = std::clamp(v, -l.clamp, l.clamp);
  return x;
}

Row Scaled(double scale, Row x) {
  for (double& v : x) v *= scale;
  return x;
}

Rows Attend(const Layer& l, const Rows& x) {
  Rows q, k, v, out;
  for (size_t t = 0; t < x.size(); ++t) {
    q.push_back(Multiply(l.q, x[t]));
    k.push_back(Multiply(l.k, x[t]));
    v.push_back(Clamped(l, Multiply(l.v, x[t])));
    if (!l.norm_after_rope) {
      q[t] = Clamped(l, Normed(l.q_norm, q[t]));
      k[t] = Clamped(l, Normed(l.k_norm, k[t]));
    }
    for (size_t h = 0; h < l.heads; ++h) Rotate(l.rope, t, &q[t][h * l.head]);
    for (size_t h = 0; h < l.kv_heads; ++h) Rotate(l.rope, t, &k[t][h * l.head]);
    if (l.norm_after_rope) {
      q[t] = Normed(l.q_norm, q[t]);
      k[t] = Normed(l.k_norm, k[t]);
    }
  }
  for (size_t t = 0; t < x.size(); ++t) {
    Row all(l.heads * l.head);
    for (size_t h = 0; h < l.heads; ++h) {
      const size_t shared = h * l.kv_heads / l.heads;
      const size_t begin = l.window != 0 && t + 1 > l.window ? t + 1 - l.window : 0;
      Row logits;
      for (size_t s = begin; s <= t; ++s) {
        double dot = 0;
        for (size_t i = 0; i < l.head; ++i) dot += q[t][h * l.head + i] * k[s][shared * l.head + i];
        dot *= l.scale;
        logits.push_back(l.cap == 0 ? dot : l.cap * std::tanh(dot / l.cap));
      }
      if (!l.sinks.empty()) logits.push_back(l.sinks[h]);
      const Row weights = Softmax(logits);
      for (size_t s = begin; s <= t; ++s) {
        for (size_t i = 0; i < l.head; ++i)
          all[h * l.head + i] += weights[s - begin] * v[s][shared * l.head + i];
      }
    }
    out.push_back(Multiply(l.output, all));
  }
  return out;
}

void Apply(const Layer& l, Rows& x) {
  const Rows before = x;
  Rows in;
  for (const Row& row : x) in.push_back(Normed(l.mixer_norm, row));
  const Rows mixed = Attend(l, in);
  for (size_t t = 0; t < x.size(); ++t) {
    AddTo(x[t], Scaled(l.residual_scale, Normed(l.after_mixer, mixed[t])));
    const bool shared = l.parallel && l.ffn_norm.kind == Norm::Kind::kNone;
    const Row h = shared ? in[t] : Normed(l.ffn_norm, l.parallel ? before[t] : x[t]);
    const Row fed = l.experts.each.empty() ? Feed(l.mlp, h) : Route(l.experts, h);
    AddTo(x[t], Scaled(l.residual_scale, Normed(l.after_ffn, fed)));
  }
}

Row RowOf(const Matrix& m, size_t row) {
  return Row(m.values.begin() + row * m.columns, m.values.begin() + (row + 1) * m.columns);
}

}  // namespace

Rows Logits(const Model& model, const std::vector<int32_t>& ids) {
  Rows x;
  for (size_t t = 0; t < ids.size(); ++t) {
    x.push_back(RowOf(model.embedding, static_cast<size_t>(ids[t])));
    for (double& v : x.back()) v *= model.embedding_scale;
    if (model.positions.rows != 0) AddTo(x.back(), RowOf(model.positions, t));
  }
  for (const Layer& layer : model.layers) Apply(layer, x);
  for (Row& row : x) {
    row = Multiply(model.output.rows != 0 ? model.output : model.embedding,
                   Normed(model.final_norm, row));
    row = Scaled(model.logit_scale, row);
    if (model.cap == 0) continue;
    for (double& v : row) v = model.cap * std::tanh(v / model.cap);
  }
  return x;
}

}  // namespace smelt::testing::plain
