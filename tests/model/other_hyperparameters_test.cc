// Every attention family with hyperparameters that no fixture has: small random models are written
// as their makers publish them, opened, written to GGUF and opened again; the logits of both are
// those of plain_model.h.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <tuple>

#include "infer/score.h"
#include "lib/base/cat.h"
#include "lib/model/open.h"
#include "tests/model/plain_model.h"
#include "tests/model/written_model.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::Published;
using testing::plain::Experts;
using testing::plain::Layer;
using testing::plain::Matrix;
using testing::plain::Mlp;
using testing::plain::Model;
using testing::plain::Norm;
using testing::plain::Rope;

constexpr double kTolerance = 2e-4;  // of logits of a few units; f32 against double gives 1e-5
constexpr size_t kLength = 40;       // more than any window below

/// Draws sizes and weights. The same every time.
class Maker {
 public:
  explicit Maker(uint64_t seed) : random_(seed) {}

  size_t Below(size_t n) { return random_() % n; }
  bool Coin() { return Below(2) == 1; }
  template <typename T>
  T Pick(std::initializer_list<T> choices) {
    return *(choices.begin() + Below(choices.size()));
  }

  std::vector<float> Values(size_t n, double deviation, double mean = 0) {
    std::normal_distribution<double> normal(mean, deviation);
    std::vector<float> values(n);
    for (float& v : values) v = static_cast<float>(normal(random_));
    return values;
  }
  Matrix Linear(size_t rows, size_t columns, bool bias = false) {
    Matrix m{rows, columns, Values(rows * columns, 1.2 / std::sqrt(columns)), {}};
    if (bias) m.bias = Values(rows, 0.4);
    return m;
  }
  Norm Rms(size_t n, double added = 0) {
    return {Norm::Kind::kRms, Values(n, 0.3, 1 - added), {}, eps, added};
  }
  Norm LayerNorm(size_t n) {
    return {Norm::Kind::kLayer, Values(n, 0.3, 1), Values(n, 0.3), eps, 0};
  }
  Mlp Gated(const std::string& activation, size_t ffn, bool bias = false) {
    return {activation, Linear(ffn, width, bias), Linear(ffn, width, bias),
            Linear(width, ffn, bias)};
  }
  Mlp Ungated(const std::string& activation, size_t ffn, bool bias) {
    return {activation, {}, Linear(ffn, width, bias), Linear(width, ffn, bias)};
  }

  /// Sizes of the model; `own_head`: the head size is not width / heads.
  void DrawSizes(bool own_head, bool grouped = true) {
    layers = 1 + Below(4);
    kv_heads = Pick<size_t>({1, 2, 3});
    heads = kv_heads * (grouped ? Pick<size_t>({1, 2, 3, 5}) : 1);
    head = Pick<size_t>({6, 8, 14, 20});
    width = own_head ? heads * 2 * (3 + Below(6)) : heads * head;
    ffn = 4 * (3 + Below(12));
    vocabulary = 37 + Below(60);
    eps = Pick<double>({1e-6, 1e-5, 1e-2});
    theta = Pick<double>({10000, 500, 1000000});
    tied = Coin();
  }

  Model Start(double added = 0) {
    Model model;
    model.embedding = Linear(vocabulary, width);
    if (!tied) model.output = Linear(vocabulary, width);
    model.final_norm = Rms(width, added);
    return model;
  }

  /// Attention alone, with the scale and rotation that most families have.
  Layer Attention(bool bias, bool output_bias) {
    Layer l;
    l.heads = heads;
    l.kv_heads = kv_heads;
    l.head = head;
    l.scale = 1 / std::sqrt(static_cast<double>(head));
    l.rope = {head, theta, 1, {}};
    l.q = Linear(heads * head, width, bias);
    l.k = Linear(kv_heads * head, width, bias);
    l.v = Linear(kv_heads * head, width, bias);
    l.output = Linear(width, heads * head, output_bias);
    return l;
  }

