#include "quant/presets.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <set>

#include "lib/base/status.h"
#include "tests/quant/fixtures.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

TensorType TypeNamed(const std::string& name) {
  const std::optional<TensorType> type = ParseTensorType(name);
  EXPECT_TRUE(type.has_value()) << name;
  return type.value_or(TensorType::kF32);
}

ShapeTensor MakeTensor(const std::string& name, const JsonValue::Array& ne, TensorType type) {
  ShapeTensor tensor{name, {1, 1, 1, 1}, static_cast<int>(ne.size()), type};
  for (size_t i = 0; i < ne.size(); ++i) tensor.ne[i] = static_cast<uint64_t>(*ne[i].as_int());
  return tensor;
}

uint32_t FirstLayer(const JsonValue* value) {
  if (value == nullptr) return 0;
  if (const JsonValue::Array* array = value->as_array()) value = &array->front();
  return static_cast<uint32_t>(value->as_int().value_or(0));
}

ModelShape ShapeOf(const JsonValue& model) {
  ModelShape shape;
  shape.architecture = *model.Find("architecture")->as_string();
  const JsonValue& metadata = *model.Find("metadata");
  auto key = [&](std::string_view name) {
    return FirstLayer(metadata.Find(shape.architecture + "." + std::string(name)));
  };
  shape.layers = key("block_count");
  shape.experts = key("expert_count");
  shape.heads = key("attention.head_count");
  shape.kv_heads = key("attention.head_count_kv");
  for (const JsonValue& entry : *model.Find("tensors")->as_array()) {
    const JsonValue::Array& fields = *entry.as_array();
    shape.tensors.push_back(MakeTensor(*fields[0].as_string(), *fields[1].as_array(),
                                       TypeNamed(*fields[2].as_string())));
  }
  return shape;
}

/// "Q4_K_M imatrix override" -> preset and options of presets.json.
const Preset* ParsePlanName(std::string name, PresetOptions* options) {
  auto strip = [&name](std::string_view suffix) {
    if (!name.ends_with(suffix)) return false;
    name.resize(name.size() - suffix.size());
    return true;
  };
  if (strip(" --pure")) options->pure = true;
  if (strip(" types")) {
    options->output_tensor_type = TensorType::kQ8_0;
    options->token_embedding_type = TensorType::kQ5_1;
  }
  if (strip(" override")) {
    options->tensor_types = {{"attn_v", TensorType::kQ8_0}, {"ffn_(up|gate)", TensorType::kQ4_1}};
  }
  if (strip(" leave")) options->leave_output_tensor = true;
  if (strip(" imatrix")) options->with_importance = true;
  return FindPreset(name);
}

/// How many choices stand in for types that llama-quantize has no fallback for.
size_t ExpectStandInsForWhatFails(const ModelShape& shape, const std::vector<TypeChoice>& choices) {
  constexpr TensorType kFail[] = {TensorType::kQ1_0,  TensorType::kQ4_0,  TensorType::kQ4_1,
                                  TensorType::kQ5_0,  TensorType::kQ5_1,  TensorType::kQ8_0,
                                  TensorType::kNVFP4, TensorType::kIQ4_NL};
  size_t found = 0;
  for (size_t i = 0; i < choices.size(); ++i) {
    const TypeChoice& choice = choices[i];
    if (!choice.misfit || std::ranges::count(kFail, *choice.misfit) == 0) continue;
    ++found;
    const bool whole = shape.tensors[i].ne[0] % 32 == 0;
    EXPECT_EQ(Info(choice.type).name, whole ? "Q4_0" : "F16") << shape.tensors[i].name;
    EXPECT_NE(choice.why.find(whole ? "q4_0 instead of " : "f16 instead of "), std::string::npos);
  }
  return found;
}

