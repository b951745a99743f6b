// Types per tensor against llama-quantize's, for the tensor names of the families of 2026 at their
// published depth (testdata/quant/preset_plans.json; tests/peers/preset_plans.py records it).
#include <algorithm>
#include <charconv>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "quant/presets.h"
#include "tests/quant/fixtures.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

uint32_t Number(std::string_view text) {
  uint32_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

std::vector<std::string> Split(std::string_view text, char by) {
  std::vector<std::string> parts;
  for (size_t end = 0; end != text.npos; text.remove_prefix(end == text.npos ? 0 : end + 1)) {
    end = text.find(by);
    parts.emplace_back(text.substr(0, end));
  }
  return parts;
}

/// "0-2,5" -> 0 1 2 5.
std::vector<uint32_t> Layers(std::string_view spans) {
  std::vector<uint32_t> layers;
  for (const std::string& span : Split(spans, ',')) {
    const size_t dash = span.find('-');
    const uint32_t first = Number(span), last = dash == span.npos ? first : Number(&span[dash + 1]);
    for (uint32_t layer = first; layer <= last; ++layer) layers.push_back(layer);
  }
  return layers;
}

/// "A3B" -> "AAAB".
std::string Letters(std::string_view runs) {
  std::string letters;
  while (!runs.empty()) {
    const size_t next = runs.find_first_not_of("0123456789", 1);
    const std::string_view count = runs.substr(1, next == runs.npos ? next : next - 1);
    letters.append(count.empty() ? 1 : Number(count), runs[0]);
    runs.remove_prefix(next == runs.npos ? runs.size() : next);
  }
  return letters;
}

uint32_t Key(const JsonValue& model, const ModelShape& shape, std::string_view name) {
  const JsonValue* value =
      model.Find("metadata")->Find(shape.architecture + "." + std::string(name));
  if (value == nullptr) return 0;
  if (const JsonValue::Array* array = value->as_array()) value = &array->front();
  return static_cast<uint32_t>(value->as_int().value_or(0));
}

/// A tensor of every block of its row, in the order of the letters of the plans.
ModelShape ShapeOfPlan(const JsonValue& model) {
  ModelShape shape;
  shape.architecture = *model.Find("architecture")->as_string();
  shape.layers = Key(model, shape, "block_count");
  shape.experts = Key(model, shape, "expert_count");
  shape.heads = Key(model, shape, "attention.head_count");
  shape.kv_heads = Key(model, shape, "attention.head_count_kv");
  for (const JsonValue& row : *model.Find("tensors")->as_array()) {
    const JsonValue::Array& fields = *row.as_array();
    const JsonValue::Array& ne = *fields[1].as_array();
    const std::string& layers = *fields[3].as_string();
    ShapeTensor tensor{
        *fields[0].as_string(), {1, 1, 1, 1}, static_cast<int>(ne.size()), TensorType::kF32};
    if (const auto type = ParseTensorType(*fields[2].as_string())) tensor.type = *type;
    for (size_t i = 0; i < ne.size(); ++i) tensor.ne[i] = static_cast<uint64_t>(*ne[i].as_int());
    if (layers.empty()) {
      shape.tensors.push_back(tensor);
      continue;
    }
    const std::string name = tensor.name;
    for (const uint32_t layer : Layers(layers)) {
      tensor.name = "blk." + std::to_string(layer) + "." + name;
      shape.tensors.push_back(tensor);
    }
  }
  return shape;
}

TEST(PresetPlans, TypesOfEveryFamilyAreThoseOfLlamaQuantize) {
  const JsonValue file = ReadJson(testing::TestdataPath("quant/preset_plans.json"));
  const JsonValue& types = *file.Find("types");
  std::set<std::string> architectures, presets;
  for (const JsonValue& model : *file.Find("models")->as_array()) {
    const ModelShape shape = ShapeOfPlan(model);
    ASSERT_GE(shape.layers, 27u);
    architectures.insert(shape.architecture);
    for (const auto& [name, plan] : *model.Find("plans")->as_object()) {
      const std::string what = *model.Find("description")->as_string() + ", " + name;
      PresetOptions options;
      options.with_importance = name.ends_with(" imatrix");
      presets.insert(name.substr(0, name.find(' ')));
      const Preset* preset = FindPreset(std::string_view(name).substr(0, name.find(' ')));
      ASSERT_NE(preset, nullptr) << what;
      const auto choices = ChooseTypes(shape, *preset, options);
      SMELT_ASSERT_OK(choices);
      if (plan.as_string() == nullptr) {
        // llama-quantize knows no type for some rows, and fails.
        EXPECT_TRUE(std::ranges::any_of(*choices, [&](const TypeChoice& choice) {
          return choice.misfit == TensorType::kQ1_0 && choice.type == TensorType::kQ4_0;
        })) << what;
        continue;
      }
      std::string letters;
      for (const std::string& runs : Split(*plan.as_string(), ' ')) letters += Letters(runs);
      ASSERT_EQ(letters.size(), choices->size()) << what;
      for (size_t i = 0; i < letters.size(); ++i) {
        EXPECT_EQ(Info((*choices)[i].type).name, *types.Find(letters.substr(i, 1))->as_string())
            << what << ": " << shape.tensors[i].name << " (" << (*choices)[i].why << ")";
      }
    }
  }
  EXPECT_GE(architectures.size(), 30u);
  EXPECT_EQ(presets.size(), 32u);
}

}  // namespace
}  // namespace smelt
