// Families of 2023 to 2026, for what their mathematics add: scales, norms that both halves of a
// block share, norms of each head's own and after the rotation, groups of experts, xIELU, clamps.
#include "tests/model/drawn_models.h"

namespace smelt::testing {

Published Granite(Maker& m, Model& model) {
  m.DrawSizes(false);
  const double embedding = m.Pick({12.0, 3.5}), residual = m.Pick({0.22, 1.7}),
               attention = m.Pick({0.015625, 0.4}), logits = m.Pick({8.0, 0.5});
  model = m.Start();
  model.embedding_scale = embedding;
  model.logit_scale = 1 / logits;
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(false, false);
    l.scale = attention;
    l.residual_scale = residual;
    l.mixer_norm = m.Rms(m.width);
    l.ffn_norm = m.Rms(m.width);
    l.mlp = m.Gated("silu", m.ffn);
    model.layers.push_back(l);
  }
  Published out(m.Config("GraniteForCausalLM",
                         Cat(m.RmsEps(), m.Theta(), R"(,"embedding_multiplier":)", embedding,
                             R"(,"residual_multiplier":)", residual, R"(,"attention_multiplier":)",
                             attention, R"(,"logits_scaling":)", logits)));
  out.AddDecoder(model);
  return out;
}

Published Cohere(Maker& m, Model& model) {
  m.DrawSizes(false);
  const bool norms = m.Coin();
  const auto unbiased = [&](size_t n) {
    Norm norm = m.LayerNorm(n);
    norm.bias.clear();
    return norm;
  };
  model = m.Start();
  model.final_norm = unbiased(m.width);
  model.logit_scale = 0.25;
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(false, false);
    l.rope.pairs = true;
    l.parallel = true;
    l.mixer_norm = unbiased(m.width);
    if (norms) {
      l.q_norm = unbiased(m.heads * m.head);
      l.k_norm = unbiased(m.kv_heads * m.head);
      l.q_norm.group = l.k_norm.group = m.head;
    }
    l.mlp = m.Gated("silu", m.ffn);
    model.layers.push_back(l);
  }
  Published out(m.Config("CohereForCausalLM",
                         Cat(R"(,"layer_norm_eps":)", m.eps, m.Theta(), R"(,"logit_scale":0.25)",
                             R"(,"use_qk_norm":)", Bool(norms))));
  out.AddDecoder(model);
  for (size_t i = 0; norms && i < m.layers; ++i) {  // one row a head
    const Layer& l = model.layers[i];
    const std::string p = Cat("model.layers.", i, ".self_attn.");
    out.Add(p + "q_norm", Matrix{m.heads, m.head, l.q_norm.weight, {}});
    out.Add(p + "k_norm", Matrix{m.kv_heads, m.head, l.k_norm.weight, {}});
  }
  if (norms) out.differences = {"cannot load norms of q and k"};
  return out;
}

Published HunYuan(Maker& m, Model& model) {
  m.DrawSizes(true);
  const double alpha = m.Pick({1000.0, 20.0});
  model = m.Start();
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(false, false);
    const auto size = static_cast<double>(m.head);
    l.rope.theta *= std::pow(alpha, size / (size - 2));
    l.norm_after_rope = true;
    l.mixer_norm = m.Rms(m.width);
    l.ffn_norm = m.Rms(m.width);
    l.mlp = m.Gated("silu", m.ffn);
    l.q_norm = m.Rms(m.head);
    l.k_norm = m.Rms(m.head);
    model.layers.push_back(l);
  }
  Published out(
      m.Config("HunYuanDenseV1ForCausalLM",
               Cat(m.RmsEps(), m.Theta(), m.HeadDim(),
                   R"(,"rope_scaling":{"type":"dynamic","factor":1.0,"alpha":)", alpha, "}")));
  Model named = model;
  for (size_t i = 0; i < m.layers; ++i) {
    Layer& l = named.layers[i];
    const std::string p = Cat("model.layers.", i, ".self_attn.");
    out.Add(p + "query_layernorm", l.q_norm);
    out.Add(p + "key_layernorm", l.k_norm);
    l.q_norm = l.k_norm = {};
  }
  out.AddDecoder(named);
  return out;
}