TEST(Presets, EveryPlanOfTheReference) {
  const JsonValue file = ReadJson(testing::TestdataPath("quant/presets.json"));
  const JsonValue& letters = *file.Find("types");
  size_t plans = 0, failures_of_reference = 0;
  for (const JsonValue& model : *file.Find("models")->as_array()) {
    const ModelShape shape = ShapeOf(model);
    const std::string& description = *model.Find("description")->as_string();
    for (const auto& [name, plan] : *model.Find("plans")->as_object()) {
      ++plans;
      const std::string what = description + ", " + name;
      PresetOptions options;
      const Preset* preset = ParsePlanName(name, &options);
      ASSERT_NE(preset, nullptr) << what;
      const absl::StatusOr<std::vector<TypeChoice>> choices = ChooseTypes(shape, *preset, options);
      SMELT_ASSERT_OK(choices);
      ASSERT_EQ(choices->size(), shape.tensors.size());
      for (const TypeChoice& choice : *choices) EXPECT_FALSE(choice.why.empty());
      const std::string* wanted = plan.as_string();
      if (wanted == nullptr) {
        // llama-quantize fails for want of a fallback.
        ++failures_of_reference;
        EXPECT_GT(ExpectStandInsForWhatFails(shape, *choices), 0u) << what;
        continue;
      }
      ASSERT_EQ(wanted->size(), choices->size());
      for (size_t i = 0; i < choices->size(); ++i) {
        const TensorType want =
            TypeNamed(*letters.Find(std::string_view(wanted->data() + i, 1))->as_string());
        EXPECT_EQ(Info((*choices)[i].type).name, Info(want).name)
            << what << ": " << shape.tensors[i].name << " (" << (*choices)[i].why << ")";
      }
    }
  }
  EXPECT_EQ(plans, 922u);
  EXPECT_EQ(failures_of_reference, 16u);
}

struct RealModel {
  std::string name, architecture;
  uint32_t experts;
};

TEST(Presets, EveryPlanOfRealModels) {
  SMELT_REQUIRE_SHARED();
  const RealModel models[] = {{"smollm2", "llama", 0},
                              {"synth-1b", "llama", 0},
                              {"synth-moe", "llama", 8},
                              {"gemma3-270m", "gemma3", 0},
                              {"qwen2.5-coder-0.5b", "qwen2", 0}};
  for (const RealModel& model : models) {
    const JsonValue file =
        ReadJson(testing::SharedPath("fixtures/real/" + model.name + "_presets.json"));
    ModelShape shape{model.architecture, 0, model.experts, 0, 0, {}};
    for (const JsonValue& tensor : *file.Find("tensors")->as_array()) {
      const JsonValue::Array& ne = *tensor.Find("shape")->as_array();
      const std::string& name = *tensor.Find("name")->as_string();
      if (name.ends_with(".attn_norm.weight")) ++shape.layers;
      // The rules ask for the ratio of heads only: rows serve as well.
      const uint32_t rows = static_cast<uint32_t>(ne.back().as_int().value_or(0));
      if (name == "blk.0.attn_q.weight") shape.heads = rows;
      if (name == "blk.0.attn_k.weight") shape.kv_heads = rows;
      // In a bf16 file one-dimensional tensors and the expert router are f32.
      const bool f32 = ne.size() == 1 || name.ends_with("ffn_gate_inp.weight");
      shape.tensors.push_back(MakeTensor(name, ne, f32 ? TensorType::kF32 : TensorType::kBF16));
    }
    const JsonValue& presets = *file.Find("presets");
    for (const auto& [name, plan] : *presets.as_object()) {
      PresetOptions options;
      constexpr std::string_view kWithImportance = "+imatrix";
      options.with_importance = name.ends_with(kWithImportance);
      const std::string_view plain = std::string_view(name).substr(
          0, name.size() - (options.with_importance ? kWithImportance.size() : 0));
      // "same": importance makes no difference.
      const JsonValue& wanted = plan.as_string() != nullptr ? *presets.Find(plain) : plan;
      const Preset* preset = FindPreset(plain);
      ASSERT_NE(preset, nullptr) << name;
      const auto choices = ChooseTypes(shape, *preset, options);
      SMELT_ASSERT_OK(choices);
      const JsonValue::Array& types = *wanted.Find("types")->as_array();
      ASSERT_EQ(types.size(), choices->size());
      for (size_t i = 0; i < types.size(); ++i) {
        EXPECT_EQ(Info((*choices)[i].type).name, *types[i].as_string())
            << model.name << " " << name << " " << shape.tensors[i].name;
      }
    }
  }
}