  /// Sizes as most families' config.json state them.
  std::string Config(const std::string& architecture, const std::string& more) const {
    return Cat(
        R"({"architectures":[")", architecture, R"("],"num_hidden_layers":)", layers,
        R"(,"hidden_size":)", width, R"(,"num_attention_heads":)", heads,
        architecture == "GPTNeoXForCausalLM" ? "" : Cat(R"(,"num_key_value_heads":)", kv_heads),
        R"(,"intermediate_size":)", ffn, R"(,"vocab_size":)", vocabulary,
        R"(,"tie_word_embeddings":)", tied ? "true" : "false", R"(,"max_position_embeddings":128)",
        more, "}");
  }
  std::string RmsEps() const { return Cat(R"(,"rms_norm_eps":)", eps); }
  std::string Theta() const { return Cat(R"(,"rope_theta":)", theta); }
  std::string HeadDim() const { return Cat(R"(,"head_dim":)", head); }

  size_t layers = 0, heads = 0, kv_heads = 0, head = 0, width = 0, ffn = 0, vocabulary = 0;
  double eps = 1e-6, theta = 10000;
  bool tied = false;

 private:
  std::mt19937_64 random_;
};

std::string Bool(bool value) { return value ? "true" : "false"; }

// Rotary scaling, from the papers.

std::vector<double> Llama3Divisors(size_t dims, double theta, double factor, double low,
                                   double high, double original) {
  std::vector<double> divisors;
  for (size_t j = 0; j < dims / 2; ++j) {
    const double turns = original / (2 * M_PI * std::pow(theta, 2.0 * j / dims));
    const double share = std::clamp((turns - low) / (high - low), 0.0, 1.0);
    divisors.push_back(1 / (share + (1 - share) / factor));
  }
  return divisors;
}

std::vector<double> YarnDivisors(size_t dims, double theta, double factor, double fast, double slow,
                                 double original, bool truncate) {
  const auto dimension = [&](double rotations) {
    return dims * std::log(original / (rotations * 2 * M_PI)) / (2 * std::log(theta));
  };
  double low = dimension(fast), high = dimension(slow);
  if (truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, dims - 1.0);
  std::vector<double> divisors;
  for (size_t j = 0; j < dims / 2; ++j) {
    const double share = std::clamp((j - low) / std::max(high - low, 0.001), 0.0, 1.0);
    divisors.push_back(1 / (share / factor + 1 - share));
  }
  return divisors;
}

double YarnMagnitude(double factor) { return 0.1 * std::log(factor) + 1; }

// Families. Each returns what a maker would publish of the model that it fills.

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

Experts DrawExperts(Maker& m, size_t count, size_t used, Experts::Weights weights, size_t ffn) {
  Experts experts;
  experts.router = m.Linear(count, m.width);
  experts.used = used;
  experts.weights = weights;
  for (size_t e = 0; e < count; ++e) experts.each.push_back(m.Gated("silu", ffn));
  return experts;
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

/// Dense layers among the sparse, weights of the chosen experts normalised or not.
Published QwenMoe(Maker& m, Model& model, bool third) {
  m.DrawSizes(third);
  m.layers = 4;
  const size_t count = m.Pick<size_t>({3, 5, 9}), used = 1 + m.Below(3),
               expert_ffn = 4 * (1 + m.Below(6)), shared_ffn = 4 * (2 + m.Below(6)),
               step = 1 + m.Below(2), dense = m.Below(4);
  const bool normalise = m.Coin(), bias = third ? m.Coin() : true;
  model = m.Start();
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(bias, third && bias);
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
  return out;
}
Published Qwen2Moe(Maker& m, Model& model) { return QwenMoe(m, model, false); }
Published Qwen3Moe(Maker& m, Model& model) { return QwenMoe(m, model, true); }

Model StartGemma(Maker& m) {
  m.DrawSizes(true);
  m.tied = true;
  Model model = m.Start(1);
  model.embedding_scale = std::sqrt(static_cast<double>(m.width));
  for (float& v : model.embedding.values) v /= static_cast<float>(model.embedding_scale);
  return model;
}

Published Gemma(Maker& m, Model& model) {
  model = StartGemma(m);
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(false, false);
    l.mixer_norm = m.Rms(m.width, 1);
    l.ffn_norm = m.Rms(m.width, 1);
    l.mlp = m.Gated("gelu_tanh", m.ffn);
    model.layers.push_back(l);
  }
  Published out(m.Config("GemmaForCausalLM", Cat(m.RmsEps(), m.Theta(), m.HeadDim())));
  out.AddDecoder(model);
  return out;
}

