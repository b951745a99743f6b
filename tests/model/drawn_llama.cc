// Llama, Mistral, Mixtral.
#include <algorithm>

#include "tests/model/drawn_models.h"

namespace smelt::testing {

Published Llama(Maker& m, Model& model) {
  m.DrawSizes(m.Coin());
  const bool attention_bias = m.Coin(), mlp_bias = m.Coin();
  Rope rope{m.head, m.theta, 1, {}};
  std::string scaling;
  switch (m.Below(4)) {
    case 0:
      rope.divisors.assign(m.head / 2, 2.5);
      scaling = R"(,"rope_scaling":{"type":"linear","factor":2.5})";
      break;
    case 1:
      rope.divisors = Llama3Divisors(m.head, m.theta, 8, 1, 4, 24);
      scaling =
          R"(,"rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":24})";
      break;
    case 2:
      rope.divisors = YarnDivisors(m.head, m.theta, 4, 32, 1, 32, true);
      rope.magnitude = YarnMagnitude(4);
      scaling =
          R"(,"rope_scaling":{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":32})";
      break;
    default:
      break;
  }
  model = m.Start();
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(attention_bias, attention_bias);
    l.rope = rope;
    l.mixer_norm = m.Rms(m.width);
    l.ffn_norm = m.Rms(m.width);
    l.mlp = m.Gated("silu", m.ffn, mlp_bias);
    model.layers.push_back(l);
  }
  Published out(m.Config("LlamaForCausalLM",
                         Cat(m.RmsEps(), m.Theta(), m.HeadDim(), scaling, R"(,"attention_bias":)",
                             Bool(attention_bias), R"(,"mlp_bias":)", Bool(mlp_bias))));
  out.AddDecoder(model);
  return out;
}

Published Mistral(Maker& m, Model& model) {
  m.DrawSizes(m.Coin());
  const size_t window = m.Pick<size_t>({1, 4, 17});
  model = m.Start();
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(false, false);
    l.window = window;
    l.mixer_norm = m.Rms(m.width);
    l.ffn_norm = m.Rms(m.width);
    l.mlp = m.Gated("silu", m.ffn);
    model.layers.push_back(l);
  }
  Published out(m.Config("MistralForCausalLM",
                         Cat(m.RmsEps(), m.Theta(), m.HeadDim(), R"(,"sliding_window":)", window)));
  out.AddDecoder(model);
  out.differences = {"ignores the sliding window"};
  return out;
}

/// Windows by layer. transformers takes a Mistral with layer_types for one, too.
Published Ministral(Maker& m, Model& model) {
  m.DrawSizes(m.Coin());
  const size_t window = m.Pick<size_t>({1, 4, 17});
  const bool as_mistral = m.Coin();
  std::vector<bool> windowed;
  model = m.Start();
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(false, false);
    windowed.push_back(m.Coin());
    if (windowed.back()) l.window = window;
    l.mixer_norm = m.Rms(m.width);
    l.ffn_norm = m.Rms(m.width);
    l.mlp = m.Gated("silu", m.ffn);
    model.layers.push_back(l);
  }
  Published out(m.Config(as_mistral ? "MistralForCausalLM" : "MinistralForCausalLM",
                         Cat(m.RmsEps(), m.Theta(), m.HeadDim(), R"(,"sliding_window":)", window,
                             m.LayerTypes(windowed), R"(,"model_type":")",
                             as_mistral ? "mistral" : "ministral", "\"")));
  out.AddDecoder(model);
  if (std::find(windowed.begin(), windowed.end(), true) != windowed.end())
    out.differences = {"ignores the sliding window"};
  return out;
}

Published Mixtral(Maker& m, Model& model) {
  m.DrawSizes(m.Coin());
  const size_t count = m.Pick<size_t>({2, 3, 7}), used = 1 + m.Below(count);
  model = m.Start();
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(false, false);
    l.mixer_norm = m.Rms(m.width);
    l.ffn_norm = m.Rms(m.width);
    l.experts = DrawExperts(m, count, used, Experts::Weights::kNormalisedSoftmax, m.ffn);
    model.layers.push_back(l);
  }
  Published out(m.Config("MixtralForCausalLM",
                         Cat(m.RmsEps(), m.Theta(), m.HeadDim(), R"(,"num_local_experts":)", count,
                             R"(,"num_experts_per_tok":)", used, R"(,"sliding_window":null)")));
  out.AddDecoder(model, "block_sparse_moe.");
  return out;
}

}  // namespace smelt::testing