Published Olmo(Maker& m, Model& model) {
  m.DrawSizes(false);
  const double clamp = m.Pick({0.0, 0.3, 1.0});
  const Norm norm{Norm::Kind::kLayer, {}, {}, 1e-5};
  model = m.Start();
  model.final_norm = norm;
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(false, false);
    l.clamp = clamp;
    l.mixer_norm = l.ffn_norm = norm;
    l.mlp = m.Gated("silu", m.ffn);
    model.layers.push_back(l);
  }
  Published out(m.Config("OlmoForCausalLM",
                         Cat(m.Theta(), R"(,"clip_qkv":)", clamp == 0 ? "null" : Cat(clamp))));
  out.AddDecoder(model);
  return out;
}

Published Olmoe(Maker& m, Model& model) {
  m.DrawSizes(false);
  const size_t count = m.Pick<size_t>({3, 5, 9}), used = 1 + m.Below(3);
  const bool normalise = m.Coin();
  const double clamp = m.Pick({0.0, 0.5, 1.0});
  model = m.Start();
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(false, false);
    l.clamp = clamp;
    l.mixer_norm = m.Rms(m.width);
    l.ffn_norm = m.Rms(m.width);
    l.q_norm = m.Rms(m.heads * m.head);
    l.k_norm = m.Rms(m.kv_heads * m.head);
    l.experts = DrawExperts(
        m, count, used,
        normalise ? Experts::Weights::kNormalisedSoftmax : Experts::Weights::kSoftmax, m.ffn);
    model.layers.push_back(l);
  }
  Published out(
      m.Config("OlmoeForCausalLM",
               Cat(m.RmsEps(), m.Theta(), R"(,"num_experts":)", count, R"(,"num_experts_per_tok":)",
                   used, R"(,"norm_topk_prob":)", Bool(normalise), R"(,"clip_qkv":)",
                   clamp == 0 ? "null" : Cat(clamp))));
  out.AddDecoder(model, "mlp.");
  if (normalise) out.differences.push_back("does not normalise the weights of the chosen");
  if (clamp != 0) out.differences.push_back("ignores the limit of queries, keys and values");
  return out;
}

Published Dots1(Maker& m, Model& model) {
  m.DrawSizes(false);
  const size_t groups = m.Pick<size_t>({1, 2, 4}), count = groups * m.Pick<size_t>({2, 3}),
               groups_used = 1 + m.Below(groups),
               used = 1 + m.Below(std::min<size_t>(4, count / groups * groups_used)),
               dense = m.Below(m.layers + 1), ffn = 4 * (2 + m.Below(8)), shared = 1 + m.Below(2);
  const bool normalise = m.Coin();
  model = m.Start();
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(false, false);
    l.mixer_norm = m.Rms(m.width);
    l.ffn_norm = m.Rms(m.width);
    l.q_norm = m.Rms(m.head);
    l.k_norm = m.Rms(m.head);
    if (i < dense) {
      l.mlp = m.Gated("silu", m.ffn);
    } else {
      l.experts = DrawExperts(m, count, used, Experts::Weights::kSigmoid, ffn);
      l.experts.shared = m.Gated("silu", shared * ffn);
      l.experts.bias = m.Values(count, 0.3);
      l.experts.groups = groups;
      l.experts.groups_used = groups_used;
      l.experts.normalise = normalise;
      l.experts.scale = 2.5;
    }
    model.layers.push_back(l);
  }
  Published out(m.Config(
      "Dots1ForCausalLM",
      Cat(m.RmsEps(), m.Theta(), R"(,"n_routed_experts":)", count, R"(,"num_experts_per_tok":)",
          used, R"(,"n_shared_experts":)", shared, R"(,"moe_intermediate_size":)", ffn,
          R"(,"first_k_dense_replace":)", dense, R"(,"n_group":)", groups, R"(,"topk_group":)",
          groups_used, R"(,"norm_topk_prob":)", Bool(normalise),
          R"(,"routed_scaling_factor":2.5,"sliding_window":null)")));
  out.shared_expert = "shared_experts";
  out.AddDecoder(model, "mlp.");
  for (size_t i = dense; i < m.layers; ++i) {
    out.AddVector(Cat("model.layers.", i, ".mlp.gate.e_score_correction_bias"),
                  model.layers[i].experts.bias);
  }
  return out;
}

