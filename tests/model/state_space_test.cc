// State-space models and hybrids of many shapes: small directories with random weights against the
// recurrences written plainly, from the directory and from the f32 GGUF, as a whole and split
// between prompt and generation at every place.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <random>

#include "infer/score.h"
#include "infer/session.h"
#include "lib/base/status.h"
#include "lib/model/open.h"
#include "smelt/convert.h"
#include "tests/model/plain_state_space.h"
#include "tests/testing/conversions.h"
#include "tests/testing/safetensors.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::PlainConfig;
using testing::PlainTensor;
using testing::PlainTensors;
using Logits = std::vector<std::vector<double>>;

constexpr double kTolerance = 1e-4;  // of the logits' deviation
constexpr size_t kLength = 70;       // past two chunks of the engine's scan

/// A case: the family and the seed of everything else.
struct Case {
  const char* family;
  int seed;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.family << " " << c.seed; }

class Draw {
 public:
  explicit Draw(const Case& c) : random_(static_cast<uint64_t>(c.seed) * 3 + c.family[5]) {}
  uint64_t Of(std::initializer_list<uint64_t> values) {
    return values.begin()[random_() % values.size()];
  }
  uint64_t Below(uint64_t n) { return random_() % n; }
  bool Maybe() { return random_() % 2 == 0; }
  float Uniform(double center, double spread) {
    const double unit = static_cast<double>(random_() >> 11) / 9007199254740992.0;
    return static_cast<float>(center + spread * (2 * unit - 1));
  }

 private:
  std::mt19937_64 random_;
};

/// A model directory: config.json, one safetensors file, a tokenizer.
class Directory {
 public:
  explicit Directory(const Case& c) : draw_(c) {
    config_.family = c.family;
    config_.layers = 1 + draw_.Below(3);
    config_.vocabulary = config_.family == "jamba" ? 577 + draw_.Below(3) : 513 + draw_.Below(20);
    config_.tied = draw_.Maybe();
    config_.conv = draw_.Of({2, 3, 4});
    Set("vocab_size", config_.vocabulary);
    SetText("tie_word_embeddings", config_.tied ? "true" : "false");
    if (config_.family == "mamba") MakeMamba();
    if (config_.family == "mamba2") MakeMamba2();
    if (config_.family == "jamba") MakeJamba();
    Set("num_hidden_layers", config_.layers);
    Write();
  }

  std::string path() const { return folder_.path(); }
  const PlainConfig& config() const { return config_; }
  const PlainTensors& tensors() const { return tensors_; }
  const std::string& text() const { return text_; }

 private:
  void SetText(const std::string& key, const std::string& value) {
    text_ += Cat(text_.empty() ? "{" : ", ", "\"", key, "\": ", value);
  }
  void Set(const std::string& key, uint64_t value) { SetText(key, Cat(value)); }

  void Add(const std::string& name, std::vector<uint64_t> shape, double center, double spread) {
    PlainTensor& t = tensors_[name];
    t.shape = std::move(shape);
    size_t count = 1;
    for (const uint64_t n : t.shape) count *= n;
    for (size_t i = 0; i < count; ++i) t.values.push_back(draw_.Uniform(center, spread));
  }
  void Matrix(const std::string& name, uint64_t rows, uint64_t columns) {
    Add(name, {rows, columns}, 0, 1.6 / std::sqrt(static_cast<double>(columns)));
  }
  void Weight(const std::string& name, uint64_t n) { Add(name, {n}, 1, 0.4); }

  void Frame(const std::string& body, const std::string& table, const std::string& last) {
    Matrix(body + table, config_.vocabulary, config_.width);
    Weight(body + last, config_.width);
    if (!config_.tied) Matrix("lm_head.weight", config_.vocabulary, config_.width);
  }

  // What Mamba and Jamba have in common.
  void AddMixer1(const std::string& m, bool bias, bool conv_bias) {
    const PlainConfig& c = config_;
    Matrix(m + "in_proj.weight", 2 * c.inner, c.width);
    Add(m + "conv1d.weight", {c.inner, 1, c.conv}, 0, 0.9);
    Matrix(m + "x_proj.weight", c.rank + 2 * c.state, c.inner);
    Matrix(m + "dt_proj.weight", c.inner, c.rank);
    Add(m + "dt_proj.bias", {c.inner}, -1, 1);
    Add(m + "A_log", {c.inner, c.state}, 0.3, 1.2);
    Add(m + "D", {c.inner}, 1, 0.5);
    Matrix(m + "out_proj.weight", c.width, c.inner);
    AddBiases(m, bias, conv_bias, 2 * c.inner, c.inner);
  }
  void AddBiases(const std::string& m, bool bias, bool conv_bias, uint64_t in, uint64_t channels) {
    if (conv_bias) Add(m + "conv1d.bias", {channels}, 0, 0.4);
    if (!bias) return;
    Add(m + "in_proj.bias", {in}, 0, 0.3);
    Add(m + "out_proj.bias", {config_.width}, 0, 0.3);
  }

