// Attention of the plain pass.
#include <cmath>
#include <vector>

#include "lib/base/float16.h"
#include "tests/infer/reference_forward.h"

namespace smelt::testing {

void Forward::Rotate(const Rope& rope, size_t position, bool is_long, double* head) const {
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

void Forward::RotateAll(const Attention& a, size_t heads, Rows& rows) const {
  if (a.rope.style == RopeStyle::kNone) return;
  for (size_t t = 0; t < rows.size(); ++t) {
    for (size_t h = 0; h < heads; ++h)
      Rotate(a.rope, t, rows.size() > a.rope.long_from, rows[t].data() + h * a.key_size);
  }
}

void Forward::Keep(Rows& rows) const {
  if (cache_ == CacheType::kF32) return;
  for (Row& row : rows) {
    for (double& x : row) x = F16ToF32(F32ToF16(static_cast<float>(x * (1 + nudge_))));
  }
}

Forward::KeysValues Forward::Keys(const Attention& a, const Rows& in) const {
  KeysValues made;
  for (const Row& row : in) {
    const Row k = Multiply(a.k, row);
    const bool one = a.k.weight == a.v.weight && a.k.first_row == a.v.first_row;
    made.k.push_back(Normed(a.k_norm, k));
    made.v.push_back(Normed(a.v_norm, one ? k : Multiply(a.v, row)));  // one product for both
  }
  RotateAll(a, a.kv_heads, made.k);
  Keep(made.k);
  Keep(made.v);
  return made;
}

Rows Forward::Mix(const Attention& a, const Rows& in, const KeysValues& keys) const {
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

Rows Forward::Mix(const LatentAttention& a, const Rows& in) const {
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
  Keep(c);
  Keep(rotated);
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

}  // namespace smelt::testing