Published Apertus(Maker& m, Model& model) {
  m.DrawSizes(false);
  model = m.Start();
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(false, false);
    l.mixer_norm = m.Rms(m.width);
    l.ffn_norm = m.Rms(m.width);
    l.q_norm = m.Rms(m.head);
    l.k_norm = m.Rms(m.head);
    l.mlp = m.Ungated("xielu", m.ffn, false);
    l.mlp.alpha_p = m.Pick({-0.5, 0.75, 2.0});
    l.mlp.alpha_n = m.Pick({-1.0, 0.25, 1.5});
    l.mlp.beta = m.Pick({0.5, 0.125});
    l.mlp.least = m.Pick({-0.0009765625, -0.25});
    model.layers.push_back(l);
  }
  Published out(
      m.Config("ApertusForCausalLM",
               Cat(m.RmsEps(), R"(,"rope_parameters":{"rope_type":"default","rope_theta":)",
                   m.theta, R"(},"hidden_act":"xielu")")));
  Model named = model;
  for (size_t i = 0; i < m.layers; ++i) {
    Layer& l = named.layers[i];
    const std::string p = Cat("model.layers.", i, ".");
    out.Add(p + "attention_layernorm", l.mixer_norm);
    out.Add(p + "feedforward_layernorm", l.ffn_norm);
    l.mixer_norm = l.ffn_norm = {};
    const std::pair<const char*, double> numbers[] = {{"alpha_p", l.mlp.alpha_p},
                                                      {"alpha_n", l.mlp.alpha_n},
                                                      {"beta", l.mlp.beta},
                                                      {"eps", l.mlp.least}};
    for (const auto& [name, value] : numbers)
      out.AddVector(Cat(p, "mlp.act_fn.", name), {static_cast<float>(value)});
  }
  out.AddDecoder(named);
  return out;
}

Published InternLm2(Maker& m, Model& model) {
  m.DrawSizes(false);
  const bool bias = m.Coin();
  model = m.Start();
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(bias, bias);
    l.mixer_norm = m.Rms(m.width);
    l.ffn_norm = m.Rms(m.width);
    l.mlp = m.Gated("silu", m.ffn);
    model.layers.push_back(l);
  }
  Published out(
      m.Config("InternLM2ForCausalLM", Cat(m.RmsEps(), m.Theta(), R"(,"bias":)", Bool(bias))));
  out.Add("model.tok_embeddings", model.embedding);
  out.Add("model.norm", model.final_norm);
  out.Add("output", model.output);
  for (size_t i = 0; i < m.layers; ++i) {
    const Layer& l = model.layers[i];
    const std::string p = Cat("model.layers.", i, ".");
    // Of each key head: its queries, the key, the value.
    Matrix qkv{0, m.width, {}, {}};
    const auto append = [&](const Matrix& part, size_t first, size_t count) {
      const auto rows = part.values.begin() + static_cast<std::ptrdiff_t>(first * m.width);
      qkv.values.insert(qkv.values.end(), rows,
                        rows + static_cast<std::ptrdiff_t>(count * m.width));
      for (size_t r = first; bias && r < first + count; ++r) qkv.bias.push_back(part.bias[r]);
      qkv.rows += count;
    };
    const size_t queries = m.heads / m.kv_heads * m.head;
    for (size_t h = 0; h < m.kv_heads; ++h) {
      append(l.q, h * queries, queries);
      append(l.k, h * m.head, m.head);
      append(l.v, h * m.head, m.head);
    }
    out.Add(p + "attention.wqkv", qkv);
    out.Add(p + "attention.wo", l.output);
    out.Add(p + "attention_norm", l.mixer_norm);
    out.Add(p + "ffn_norm", l.ffn_norm);
    out.Add(p + "feed_forward.w1", l.mlp.gate);
    out.Add(p + "feed_forward.w3", l.mlp.up);
    out.Add(p + "feed_forward.w2", l.mlp.down);
  }
  if (bias) out.differences = {"cannot load attention biases"};
  return out;
}

}  // namespace smelt::testing