TEST(Presets, Names) {
  EXPECT_EQ(FindPreset("q4_k")->name, "Q4_K_M");
  EXPECT_EQ(FindPreset("Q3_k")->file_type, 12u);
  EXPECT_EQ(FindPreset("15")->name, "Q4_K_M");
  EXPECT_EQ(FindPreset("iq2_m")->base, TensorType::kIQ2_S);
  EXPECT_EQ(FindPreset("nvfp4")->file_type, 39u);
  EXPECT_EQ(FindPreset("q9_k"), nullptr);
  EXPECT_EQ(FindPreset(""), nullptr);
  EXPECT_EQ(FindPreset("99"), nullptr);
  std::set<uint32_t> numbers;
  for (const Preset& preset : AllPresets()) EXPECT_TRUE(numbers.insert(preset.file_type).second);
  EXPECT_EQ(numbers.size(), 36u);
}

TEST(Presets, ABadPatternIsAnErrorThatNamesIt) {
  PresetOptions options;
  options.tensor_types = {{"ffn_(up", TensorType::kQ8_0}};
  const auto choices = ChooseTypes({}, *FindPreset("q4_k_m"), options);
  ASSERT_FALSE(choices.ok());
  EXPECT_NE(std::string(choices.status().message()).find("ffn_(up"), std::string::npos);
}

TEST(Presets, PatternsNeitherCrashNorRunOn) {
  const ModelShape shape{
      "llama", 1, 0, 4, 4, {{"blk.0.attn_output.weight", {256, 16, 1, 1}, 2, TensorType::kF32}}};
  for (const std::string& pattern :
       {std::string(30000, '(') + "a" + std::string(30000, ')'),
        std::string(1500, '(') + "a" + std::string(1500, ')'), std::string("(([a-z0-9_.]+)*)*[!?]"),
        std::string("^(a|b|[a-z0-9_.]+)*[!?]")}) {
    PresetOptions options;
    options.tensor_types = {{pattern, TensorType::kQ8_0}};
    const auto choices = ChooseTypes(shape, *FindPreset("q4_k_m"), options);
    ASSERT_FALSE(choices.ok()) << pattern.substr(0, 40);
    EXPECT_EQ(CodeOf(choices.status()), ErrorCode::kUsage);
    EXPECT_NE(std::string(choices.status().message()).find("--tensor-type"), std::string::npos);
    EXPECT_LT(choices.status().message().size(), 400u);
  }
}

TEST(Presets, APatternThatMatchesNothingGivesAWarning) {
  const ModelShape shape{
      "llama", 1, 0, 4, 4, {{"blk.0.attn_output.weight", {256, 16, 1, 1}, 2, TensorType::kF32}}};
  PresetOptions options;
  options.tensor_types = {{"ATTN_\\w+\\.weight$", TensorType::kQ8_0},
                          {"attn_output", TensorType::kQ6_K},
                          {"ffn_dwon", TensorType::kQ6_K}};
  std::vector<std::string> warnings;
  const auto choices = ChooseTypes(shape, *FindPreset("q4_k_m"), options, &warnings);
  SMELT_ASSERT_OK(choices);
  EXPECT_EQ(choices->front().type, TensorType::kQ8_0);
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_EQ(warnings[0],
            "--tensor-type attn_output=q6_k: the type of blk.0.attn_output.weight is what "
            "--tensor-type ATTN_\\\\w+\\\\.weight$=q8_0 says, so this changes nothing");
  EXPECT_EQ(warnings[1],
            "--tensor-type ffn_dwon=q6_k names no tensor of this model, so it changes nothing");
}