/// Whether the layers without a window are every nth, which a number can say.
bool HasPeriod(const Model& model) {
  const size_t n = model.layers.size();
  for (size_t period = 1; period <= n + 1; ++period) {
    bool fits = true;
    for (size_t i = 0; i < n; ++i)
      fits = fits && (model.layers[i].window == 0) == ((i + 1) % period == 0);
    if (fits) return true;
  }
  return false;
}

/// Gemma 2 and 3: windows by layer_types of no period, a query scale of its own.
Published LaterGemma(Maker& m, Model& model, bool third) {
  model = StartGemma(m);
  m.layers = 5;
  const double scalar = m.Pick<double>({7, 20, 64}), cap = m.Pick<double>({2, 5});
  const double local_theta = third ? 333 : m.theta;
  const size_t window = m.Pick<size_t>({1, 3, 11});
  std::string types;
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(false, false);
    const bool windowed = m.Coin();
    types += Cat(i == 0 ? "" : ",", windowed ? "\"sliding_attention\"" : "\"full_attention\"");
    if (windowed) l.window = window;
    if (windowed) l.rope.theta = local_theta;
    if (!windowed && third) l.rope.divisors.assign(m.head / 2, 8);  // global layers only
    l.scale = 1 / std::sqrt(scalar);
    if (!third) l.cap = cap;
    if (third) {
      l.q_norm = m.Rms(m.head, 1);
      l.k_norm = m.Rms(m.head, 1);
    }
    l.mixer_norm = m.Rms(m.width, 1);
    l.after_mixer = m.Rms(m.width, 1);
    l.ffn_norm = m.Rms(m.width, 1);
    l.after_ffn = m.Rms(m.width, 1);
    l.mlp = m.Gated("gelu_tanh", m.ffn);
    model.layers.push_back(l);
  }
  model.cap = third ? 0 : 4;
  const std::string more =
      third ? R"(,"rope_local_base_freq":333.0,"rope_scaling":{"rope_type":"linear","factor":8.0})"
            : Cat(R"(,"attn_logit_softcapping":)", cap, R"(.0,"final_logit_softcapping":4.0)");
  Published out(
      m.Config(third ? "Gemma3ForCausalLM" : "Gemma2ForCausalLM",
               Cat(m.RmsEps(), m.Theta(), m.HeadDim(), R"(,"query_pre_attn_scalar":)", scalar,
                   R"(,"sliding_window":)", window, R"(,"layer_types":[)", types, "]", more)));
  out.AddDecoder(model);
  if (scalar != static_cast<double>(m.head)) out.differences.push_back("scales queries by");
  if (!HasPeriod(model)) out.differences.push_back("do not read a list of windows");
  return out;
}
Published Gemma2(Maker& m, Model& model) { return LaterGemma(m, model, false); }
Published Gemma3(Maker& m, Model& model) { return LaterGemma(m, model, true); }

/// Longrope: short factors while the sequence fits the original context, long ones beyond.
Published Phi3(Maker& m, Model& model) {
  m.DrawSizes(false);
  m.head = 16;
  m.width = m.heads * m.head;
  const size_t dims = 12, original = m.Pick<size_t>({kLength - 1, kLength, 64});
  Rope rope{dims, m.theta, std::sqrt(1 + std::log(128.0 / original) / std::log(original)), {}};
  std::string lists[2];
  for (size_t list = 0; list < 2; ++list) {
    for (size_t j = 0; j < dims / 2; ++j) {
      const double factor = 1 + 0.25 * static_cast<double>(j + 5 * list);
      lists[list] += Cat(j == 0 ? "" : ",", factor);
      if (list == (kLength > original ? 1u : 0u)) rope.divisors.push_back(factor);
    }
  }
  model = m.Start();
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(false, false);
    l.rope = rope;
    l.window = 7;
    l.mixer_norm = m.Rms(m.width);
    l.ffn_norm = m.Rms(m.width);
    l.mlp = m.Gated("silu", m.ffn);
    model.layers.push_back(l);
  }
  Published out(
      m.Config("Phi3ForCausalLM",
               Cat(m.RmsEps(), m.Theta(), R"(,"partial_rotary_factor":0.75,"sliding_window":7)",
                   R"(,"original_max_position_embeddings":)", original,
                   R"(,"rope_scaling":{"type":"longrope","short_factor":[)", lists[0],
                   R"(],"long_factor":[)", lists[1], "]}")));
  out.AddPhi3(model);
  out.differences = {"switches the sliding window"};
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

