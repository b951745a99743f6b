// Families of one member each.
#include "tests/model/drawn_models.h"

namespace smelt::testing {

namespace {

/// Longrope: short factors while the sequence fits the original context, long ones beyond.
struct LongRope {
  LongRope(Maker& m, size_t dims)
      : original(m.Pick<size_t>({kLength - 1, kLength, 64})), is_long(kLength > original) {
    rope.dims = dims;
    rope.theta = m.theta;
    for (size_t list = 0; list < 2; ++list) {
      std::string& text = list == 0 ? short_factors : long_factors;
      for (size_t j = 0; j < dims / 2; ++j) {
        const double factor = 1 + 0.25 * static_cast<double>(j + 5 * list);
        text += Cat(j == 0 ? "" : ",", factor);
        if (list == (is_long ? 1u : 0u)) rope.divisors.push_back(factor);
      }
    }
  }
  /// The dictionary of config.json, without braces.
  std::string Config() const {
    return Cat(R"("type":"longrope","short_factor":[)", short_factors, R"(],"long_factor":[)",
               long_factors, "]");
  }

  Rope rope;
  size_t original;
  bool is_long;
  std::string short_factors, long_factors;
};

}  // namespace

Published Phi3(Maker& m, Model& model) {
  m.DrawSizes(false);
  m.head = 16;
  m.width = m.heads * m.head;
  LongRope scaled(m, 12);
  const auto original = static_cast<double>(scaled.original);
  scaled.rope.magnitude = std::sqrt(1 + std::log(128.0 / original) / std::log(original));
  model = m.Start();
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(false, false);
    l.rope = scaled.rope;
    l.window = 7;
    l.mixer_norm = m.Rms(m.width);
    l.ffn_norm = m.Rms(m.width);
    l.mlp = m.Gated("silu", m.ffn);
    model.layers.push_back(l);
  }
  Published out(
      m.Config("Phi3ForCausalLM",
               Cat(m.RmsEps(), m.Theta(), R"(,"partial_rotary_factor":0.75,"sliding_window":7)",
                   R"(,"original_max_position_embeddings":)", scaled.original,
                   R"(,"rope_scaling":{)", scaled.Config(), "}")));
  out.AddPhi3(model);
  out.differences = {"chooses long or short rotation factors", "switches the sliding window"};
  return out;
}

/// Phi-3.5-MoE: SparseMixer, layer norms, magnitudes of longrope's own.
Published PhiMoe(Maker& m, Model& model) {
  m.DrawSizes(false);
  const bool bias = m.Coin();
  const size_t count = 2 + m.Below(5);
  const double jitter = m.Pick({0.01, 0.2}), long_magnitude = m.Pick({1.25, 1.5});
  LongRope scaled(m, m.head);
  scaled.rope.magnitude = scaled.is_long ? long_magnitude : 1.25;
  model = m.Start();
  model.final_norm = m.LayerNorm(m.width);
  if (bias && !m.tied) model.output.bias = m.Values(m.vocabulary, 0.4);
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(bias, bias);
    l.rope = scaled.rope;
    l.mixer_norm = m.LayerNorm(m.width);
    l.ffn_norm = m.LayerNorm(m.width);
    l.experts = DrawExperts(m, count, 2, Experts::Weights::kSparseMixer, m.ffn);
    l.experts.jitter = jitter;
    model.layers.push_back(l);
  }
  Published out(m.Config(
      "PhiMoEForCausalLM",
      Cat(m.RmsEps(), m.Theta(), R"(,"num_local_experts":)", count, R"(,"attention_bias":)",
          Bool(bias), R"(,"lm_head_bias":)", Bool(bias && !m.tied), R"(,"router_jitter_noise":)",
          jitter, R"(,"rope_scaling":{)", scaled.Config(), R"(,"short_mscale":1.25,"long_mscale":)",
          long_magnitude, R"(,"original_max_position_embeddings":)", scaled.original, "}")));
  out.AddDecoder(model, "block_sparse_moe.");
  out.differences = {"takes its layer norms for RMS norms", "weighs the chosen experts by one",
                     "chooses long or short rotation factors"};
  if (!bias || m.tied) out.differences.push_back("cannot load a model without biases");
  if (long_magnitude != 1.25) out.differences.push_back("takes short_mscale for long_mscale");
  return out;
}

Published Gpt2(Maker& m, Model& model) {
  m.DrawSizes(false, false);
  const bool by_layer = m.Coin();
  model = m.Start();
  model.positions = m.Linear(128, m.width);
  model.final_norm = m.LayerNorm(m.width);
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(true, true);
    l.rope.dims = 0;
    if (by_layer) l.scale /= static_cast<double>(i + 1);
    l.mixer_norm = m.LayerNorm(m.width);
    l.ffn_norm = m.LayerNorm(m.width);
    l.mlp = m.Ungated("relu", m.ffn, true);
    model.layers.push_back(l);
  }
  Published out(Cat(
      R"({"architectures":["GPT2LMHeadModel"],"n_layer":)", m.layers, R"(,"n_embd":)", m.width,
      R"(,"n_head":)", m.heads, R"(,"n_inner":)", m.ffn, R"(,"n_positions":128,"vocab_size":)",
      m.vocabulary, R"(,"layer_norm_epsilon":)", m.eps, R"(,"tie_word_embeddings":)", Bool(m.tied),
      R"(,"activation_function":"relu","scale_attn_by_inverse_layer_idx":)", Bool(by_layer), "}"));
  out.AddGpt2(model);
  out.differences = {"uses gelu_tanh in the feed-forward part"};
  if (by_layer) out.differences.push_back("does not divide attention logits");
  return out;
}

