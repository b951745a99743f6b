#version 460
// The experts of each token from its router's logits: an invocation a token, as infer/cpu/experts.cc
// chooses them.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "math.glsl"
layout(local_size_x = 64) in;

// smelt::Experts::Gating, by number.
const uint kSoftmax = 0, kSigmoidGating = 1, kSoftmaxOfTopK = 2, kSparseMixer = 3;

layout(push_constant, std430) uniform Push {
  Address score;      // [token][expert]: the router's products; worked on
  Address selection;  // [token][expert]: scratch
  Address chosen, weights;  // [token][used]
  Address selection_bias, expert_scale;
  uint tokens, count, used, gating;
  uint groups, groups_used;
  uint flags;  // 1: normalise; 2: a group counts by its two best
  float router_scale, nearness, sum_epsilon, scale;
} p;

#define kTaken uintBitsToFloat(0xff800000u)  // -infinity

float ExpertWeight(float w, uint expert) {
  w *= p.scale;
  return Present(p.expert_scale) ? w * Floats(p.expert_scale).v[expert] : w;
}

// exp(x - max) / sum over `count` values, in place.
void Softmax(Floats x, uint count) {
  float top = x.v[0], sum = 0;
  for (uint i = 1; i < count; ++i) top = max(top, x.v[i]);
  for (uint i = 0; i < count; ++i) {
    x.v[i] = exp(x.v[i] - top);
    sum += x.v[i];
  }
  for (uint i = 0; i < count; ++i) x.v[i] /= sum;
}

float GroupScore(Floats selection, uint group) {
  const uint size = p.count / p.groups;
  float best = kTaken, second = kTaken;
  for (uint i = group * size; i < (group + 1) * size; ++i) {
    const float s = selection.v[i];
    if (s > best) {
      second = best;
      best = s;
    } else if (s > second) {
      second = s;
    }
  }
  return (p.flags & 2u) != 0 && size > 1 ? best + second : best;
}

// The `used`th best groups stay in the selection; of equals the lower number.
void KeepGroups(Floats selection) {
  const uint size = p.count / p.groups;
  uint kept[8];  // bits
  for (uint i = 0; i < 8; ++i) kept[i] = 0;
  for (uint g = 0; g < p.groups; ++g) {
    const float mine = GroupScore(selection, g);
    uint better = 0;
    for (uint other = 0; other < p.groups; ++other) {
      const float s = GroupScore(selection, other);
      if (s > mine || (s == mine && other < g)) ++better;
    }
    if (better < p.groups_used) kept[g / 32] |= 1u << (g % 32);
  }
  for (uint i = 0; i < p.count; ++i)
    if ((kept[i / size / 32] >> (i / size % 32) & 1u) == 0) selection.v[i] = kTaken;
}

uint Best(Floats x) {
  uint best = 0;
  for (uint e = 1; e < p.count; ++e)
    if (x.v[e] > x.v[best]) best = e;
  return best;
}

void main() {
  const uint t = gl_GlobalInvocationID.x;
  if (t >= p.tokens) return;
  Floats score = FloatsAt(p.score, t * p.count), selection = FloatsAt(p.selection, t * p.count);
  Floats weights = FloatsAt(p.weights, t * p.used);
  Words chosen = Words(At(p.chosen, t * p.used, 4));
  bool number = true;
  for (uint e = 0; e < p.count; ++e) {
    score.v[e] *= p.router_scale;
    number = number && score.v[e] == score.v[e];
  }
  if (!number) {
    for (uint i = 0; i < p.used; ++i) {
      chosen.v[i] = i;
      weights.v[i] = uintBitsToFloat(0x7fc00000u);
    }
    return;
  }
  if (p.gating == kSoftmax) {
    Softmax(score, p.count);
  } else if (p.gating == kSigmoidGating) {
    for (uint e = 0; e < p.count; ++e) score.v[e] = Sigmoid(score.v[e]);
  }
  for (uint e = 0; e < p.count; ++e)
    selection.v[e] = score.v[e] + (Present(p.selection_bias) && p.gating != kSparseMixer
                                       ? Floats(p.selection_bias).v[e] : 0.0);
  if (p.groups > 1 && p.gating != kSparseMixer) KeepGroups(selection);
  float sum = 0;
  for (uint i = 0; i < p.used; ++i) {
    const uint best = Best(selection);
    chosen.v[i] = best;
    if (p.gating == kSparseMixer) {
      const float top = selection.v[best];
      float near = 0;
      for (uint e = 0; e < p.count; ++e) {
        const bool far = (top - selection.v[e]) / max(abs(score.v[e]), top) > p.nearness;
        if (!far && selection.v[e] != kTaken) near += exp(selection.v[e] - top);
      }
      weights.v[i] = 1.0 / near;
    } else {
      weights.v[i] = score.v[best];
      sum += score.v[best];
    }
    selection.v[best] = kTaken;
  }
  if (p.gating == kSoftmaxOfTopK) {
    Softmax(weights, p.used);
  } else if (p.gating != kSparseMixer && (p.flags & 1u) != 0) {
    for (uint i = 0; i < p.used; ++i) weights.v[i] /= sum + p.sum_epsilon;
  }
  for (uint i = 0; i < p.used; ++i) weights.v[i] = ExpertWeight(weights.v[i], chosen.v[i]);
}