struct Case {
  const char* family;
  Published (*make)(Maker&, Model&);
};

class OtherHyperparameters : public ::testing::TestWithParam<std::tuple<Case, int>> {};

/// One note states every expected difference, and there is nothing else to say.
void CheckNotes(const std::vector<std::string>& notes, const std::vector<std::string>& expected) {
  if (expected.empty()) {
    EXPECT_TRUE(notes.empty()) << notes[0];
    return;
  }
  ASSERT_EQ(notes.size(), 1u);
  size_t statements = 0;
  for (size_t at = 0; (at = notes[0].find(" it ", at)) != std::string::npos; ++at) ++statements;
  EXPECT_EQ(statements, expected.size()) << notes[0];
  for (const std::string& part : expected)
    EXPECT_NE(notes[0].find(part), std::string::npos) << notes[0];
}

double LargestDifference(const ModelSource& source, const std::vector<int32_t>& ids,
                         const testing::plain::Rows& expected) {
  double worst = 0;
  uint64_t rows = 0;
  SMELT_EXPECT_OK(ComputeLogits(
      source, ids, Activations::kF32,
      [&](uint64_t position, std::span<const float> row) {
        EXPECT_EQ(row.size(), expected[position].size());
        for (size_t i = 0; i < row.size(); ++i)
          worst = std::max(worst, std::abs(row[i] - expected[position][i]));
        ++rows;
        return absl::OkStatus();
      },
      Observer()));
  EXPECT_EQ(rows, expected.size());
  return worst;
}

TEST_P(OtherHyperparameters, LogitsAreThoseOfThePlainForward) {
  const auto& [chosen, seed] = GetParam();
  Maker maker(1000 + seed);
  Model model;
  const Published published = chosen.make(maker, model);
  SCOPED_TRACE(published.config());
  std::vector<int32_t> ids;
  for (size_t i = 0; i < kLength; ++i)
    ids.push_back(static_cast<int32_t>(maker.Below(maker.vocabulary)));
  const testing::plain::Rows expected = Logits(model, ids);

  const testing::TempDir dir;
  published.Write(dir.path());
  OpenOptions options;
  options.vocabulary = false;
  const auto folder = OpenModel(dir.path(), options);
  SMELT_ASSERT_OK(folder);
  CheckNotes(folder->notes, published.differences);
  EXPECT_LE(LargestDifference(*folder->source, ids, expected), kTolerance);

  testing::WriteF32Gguf(*folder->source, dir / "f32.gguf");
  const auto gguf = OpenModel(dir / "f32.gguf", options);
  SMELT_ASSERT_OK(gguf);
  EXPECT_LE(LargestDifference(*gguf->source, ids, expected), kTolerance);
}

INSTANTIATE_TEST_SUITE_P(
    Attention, OtherHyperparameters,
    ::testing::Combine(::testing::Values(Case{"Llama", Llama}, Case{"Mistral", Mistral},
                                         Case{"Mixtral", Mixtral}, Case{"Qwen2", Qwen2},
                                         Case{"Qwen2Moe", Qwen2Moe}, Case{"Qwen3", Qwen3},
                                         Case{"Qwen3Moe", Qwen3Moe}, Case{"Gemma", Gemma},
                                         Case{"Gemma2", Gemma2}, Case{"Gemma3", Gemma3},
                                         Case{"Phi3", Phi3}, Case{"Gpt2", Gpt2},
                                         Case{"GptNeox", GptNeox}, Case{"Starcoder2", Starcoder2},
                                         Case{"Olmo2", Olmo2}, Case{"GptOss", GptOss}),
                       ::testing::Range(0, 5)),
    [](const auto& info) {
      return Cat(std::get<0>(info.param).family, "_", std::get<1>(info.param));
    });

}  // namespace
}  // namespace smelt