  void MakeMamba() {
    PlainConfig& c = config_;
    c.width = draw_.Of({12, 20, 33, 48});
    const uint64_t expand = draw_.Of({1, 2, 2, 3});
    c.inner = expand * c.width;
    c.state = draw_.Of({1, 8, 15, 16, 40, 128});
    c.rank = draw_.Of({1, 3, 5, 0});
    const bool bias = draw_.Maybe(), conv_bias = draw_.Maybe();
    SetText("architectures", "[\"MambaForCausalLM\"]");
    Set("hidden_size", c.width), Set("expand", expand), Set("state_size", c.state);
    Set("conv_kernel", c.conv);
    SetText("time_step_rank", c.rank == 0 ? "\"auto\"" : Cat(c.rank));
    SetText("use_bias", bias ? "true" : "false");
    SetText("use_conv_bias", conv_bias ? "true" : "false");
    if (c.rank == 0) c.rank = (c.width + 15) / 16;
    Frame("backbone.", "embeddings.weight", "norm_f.weight");
    for (uint64_t i = 0; i < c.layers; ++i) {
      const std::string layer = Cat("backbone.layers.", i, ".");
      Weight(layer + "norm.weight", c.width);
      AddMixer1(layer + "mixer.", bias, conv_bias);
    }
  }

  void MakeMamba2() {
    PlainConfig& c = config_;
    c.groups = draw_.Of({1, 2, 3, 4, 8});
    c.rank = c.groups * draw_.Of({1, 2, 3});
    const uint64_t expand = draw_.Of({1, 2, 4}), size = 4 * draw_.Of({1, 2, 3});
    c.inner = c.rank * size;
    c.width = c.inner / expand;
    c.state = draw_.Of({8, 16, 24, 33, 64, 128});
    const bool bias = draw_.Maybe(), conv_bias = draw_.Maybe();
    SetText("architectures", "[\"Mamba2ForCausalLM\"]");
    Set("hidden_size", c.width), Set("expand", expand), Set("state_size", c.state);
    Set("conv_kernel", c.conv), Set("num_heads", c.rank), Set("head_dim", size);
    Set("n_groups", c.groups), Set("chunk_size", draw_.Of({1, 16, 32, 100, 256}));
    SetText("use_bias", bias ? "true" : "false");
    SetText("use_conv_bias", conv_bias ? "true" : "false");
    const std::string infinity = draw_.Maybe() ? "Infinity" : R"({"__float__": "Infinity"})";
    switch (draw_.Below(4)) {
      case 0:
        break;  // the class's default: no limits
      case 1:
        SetText("time_step_limit", Cat("[0.0, ", infinity, "]"));
        break;
      case 2:
        SetText("time_step_limit", Cat("[0.25, ", infinity, "]")), c.dt_min = 0.25;
        break;
      default:
        SetText("time_step_limit", "[0.125, 0.75]"), c.dt_min = 0.125, c.dt_max = 0.75;
    }
    Frame("backbone.", "embeddings.weight", "norm_f.weight");
    const uint64_t channels = c.inner + 2 * c.groups * c.state;
    for (uint64_t i = 0; i < c.layers; ++i) {
      const std::string layer = Cat("backbone.layers.", i, "."), m = layer + "mixer.";
      Weight(layer + "norm.weight", c.width);
      Matrix(m + "in_proj.weight", c.inner + channels + c.rank, c.width);
      Add(m + "conv1d.weight", {channels, 1, c.conv}, 0, 0.9);
      Add(m + "dt_bias", {c.rank}, -0.5, 2);
      Add(m + "A_log", {c.rank}, 0, 2.5);
      Add(m + "D", {c.rank}, 1, 0.5);
      Weight(m + "norm.weight", c.inner);
      Matrix(m + "out_proj.weight", c.width, c.inner);
      AddBiases(m, bias, conv_bias, c.inner + channels + c.rank, channels);
    }
  }

