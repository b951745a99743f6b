#include "tests/model/plain_state_space.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace smelt::testing {
namespace {

using Vector = std::vector<double>;
using Rows = std::vector<Vector>;  // [position][feature]

double Silu(double x) { return x / (1 + std::exp(-x)); }
double Softplus(double x) { return x > 30 ? x : std::log1p(std::exp(x)); }

class Plain {
 public:
  Plain(const PlainConfig& config, const PlainTensors& tensors) : c_(config), tensors_(tensors) {}

  Rows Run(const std::vector<int32_t>& ids) {
    const bool jamba = c_.family == "jamba";
    const std::string body = jamba ? "model." : "backbone.";
    const std::string table = body + (jamba ? "embed_tokens.weight" : "embeddings.weight");
    Rows x;
    for (const int32_t id : ids) {
      const float* row = tensors_.at(table).values.data() + static_cast<size_t>(id) * c_.width;
      x.emplace_back(row, row + c_.width);
    }
    for (uint64_t i = 0; i < c_.layers; ++i) {
      const std::string layer = body + "layers." + std::to_string(i) + ".";
      const Rows normed = Norm(x, layer + (jamba ? "input_layernorm" : "norm"));
      if (c_.family == "mamba2") {
        Add(x, Mixer2(normed, layer + "mixer."));
      } else if (!jamba) {
        Add(x, Mixer1(normed, layer + "mixer.", false));
      } else {
        Add(x, i % c_.attention_period == c_.attention_offset
                   ? Attention(normed, layer + "self_attn.")
                   : Mixer1(normed, layer + "mamba.", true));
        const bool sparse = c_.experts > 1 && i % c_.expert_period == c_.expert_offset;
        const Rows second = Norm(x, layer + "pre_ff_layernorm");
        Add(x, sparse ? Experts(second, layer + "feed_forward.")
                      : Mlp(second, layer + "feed_forward."));
      }
    }
    x = Norm(x, body + (jamba ? "final_layernorm" : "norm_f"));
    return Product(x, c_.tied ? table : "lm_head.weight");
  }

 private:
  const float* Values(const std::string& name) const { return tensors_.at(name).values.data(); }

  static void Add(Rows& x, const Rows& more) {
    for (size_t t = 0; t < x.size(); ++t)
      for (size_t f = 0; f < x[t].size(); ++f) x[t][f] += more[t][f];
  }

  Vector NormOne(const Vector& x, const float* weight, size_t first, size_t count) const {
    double square = 0;
    for (size_t f = first; f < first + count; ++f) square += x[f] * x[f];
    const double scale = 1 / std::sqrt(square / static_cast<double>(count) + c_.epsilon);
    Vector out;
    for (size_t f = first; f < first + count; ++f) out.push_back(x[f] * scale * weight[f]);
    return out;
  }
  Rows Norm(const Rows& x, const std::string& name) const {
    Rows out;
    for (const Vector& row : x)
      out.push_back(NormOne(row, Values(name + ".weight"), 0, row.size()));
    return out;
  }

  Vector Product(const Vector& x, const std::string& weight, const std::string& bias = "") const {
    const PlainTensor& w = tensors_.at(weight);
    const auto b = tensors_.find(bias);
    Vector out(w.shape[0]);
    for (size_t r = 0; r < out.size(); ++r) {
      double sum = b == tensors_.end() ? 0 : b->second.values[r];
      for (size_t k = 0; k < x.size(); ++k) sum += w.values[r * x.size() + k] * x[k];
      out[r] = sum;
    }
    return out;
  }
  Rows Product(const Rows& x, const std::string& weight, const std::string& bias = "") const {
    Rows out;
    for (const Vector& row : x) out.push_back(Product(row, weight, bias));
    return out;
  }

  // y[t][c] = silu(bias + sum over j of w[c][j] x[t - (K - 1) + j][c]).
  Rows Convolve(const Rows& x, const std::string& name) const {
    const float* w = Values(name + ".weight");
    const auto bias = tensors_.find(name + ".bias");
    Rows out = x;
    for (size_t t = 0; t < x.size(); ++t) {
      for (size_t c = 0; c < x[t].size(); ++c) {
        double sum = bias == tensors_.end() ? 0 : bias->second.values[c];
        for (size_t j = 0; j < c_.conv; ++j) {
          if (t + j + 1 >= c_.conv) sum += w[c * c_.conv + j] * x[t + j + 1 - c_.conv][c];
        }
        out[t][c] = Silu(sum);
      }
    }
    return out;
  }

  static Vector Slice(const Vector& x, size_t first, size_t count) {
    return Vector(x.data() + first, x.data() + first + count);
  }

  Rows Mixer1(const Rows& in, const std::string& m, bool norms) const {
    const Rows both = Product(in, m + "in_proj.weight", m + "in_proj.bias");
    Rows x, out;
    for (const Vector& row : both) x.push_back(Slice(row, 0, c_.inner));
    x = Convolve(x, m + "conv1d");
    const float* a_log = Values(m + "A_log");
    const float* d = Values(m + "D");
    Rows h(c_.inner, Vector(c_.state, 0.0));
    for (size_t t = 0; t < in.size(); ++t) {
      const Vector dbc = Product(x[t], m + "x_proj.weight");
      Vector rank = Slice(dbc, 0, c_.rank), b = Slice(dbc, c_.rank, c_.state);
      Vector c = Slice(dbc, c_.rank + c_.state, c_.state);
      if (norms) {
        rank = NormOne(rank, Values(m + "dt_layernorm.weight"), 0, c_.rank);
        b = NormOne(b, Values(m + "b_layernorm.weight"), 0, c_.state);
        c = NormOne(c, Values(m + "c_layernorm.weight"), 0, c_.state);
      }
      const Vector raw = Product(rank, m + "dt_proj.weight", m + "dt_proj.bias");
      Vector y(c_.inner);
      for (size_t i = 0; i < c_.inner; ++i) {
        const double dt = Softplus(raw[i]);
        for (size_t n = 0; n < c_.state; ++n) {
          const double a = -std::exp(static_cast<double>(a_log[i * c_.state + n]));
          h[i][n] = std::exp(dt * a) * h[i][n] + dt * b[n] * x[t][i];
          y[i] += c[n] * h[i][n];
        }
        y[i] = (y[i] + d[i] * x[t][i]) * Silu(both[t][c_.inner + i]);
      }
      out.push_back(Product(y, m + "out_proj.weight", m + "out_proj.bias"));
    }
    return out;
  }

