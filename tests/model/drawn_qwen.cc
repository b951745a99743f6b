// Qwen 2 and 3, dense and of experts.
#include <algorithm>

#include "tests/model/drawn_models.h"

namespace smelt::testing {
namespace {

/// Dense layers among the sparse, weights of the chosen experts normalised or not.
Published QwenMoe(Maker& m, Model& model, bool third) {
  m.DrawSizes(third);
  m.layers = 4;
  const size_t count = m.Pick<size_t>({3, 5, 9}), used = 1 + m.Below(3),
               expert_ffn = 4 * (1 + m.Below(6)), shared_ffn = 4 * (2 + m.Below(6)),
               step = 1 + m.Below(2), dense = m.Below(4);
  const bool normalise = m.Coin(), bias = third ? m.Coin() : true;
  const size_t window = m.Coin() ? 6 : 0;
  std::vector<bool> listed;  // Qwen2-MoE's list says which layers have it, Qwen3-MoE's says nothing
  model = m.Start();
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(bias, third && bias);
    listed.push_back(m.Coin());
    if (third || listed[i]) l.window = window;
    l.mixer_norm = m.Rms(m.width);
    l.ffn_norm = m.Rms(m.width);
    if (third) {
      l.q_norm = m.Rms(m.head);
      l.k_norm = m.Rms(m.head);
    }
    if (i == dense || (i + 1) % step != 0) {
      l.mlp = m.Gated("silu", m.ffn);
    } else {
      l.experts =
          DrawExperts(m, count, used,
                      normalise ? Experts::Weights::kNormalisedSoftmax : Experts::Weights::kSoftmax,
                      expert_ffn);
      if (!third) {
        l.experts.shared = m.Gated("silu", shared_ffn);
        l.experts.shared_gate = m.Linear(1, m.width);
      }
    }
    model.layers.push_back(l);
  }
  std::string more =
      Cat(m.RmsEps(), m.Theta(), R"(,"num_experts":)", count, R"(,"num_experts_per_tok":)", used,
          R"(,"moe_intermediate_size":)", expert_ffn, R"(,"decoder_sparse_step":)", step,
          R"(,"mlp_only_layers":[)", dense, R"(],"norm_topk_prob":)", Bool(normalise));
  if (window != 0) {
    more += Cat(R"(,"use_sliding_window":true,"sliding_window":)", window, m.LayerTypes(listed));
  }
  more += third ? Cat(m.HeadDim(), R"(,"attention_bias":)", Bool(bias))
                : Cat(R"(,"shared_expert_intermediate_size":)", shared_ffn);
  Published out(m.Config(third ? "Qwen3MoeForCausalLM" : "Qwen2MoeForCausalLM", more));
  out.AddDecoder(model, "mlp.");
  if (third && bias) out.differences.push_back("cannot load attention biases");
  if (normalise != third) {
    out.differences.push_back(normalise ? "does not normalise the weights of the chosen"
                                        : "normalises the weights of the chosen");
  }
  out.differences.push_back("cannot load dense layers");
  const auto count_of = std::count(listed.begin(), listed.end(), true);
  if (window != 0 && (third || count_of > 0))
    out.differences.push_back("ignores the sliding window");
  if (window != 0 && third && count_of < 4) out.notes = {"layer_types has no effect"};
  return out;
}

}  // namespace

Published Qwen2(Maker& m, Model& model) {
  m.DrawSizes(false);
  const size_t first = m.Below(m.layers + 1), window = 5;
  model = m.Start();
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(true, false);
    if (i >= first) l.window = window;
    l.mixer_norm = m.Rms(m.width);
    l.ffn_norm = m.Rms(m.width);
    l.mlp = m.Gated("silu", m.ffn);
    model.layers.push_back(l);
  }
  Published out(m.Config("Qwen2ForCausalLM", Cat(m.RmsEps(), m.Theta(),
                                                 R"(,"use_sliding_window":true,"sliding_window":)",
                                                 window, R"(,"max_window_layers":)", first)));
  out.AddDecoder(model);
  if (first < m.layers) out.differences = {"ignores the sliding window"};
  return out;
}

Published Qwen3(Maker& m, Model& model) {
  m.DrawSizes(true);
  const bool bias = m.Coin();
  model = m.Start();
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(bias, bias);
    l.q_norm = m.Rms(m.head);
    l.k_norm = m.Rms(m.head);
    l.mixer_norm = m.Rms(m.width);
    l.ffn_norm = m.Rms(m.width);
    l.mlp = m.Gated("silu", m.ffn);
    model.layers.push_back(l);
  }
  Published out(m.Config("Qwen3ForCausalLM", Cat(m.RmsEps(), m.Theta(), m.HeadDim(),
                                                 R"(,"attention_bias":)", Bool(bias))));
  out.AddDecoder(model);
  if (bias) out.differences = {"cannot load attention biases"};
  return out;
}

Published Qwen2Moe(Maker& m, Model& model) { return QwenMoe(m, model, false); }
Published Qwen3Moe(Maker& m, Model& model) { return QwenMoe(m, model, true); }

}  // namespace smelt::testing