  void MakeJamba() {
    PlainConfig& c = config_;
    c.layers = 3 + draw_.Below(3);
    c.kv_heads = draw_.Of({1, 2}), c.heads = c.kv_heads * draw_.Of({1, 2, 3});
    c.width = c.heads * draw_.Of({6, 8, 12});
    const uint64_t expand = draw_.Of({1, 2, 2, 3});
    c.inner = expand * c.width, c.state = draw_.Of({8, 16, 21});
    // The norm of a single dt is its sign, whose rounding no tolerance covers: two at least.
    c.rank = draw_.Of({2, 3, 5});
    c.ffn = draw_.Of({17, 32}), c.experts = draw_.Of({1, 2, 5});
    c.experts_used = 1 + draw_.Below(std::min<uint64_t>(2, c.experts));
    c.attention_period = 1 + draw_.Below(4), c.attention_offset = draw_.Below(c.attention_period);
    c.expert_period = 1 + draw_.Below(3), c.expert_offset = draw_.Below(c.expert_period);
    c.epsilon = 1e-6;
    const bool bias = draw_.Maybe(), conv_bias = draw_.Maybe();
    SetText("architectures", "[\"JambaForCausalLM\"]");
    Set("hidden_size", c.width), Set("mamba_expand", expand), Set("mamba_d_state", c.state);
    Set("mamba_d_conv", c.conv), Set("mamba_dt_rank", c.rank), Set("intermediate_size", c.ffn);
    Set("num_attention_heads", c.heads), Set("num_key_value_heads", c.kv_heads);
    Set("num_experts", c.experts), Set("num_experts_per_tok", c.experts_used);
    Set("attn_layer_period", c.attention_period), Set("attn_layer_offset", c.attention_offset);
    Set("expert_layer_period", c.expert_period), Set("expert_layer_offset", c.expert_offset);
    SetText("mamba_proj_bias", bias ? "true" : "false");
    SetText("mamba_conv_bias", conv_bias ? "true" : "false");
    Frame("model.", "embed_tokens.weight", "final_layernorm.weight");
    for (uint64_t i = 0; i < c.layers; ++i) {
      const std::string layer = Cat("model.layers.", i, ".");
      Weight(layer + "input_layernorm.weight", c.width);
      Weight(layer + "pre_ff_layernorm.weight", c.width);
      if (i % c.attention_period == c.attention_offset) {
        AddAttention(layer + "self_attn.");
      } else {
        AddMixer1(layer + "mamba.", bias, conv_bias);
        Weight(layer + "mamba.dt_layernorm.weight", c.rank);
        Weight(layer + "mamba.b_layernorm.weight", c.state);
        Weight(layer + "mamba.c_layernorm.weight", c.state);
      }
      AddFeedForward(layer + "feed_forward.",
                     c.experts > 1 && i % c.expert_period == c.expert_offset);
    }
  }

  void AddAttention(const std::string& m) {
    const uint64_t kv = config_.width / config_.heads * config_.kv_heads;
    Matrix(m + "q_proj.weight", config_.width, config_.width);
    Matrix(m + "k_proj.weight", kv, config_.width);
    Matrix(m + "v_proj.weight", kv, config_.width);
    Matrix(m + "o_proj.weight", config_.width, config_.width);
  }
  void AddFeedForward(const std::string& m, bool sparse) {
    if (sparse) Matrix(m + "router.weight", config_.experts, config_.width);
    for (uint64_t e = 0; e < (sparse ? config_.experts : 1); ++e) {
      const std::string one = sparse ? Cat(m, "experts.", e, ".") : m;
      Matrix(one + "gate_proj.weight", config_.ffn, config_.width);
      Matrix(one + "up_proj.weight", config_.ffn, config_.width);
      Matrix(one + "down_proj.weight", config_.width, config_.ffn);
    }
  }

  void Write() {
    testing::WriteFile(folder_ / "config.json", text_ + "}");
    std::vector<testing::StoredTensor> stored;
    for (const auto& [name, t] : tensors_)
      stored.push_back({name, "F32", t.shape, testing::BytesOf(t.values)});
    testing::WriteFile(folder_ / "model.safetensors", testing::SafetensorsFile(stored));
    for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
      std::filesystem::copy_file(testing::TestdataPath(Cat("models/", config_.family, "/", name)),
                                 folder_ / name);
    }
  }

  Draw draw_;
  PlainConfig config_;
  PlainTensors tensors_;
  std::string text_;
  testing::TempDir folder_;
};