/// Two layers whose ffn_down has rows of 320.
ModelShape SmallLlama() {
  ModelShape shape{"llama", 2, 0,
                   4,       4, {{"token_embd.weight", {256, 64, 1, 1}, 2, TensorType::kF16}}};
  for (const std::string layer : {"blk.0.", "blk.1."}) {
    shape.tensors.push_back({layer + "attn_norm.weight", {256, 1, 1, 1}, 1, TensorType::kF32});
    shape.tensors.push_back({layer + "attn_q.weight", {256, 256, 1, 1}, 2, TensorType::kF16});
    shape.tensors.push_back({layer + "attn_q.bias", {256, 1, 1, 1}, 1, TensorType::kF32});
    shape.tensors.push_back({layer + "ffn_gate_inp.weight", {256, 4, 1, 1}, 2, TensorType::kF32});
    shape.tensors.push_back({layer + "ffn_down.weight", {320, 256, 1, 1}, 2, TensorType::kF16});
  }
  return shape;
}

std::vector<std::string> WarningsOf(const PresetOptions& options) {
  std::vector<std::string> warnings;
  SMELT_EXPECT_OK(ChooseTypes(SmallLlama(), *FindPreset("q4_k_m"), options, &warnings));
  return warnings;
}

TEST(Presets, EachOptionThatDoesNotDoWhatItSaysGivesOneWarning) {
  using enum TensorType;
  const struct {
    std::string pattern;
    TensorType type;
    std::string warning;
  } cases[] = {
      {"ffn_down", kQ6_K,
       ": blk.0.ffn_down.weight and 1 more have rows of 320 columns, no multiple of the 256 of "
       "Q6_K: Q8_0 instead"},
      {"blk.1.ffn_down", kQ4_K,
       ": blk.1.ffn_down.weight has rows of 320 columns, no multiple of the 256 of Q4_K: Q5_0 "
       "instead"},
      {"attn_norm", kQ8_0,
       ": blk.0.attn_norm.weight and 1 more keep their type: norms, routers and other small "
       "tensors are never quantized"},
      {"ffn_gate_inp", kQ8_0,
       ": blk.0.ffn_gate_inp.weight and 1 more keep their type: norms, routers and other small "
       "tensors are never quantized"},
      {"blk.0.attn_q.bias", kQ8_0,
       ": blk.0.attn_q.bias keeps its type: norms, routers and other small tensors are never "
       "quantized"},
      {"ffn", kQ5_K,
       ": blk.0.ffn_down.weight and 1 more have rows of 320 columns, no multiple of the 256 of "
       "Q5_K: Q5_1 instead; blk.0.ffn_gate_inp.weight and 1 more keep their type: norms, routers "
       "and other small tensors are never quantized"},
      // What is done as asked: also beside a bias of the same name, and for a norm's own type.
      {"attn_q", kQ8_0, ""},
      {"ffn_down", kQ8_0, ""},
      {"attn_norm", kF32, ""},
  };
  for (const auto& c : cases) {
    PresetOptions options;
    options.tensor_types = {{c.pattern, c.type}};
    const std::vector<std::string> warnings = WarningsOf(options);
    if (c.warning.empty()) {
      EXPECT_TRUE(warnings.empty()) << warnings.front();
      continue;
    }
    ASSERT_EQ(warnings.size(), 1u) << c.pattern;
    EXPECT_TRUE(warnings[0].starts_with("--tensor-type " + c.pattern + "="));
    EXPECT_TRUE(warnings[0].ends_with(c.warning)) << warnings[0];
    EXPECT_LT(warnings[0].size(), 400u);
  }
}

