// Mixers of the plain pass that keep a state: convolution, both scans, the delta rule.
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "tests/infer/reference_forward.h"

namespace smelt::testing {

Rows Forward::Mix(const ShortConvolution& m, const Rows& in) const {
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

std::pair<Row, Row> Forward::Split(const Row& row, size_t turns, size_t first, size_t second) {
  Row a, b;
  for (size_t i = 0; i < turns * (first + second); ++i)
    (i % (first + second) < first ? a : b).push_back(row[i]);
  return {a, b};
}

Rows Forward::Convolve(const Rows& in, size_t first, size_t channels, size_t taps, TensorRef weight,
                       TensorRef bias, bool silu) const {
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

Rows Forward::Mix(const Mamba1& m, const Rows& in) const {
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

Rows Forward::Mix(const Mamba2& m, const Rows& in) const {
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

Row Forward::UnitLength(const Row& row, size_t first, size_t count) {
  double square = 1e-6;
  for (size_t i = 0; i < count; ++i) square += row[first + i] * row[first + i];
  Row unit;
  for (size_t i = 0; i < count; ++i) unit.push_back(row[first + i] / std::sqrt(square));
  return unit;
}

std::pair<Row, Row> Forward::Unfold(const DeltaNet& d, const Row& folded) {
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

Rows Forward::Mix(const DeltaNet& d, const Rows& in) const {
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

}  // namespace smelt::testing