Published GptNeox(Maker& m, Model& model) {
  m.DrawSizes(false, false);
  m.head = 16;
  m.width = m.heads * m.head;
  const bool parallel = m.Coin(), bias = m.Coin();
  model = m.Start();
  model.final_norm = m.LayerNorm(m.width);
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(bias, bias);
    l.rope.dims = 8;
    l.parallel = parallel;
    l.mixer_norm = m.LayerNorm(m.width);
    l.ffn_norm = m.LayerNorm(m.width);
    l.mlp = m.Ungated("gelu", m.ffn, true);
    model.layers.push_back(l);
  }
  Published out(m.Config(
      "GPTNeoXForCausalLM",
      Cat(R"(,"layer_norm_eps":)", m.eps, R"(,"rotary_pct":0.5,"rotary_emb_base":)", m.theta,
          R"(,"use_parallel_residual":)", Bool(parallel), R"(,"attention_bias":)", Bool(bias))));
  out.AddGptNeox(model);
  if (!bias) out.differences = {"cannot load this architecture without"};
  return out;
}

Published Starcoder2(Maker& m, Model& model) {
  m.DrawSizes(false);
  const bool bias = m.Coin();
  model = m.Start();
  model.final_norm = m.LayerNorm(m.width);
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(bias, bias);
    l.window = 6;
    l.mixer_norm = m.LayerNorm(m.width);
    l.ffn_norm = m.LayerNorm(m.width);
    l.mlp = m.Ungated("gelu_tanh", m.ffn, bias);
    model.layers.push_back(l);
  }
  Published out(
      m.Config("Starcoder2ForCausalLM", Cat(R"(,"norm_epsilon":)", m.eps, m.Theta(),
                                            R"(,"sliding_window":6,"use_bias":)", Bool(bias))));
  out.AddStarcoder2(model);
  if (!bias) out.differences.push_back("cannot load this architecture without biases");
  out.differences.push_back("ignores the sliding window");
  return out;
}

Published Olmo2(Maker& m, Model& model) {
  m.DrawSizes(false);
  const bool bias = m.Coin();
  model = m.Start();
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(bias, bias);
    l.q_norm = m.Rms(m.heads * m.head);
    l.k_norm = m.Rms(m.kv_heads * m.head);
    l.after_mixer = m.Rms(m.width);
    l.after_ffn = m.Rms(m.width);
    l.mlp = m.Gated("silu", m.ffn);
    model.layers.push_back(l);
  }
  Published out(m.Config("Olmo2ForCausalLM",
                         Cat(m.RmsEps(), m.Theta(), R"(,"attention_bias":)", Bool(bias))));
  out.AddDecoder(model);
  if (bias) out.differences = {"cannot load attention biases"};
  return out;
}

Published GptOss(Maker& m, Model& model) {
  m.DrawSizes(true);
  const size_t count = m.Pick<size_t>({2, 5, 6}), used = 1 + m.Below(2),
               window = m.Pick<size_t>({2, 9});
  const bool truncate = m.Coin();
  model = m.Start();
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(true, true);
    l.rope = {m.head, m.theta, YarnMagnitude(8),
              YarnDivisors(m.head, m.theta, 8, 32, 1, 64, truncate)};
    if (i % 2 == 0) l.window = window;
    l.sinks = m.Values(m.heads, 1);
    l.mixer_norm = m.Rms(m.width);
    l.ffn_norm = m.Rms(m.width);
    l.experts = DrawExperts(m, count, used, Experts::Weights::kSoftmaxOfChosen, m.ffn);
    l.experts.router.bias = m.Values(count, 0.5);
    for (Mlp& mlp : l.experts.each) {
      mlp = m.Gated("clamped", m.ffn, true);
      for (float& v : mlp.up.values) v *= 6;  // so that the limits are met
      for (float& v : mlp.gate.values) v *= 6;
    }
    model.layers.push_back(l);
  }
  Published out(m.Config(
      "GptOssForCausalLM",
      Cat(m.RmsEps(), m.HeadDim(), R"(,"num_local_experts":)", count, R"(,"num_experts_per_tok":)",
          used, R"(,"sliding_window":)", window,
          R"(,"rope_parameters":{"rope_type":"yarn","factor":8.0,"original_max_position_embeddings":64,)",
          R"("beta_fast":32.0,"beta_slow":1.0,"truncate":)", Bool(truncate), R"(,"rope_theta":)",
          m.theta, "}")));
  out.AddGptOss(model);
  if (!truncate) out.differences = {"rounds YaRN's correction range"};
  return out;
}

}  // namespace smelt::testing
