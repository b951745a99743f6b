// Models of every attention family with hyperparameters that no fixture has: sizes, switches and
// weights are drawn, and stated both plainly and as their makers would publish them.
#pragma once

#include <cmath>
#include <initializer_list>
#include <random>
#include <string>
#include <vector>

#include "lib/base/cat.h"
#include "tests/model/plain_model.h"
#include "tests/model/written_model.h"

namespace smelt::testing {

using plain::Experts;
using plain::Layer;
using plain::Matrix;
using plain::Mlp;
using plain::Model;
using plain::Norm;
using plain::Rope;

constexpr size_t kLength = 40;  ///< of a sequence of ids: more than any window that is drawn

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
    if (fixed_eps_ != 0) eps = fixed_eps_;
    theta = Pick<double>({10000, 500, 1000000});
    tied = Coin();
  }

  /// Every later model has it.
  void FixEps(double value) { fixed_eps_ = value; }

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

  /// `layer_types` of a model.
  static std::string LayerTypes(const std::vector<bool>& windowed) {
    std::string types;
    for (bool w : windowed)
      types += Cat(types.empty() ? "" : ",", w ? "\"sliding_attention\"" : "\"full_attention\"");
    return Cat(R"(,"layer_types":[)", types, "]");
  }

  size_t layers = 0, heads = 0, kv_heads = 0, head = 0, width = 0, ffn = 0, vocabulary = 0;
  double eps = 1e-6, theta = 10000;
  bool tied = false;

 private:
  std::mt19937_64 random_;
  double fixed_eps_ = 0;
};

inline std::string Bool(bool value) { return value ? "true" : "false"; }

/// `count` experts, each as wide as `ffn`, of which a router takes `used`.
Experts DrawExperts(Maker& m, size_t count, size_t used, Experts::Weights weights, size_t ffn);

// Rotary scaling, from the papers: divisors of the frequencies, and YaRN's magnitude.
std::vector<double> Llama3Divisors(size_t dims, double theta, double factor, double low,
                                   double high, double original);
std::vector<double> YarnDivisors(size_t dims, double theta, double factor, double fast, double slow,
                                 double original, bool truncate);
inline double YarnMagnitude(double factor) { return 0.1 * std::log(factor) + 1; }

// Families. Each returns what a maker would publish of the model that it fills.
Published Llama(Maker& m, Model& model);
Published Mistral(Maker& m, Model& model);
Published Ministral(Maker& m, Model& model);
Published Mixtral(Maker& m, Model& model);
Published Qwen2(Maker& m, Model& model);
Published Qwen2Moe(Maker& m, Model& model);
Published Qwen3(Maker& m, Model& model);
Published Qwen3Moe(Maker& m, Model& model);
Published Gemma(Maker& m, Model& model);
Published Gemma2(Maker& m, Model& model);
Published Gemma3(Maker& m, Model& model);
Published Gemma3Conditional(Maker& m, Model& model);
Published Phi3(Maker& m, Model& model);
Published Gpt2(Maker& m, Model& model);
Published GptNeox(Maker& m, Model& model);
Published Starcoder2(Maker& m, Model& model);
Published Olmo2(Maker& m, Model& model);
Published GptOss(Maker& m, Model& model);
Published Granite(Maker& m, Model& model);
Published Cohere(Maker& m, Model& model);
Published HunYuan(Maker& m, Model& model);
Published Olmo(Maker& m, Model& model);
Published Olmoe(Maker& m, Model& model);
Published Dots1(Maker& m, Model& model);
Published Apertus(Maker& m, Model& model);
Published PhiMoe(Maker& m, Model& model);
Published InternLm2(Maker& m, Model& model);

}  // namespace smelt::testing