  Rows Mixer2(const Rows& in, const std::string& m) const {
    const size_t heads = c_.rank, size = c_.inner / heads, bc = c_.groups * c_.state;
    const Rows all = Product(in, m + "in_proj.weight", m + "in_proj.bias");
    Rows xbc, out;
    for (const Vector& row : all) xbc.push_back(Slice(row, c_.inner, c_.inner + 2 * bc));
    xbc = Convolve(xbc, m + "conv1d");
    Rows h(c_.inner, Vector(c_.state, 0.0));
    for (size_t t = 0; t < in.size(); ++t) {
      Vector y(c_.inner);
      for (size_t i = 0; i < c_.inner; ++i) {
        const size_t head = i / size, group = head / (heads / c_.groups);
        const double a = -std::exp(static_cast<double>(Values(m + "A_log")[head]));
        const double raw = all[t][2 * c_.inner + 2 * bc + head] + Values(m + "dt_bias")[head];
        const double dt = std::clamp(Softplus(raw), c_.dt_min, c_.dt_max);
        for (size_t n = 0; n < c_.state; ++n) {
          const double b = xbc[t][c_.inner + group * c_.state + n];
          const double c = xbc[t][c_.inner + bc + group * c_.state + n];
          h[i][n] = std::exp(dt * a) * h[i][n] + dt * b * xbc[t][i];
          y[i] += c * h[i][n];
        }
        y[i] = (y[i] + Values(m + "D")[head] * xbc[t][i]) * Silu(all[t][i]);
      }
      Vector normed;
      for (size_t g = 0; g < c_.groups; ++g) {
        const Vector part =
            NormOne(y, Values(m + "norm.weight"), g * c_.inner / c_.groups, c_.inner / c_.groups);
        normed.insert(normed.end(), part.begin(), part.end());
      }
      out.push_back(Product(normed, m + "out_proj.weight", m + "out_proj.bias"));
    }
    return out;
  }

  Rows Attention(const Rows& in, const std::string& m) const {
    const size_t size = c_.width / c_.heads;
    const Rows q = Product(in, m + "q_proj.weight"), k = Product(in, m + "k_proj.weight");
    const Rows v = Product(in, m + "v_proj.weight");
    Rows mixed;
    for (size_t t = 0; t < in.size(); ++t) {
      Vector row(c_.width);
      for (size_t head = 0; head < c_.heads; ++head) {
        const size_t from = head / (c_.heads / c_.kv_heads) * size;
        Vector score(t + 1);
        for (size_t s = 0; s <= t; ++s) {
          for (size_t i = 0; i < size; ++i) score[s] += q[t][head * size + i] * k[s][from + i];
          score[s] = std::exp(score[s] / std::sqrt(static_cast<double>(size)));
        }
        const double total = std::accumulate(score.begin(), score.end(), 0.0);
        for (size_t s = 0; s <= t; ++s)
          for (size_t i = 0; i < size; ++i)
            row[head * size + i] += score[s] / total * v[s][from + i];
      }
      mixed.push_back(row);
    }
    return Product(mixed, m + "o_proj.weight");
  }

  Rows Mlp(const Rows& in, const std::string& m) const {
    Rows gate = Product(in, m + "gate_proj.weight");
    const Rows up = Product(in, m + "up_proj.weight");
    for (size_t t = 0; t < in.size(); ++t)
      for (size_t i = 0; i < gate[t].size(); ++i) gate[t][i] = Silu(gate[t][i]) * up[t][i];
    return Product(gate, m + "down_proj.weight");
  }

  // The chosen experts' shares of a softmax over all; they are not brought to a sum of one.
  Rows Experts(const Rows& in, const std::string& m) const {
    const Rows logits = Product(in, m + "router.weight");
    Rows out;
    for (size_t t = 0; t < in.size(); ++t) {
      Vector share;
      for (const double v : logits[t]) share.push_back(std::exp(v));
      const double total = std::accumulate(share.begin(), share.end(), 0.0);
      std::vector<size_t> order(share.size());
      std::iota(order.begin(), order.end(), size_t{0});
      std::sort(order.begin(), order.end(),
                [&](size_t a, size_t b) { return share[a] > share[b]; });
      Vector sum(c_.width);
      for (size_t i = 0; i < c_.experts_used; ++i) {
        const Vector one =
            Mlp(Rows{in[t]}, m + "experts." + std::to_string(order[i]) + ".").front();
        for (size_t f = 0; f < c_.width; ++f) sum[f] += share[order[i]] / total * one[f];
      }
      out.push_back(sum);
    }
    return out;
  }

  const PlainConfig& c_;
  const PlainTensors& tensors_;
};

}  // namespace

std::vector<std::vector<double>> PlainLogits(const PlainConfig& config, const PlainTensors& tensors,
                                             const std::vector<int32_t>& ids) {
  return Plain(config, tensors).Run(ids);
}

}  // namespace smelt::testing