Logits EngineLogits(const ModelSource& source, const std::vector<int32_t>& ids) {
  Logits logits;
  SMELT_EXPECT_OK(ComputeLogits(source, ids, Precision::kF32,
                                [&](uint64_t, std::span<const float> row) {
                                  logits.emplace_back(row.begin(), row.end());
                                  return absl::OkStatus();
                                },
                                {}));
  return logits;
}

double Deviation(const Logits& logits) {
  double square = 0, count = 0;
  for (const auto& row : logits)
    for (const double v : row) square += v * v, ++count;
  return std::sqrt(square / count);
}

template <typename Row>
double Worst(const Row& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return 1e9;
  double worst = 0;
  for (size_t i = 0; i < b.size(); ++i)
    worst = std::max(worst, std::isfinite(a[i]) ? std::fabs(a[i] - b[i]) : 1e9);
  return worst;
}

class StateSpace : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    std::mt19937_64 random(7);
    for (size_t i = 0; i < kLength; ++i)
      ids_.push_back(static_cast<int32_t>(random() % directory_.config().vocabulary));
    expected_ = testing::PlainLogits(directory_.config(), directory_.tensors(), ids_);
    allowed_ = kTolerance * Deviation(expected_);
  }

  Directory directory_{GetParam()};
  std::vector<int32_t> ids_;
  Logits expected_;
  double allowed_ = 0;
};

TEST_P(StateSpace, LogitsOfDirectoryAndGgufEqualThePlainRecurrence) {
  SCOPED_TRACE(directory_.text());
  const absl::StatusOr<OpenedModel> opened = OpenModel(directory_.path());
  SMELT_ASSERT_OK(opened);
  const Logits ours = EngineLogits(*opened->source, ids_);
  ASSERT_EQ(ours.size(), kLength);
  for (size_t t = 0; t < kLength; ++t) EXPECT_LT(Worst(ours[t], expected_[t]), allowed_) << t;

  const testing::TempDir out;
  ConvertOptions options = testing::UncheckedConversion(directory_.path(), out / "f32.gguf", "f32");
  SMELT_ASSERT_OK(Convert(options));
  const absl::StatusOr<OpenedModel> file = OpenModel(options.output);
  SMELT_ASSERT_OK(file);
  EXPECT_EQ(EngineLogits(*file->source, ids_), ours);
}

TEST_P(StateSpace, APromptCanEndAnywhere) {
  SCOPED_TRACE(directory_.text());
  const absl::StatusOr<OpenedModel> opened = OpenModel(directory_.path());
  SMELT_ASSERT_OK(opened);
  auto session = Session::Create(*opened->source, Precision::kF32);
  SMELT_ASSERT_OK(session);
  const std::unique_ptr<SessionState> empty = (*session)->Save();
  std::vector<float> logits;
  // Token by token: the recurrence alone.
  for (size_t t = 0; t < kLength; ++t) {
    SMELT_ASSERT_OK((*session)->Feed(std::span(ids_).subspan(t, 1), logits));
    EXPECT_LT(Worst(logits, expected_[t]), allowed_) << "position " << t;
  }
  // Prompts of every length in chunks, some of them in two parts, then the recurrence.
  for (size_t split = 1; split < kLength && !HasFailure(); ++split) {
    SMELT_ASSERT_OK((*session)->Restore(*empty));
    const size_t first = split % 3 == 0 ? split / 2 : 0;
    if (first > 0) {
      SMELT_ASSERT_OK((*session)->Feed(std::span(ids_).first(first), logits));
    }
    const auto rest = std::span(ids_).subspan(first, split - first);
    SMELT_ASSERT_OK((*session)->Feed(rest, logits));
    EXPECT_LT(Worst(logits, expected_[split - 1]), allowed_) << "prompt of " << split;
    SMELT_ASSERT_OK((*session)->Feed(std::span(ids_).subspan(split, 1), logits));
    EXPECT_LT(Worst(logits, expected_[split]), allowed_) << "after a prompt of " << split;
  }
}

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const char* family : {"mamba", "mamba2", "jamba"})
    for (int seed = 0; seed < 8; ++seed) cases.push_back({family, seed});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Random, StateSpace, ::testing::ValuesIn(Cases()), [](const auto& info) {
  return Cat(info.param.family, "_", info.param.seed);
});

}  // namespace
}  // namespace smelt