TEST(Presets, OptionsForOutputAndEmbeddingAreWarnedOfLikePatterns) {
  PresetOptions tied;
  tied.output_tensor_type = TensorType::kQ8_0;
  EXPECT_TRUE(WarningsOf(tied).empty()) << "the embedding stands for the output";
  tied.pure = true;
  ASSERT_EQ(WarningsOf(tied).size(), 1u);
  EXPECT_EQ(WarningsOf(tied)[0],
            "--output-tensor-type q8_0 names no tensor of this model, so it changes nothing");
  PresetOptions both;
  both.output_tensor_type = both.token_embedding_type = TensorType::kQ8_0;
  ASSERT_EQ(WarningsOf(both).size(), 1u);
  EXPECT_TRUE(WarningsOf(both)[0].starts_with("--output-tensor-type q8_0: "))
      << WarningsOf(both)[0];
}

// As llama-quantize does: the option is of both tables of embeddings, a pattern of what it names.
TEST(Presets, APatternDecidesTheTableOfPerLayerEmbeddingsBeforeTheOption) {
  const ModelShape shape{"gemma4",
                         1,
                         0,
                         4,
                         4,
                         {{"per_layer_token_embd.weight", {256, 64, 1, 1}, 2, TensorType::kF16},
                          {"token_embd.weight", {256, 64, 1, 1}, 2, TensorType::kF16}}};
  PresetOptions options;
  options.token_embedding_type = TensorType::kQ5_1;
  auto choices = ChooseTypes(shape, *FindPreset("q4_k_m"), options);
  SMELT_ASSERT_OK(choices);
  EXPECT_EQ((*choices)[0].type, TensorType::kQ5_1);
  EXPECT_EQ((*choices)[1].type, TensorType::kQ5_1);
  for (const char* pattern : {"per_layer_token_embd", "token_embd"}) {
    options.tensor_types = {{pattern, TensorType::kQ4_0}};
    choices = ChooseTypes(shape, *FindPreset("q4_k_m"), options);
    SMELT_ASSERT_OK(choices);
    EXPECT_EQ((*choices)[0].type, TensorType::kQ4_0) << pattern;
    EXPECT_EQ((*choices)[1].type, TensorType::kQ5_1) << pattern;
  }
}

TEST(Presets, AForcedTypeThatDoesNotFitGivesWayAsThePresetsOwnDoes) {
  const struct {
    std::string name;
    uint64_t columns;
    TensorType asked, got;
  } cases[] = {
      {"output.weight", 96, TensorType::kQ6_K, TensorType::kQ8_0},
      {"output.weight", 96, TensorType::kQ4_K, TensorType::kQ5_0},
      {"output.weight", 48, TensorType::kQ4_K, TensorType::kF16},
      {"token_embd.weight", 96, TensorType::kQ6_K, TensorType::kQ8_0},
      {"token_embd.weight", 48, TensorType::kQ8_0, TensorType::kF16},
      {"blk.0.ffn_down.weight", 96, TensorType::kQ6_K, TensorType::kQ8_0},
      {"blk.0.ffn_down.weight", 96, TensorType::kNVFP4, TensorType::kQ4_0},
      {"blk.0.ffn_down.weight", 96, TensorType::kQ1_0, TensorType::kQ4_0},
      {"blk.0.ffn_down.weight", 80, TensorType::kNVFP4, TensorType::kF16},
      {"blk.0.ffn_down.weight", 48, TensorType::kMXFP4, TensorType::kF16},
  };
  for (const auto& c : cases) {
    const ModelShape shape{"llama", 1, 0,
                           4,       4, {{c.name, {c.columns, 16, 1, 1}, 2, TensorType::kF32}}};
    PresetOptions options;
    if (c.name.starts_with("output")) {
      options.output_tensor_type = c.asked;
    } else if (c.name.starts_with("token")) {
      options.token_embedding_type = c.asked;
    } else {
      options.tensor_types.emplace_back(c.name, c.asked);
    }
    const auto choices = ChooseTypes(shape, *FindPreset("q4_k_m"), options);
    SMELT_ASSERT_OK(choices);
    EXPECT_EQ(choices->front().type, c.got) << c.name;
    EXPECT_EQ(choices->front().misfit, c.asked);
    EXPECT_NE(choices->front().why.find(std::to_string(c.columns)), std::string::npos);
  }
}

}  // namespace
}  // namespace smelt
