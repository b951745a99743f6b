#include "tests/model/expected_gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "lib/base/hash.h"
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "tests/testing/testing.h"

namespace smelt::testing {
namespace {

JsonValue Expected(const std::string& folder) {
  auto value = ParseJsonValue(ReadFile(folder + "/expected_gguf.json"), "expected_gguf.json");
  EXPECT_TRUE(value.ok()) << value.status().ToString();
  return value.ok() ? *std::move(value) : JsonValue();
}

std::string KindOf(const MetadataValue& value) {
  static const std::map<ValueType, std::string> kNames = {
      {ValueType::kU32, "UINT32"}, {ValueType::kI32, "INT32"},     {ValueType::kF32, "FLOAT32"},
      {ValueType::kBool, "BOOL"},  {ValueType::kString, "STRING"}, {ValueType::kU64, "UINT64"}};
  const auto it = kNames.find(value.element_type());
  const std::string name = it == kNames.end() ? "?" : it->second;
  return value.is_array() ? Cat("ARRAY[", name, "]") : name;
}

/// Elements as they lie in a file: strings with their length.
std::string RawHash(const MetadataValue& value) {
  Sha256 hash;
  const auto add = [&hash](const auto& v) { hash.Update(std::as_bytes(std::span(&v, 1))); };
  if (const auto* texts = value.get_if<std::vector<std::string>>()) {
    for (const std::string& text : *texts) {
      add(static_cast<uint64_t>(text.size()));
      hash.Update(std::as_bytes(std::span(text)));
    }
  }
  if (const auto* numbers = value.get_if<std::vector<int32_t>>())
    for (int32_t v : *numbers) add(v);
  if (const auto* numbers = value.get_if<std::vector<float>>())
    for (float v : *numbers) add(v);
  if (const auto* numbers = value.get_if<std::vector<uint32_t>>())
    for (uint32_t v : *numbers) add(v);
  return hash.FinishHex();
}

void CompareScalar(const MetadataValue& value, size_t i, const JsonValue& expected) {
  if (const auto* texts = value.get_if<std::vector<std::string>>()) {
    EXPECT_EQ((*texts)[i], *expected.as_string());
  } else if (value.AsString() != nullptr) {
    EXPECT_EQ(*value.AsString(), *expected.as_string());
  } else if (value.element_type() == ValueType::kBool) {
    const auto* list = value.get_if<std::vector<uint8_t>>();
    EXPECT_EQ(list != nullptr ? (*list)[i] != 0 : value.AsBool(), *expected.as_bool());
  } else {
    EXPECT_EQ(value.FloatAt(i), expected.as_double());
  }
}

/// The converter writes these before all others.
bool IsWrittenFirst(std::string_view key) {
  return key.ends_with(".rope.scaling.attn_factor") || key.starts_with("xielu.");
}

}  // namespace

std::string ModelPath(const std::string& name) {
  for (const std::string& path :
       {TestdataPath("models/" + name), SharedPath("fixtures/models/" + name)}) {
    if (std::filesystem::exists(path)) return path;
  }
  return "";
}

void CompareTensors(const ModelSource& source, const std::string& folder) {
  const JsonValue expected = Expected(folder);
  ASSERT_TRUE(expected.is_object());
  size_t count = 0;
  for (const JsonValue& tensor : *expected.Find("tensors")->as_array()) {
    ++count;
    const std::string name = *tensor.Find("name")->as_string();
    SCOPED_TRACE(name);
    const int index = source.Find(name);
    if (index < 0) {
      ADD_FAILURE() << "missing";
      continue;
    }
    const Shape& shape = source.tensors()[index].shape;
    const JsonValue::Array& ne = *tensor.Find("shape")->as_array();
    EXPECT_EQ(shape.dims, static_cast<int>(ne.size()));
    for (size_t i = 0; i < ne.size(); ++i)
      EXPECT_EQ(shape.ne[i], static_cast<uint64_t>(*ne[i].as_int()));
    std::vector<float> values(shape.elements());
    SMELT_ASSERT_OK(source.ReadRows(index, 0, shape.rows(), values.data()));
    if (const JsonValue* exact = tensor.Find("values")) {
      for (size_t i = 0; i < values.size(); ++i) {
        const double v = *(*exact->as_array())[i].as_double();
        EXPECT_NEAR(values[i], v, std::abs(v) * 1e-6);
      }
      continue;
    }
    const JsonValue* hash = tensor.Find("sha256_exact") != nullptr ? tensor.Find("sha256_exact")
                                                                   : tensor.Find("sha256");
    EXPECT_EQ(Sha256Hex(std::as_bytes(std::span(values))), *hash->as_string());
  }
  EXPECT_EQ(source.tensors().size(), count);
}

void CompareKeys(const Metadata& metadata, const std::string& folder, std::string_view prefix,
                 const std::set<std::string>& other) {
  const JsonValue expected = Expected(folder);
  ASSERT_TRUE(expected.is_object());
  std::set<std::string> known;
  std::vector<std::string> order;
  for (const JsonValue& entry : *expected.Find("kv")->as_array()) {
    const std::string key = *entry.Find("key")->as_string();
    if (!key.starts_with(prefix) || other.contains(key)) continue;
    known.insert(key);
    if (!IsWrittenFirst(key)) order.push_back(key);
    SCOPED_TRACE(key);
    const MetadataValue* value = metadata.Find(key);
    if (value == nullptr) {
      ADD_FAILURE() << "missing";
      continue;
    }
    EXPECT_EQ(KindOf(*value), *entry.Find("type")->as_string());
    if (key == "tokenizer.ggml.pre") {  // any name that splits alike
      bool alike = *value->AsString() == *entry.Find("value")->as_string();
      if (const JsonValue* names = expected.Find("pre_equivalent")) {
        for (const JsonValue& name : *names->as_array())
          alike |= *name.as_string() == *value->AsString();
      }
      EXPECT_TRUE(alike) << *value->AsString();
      continue;
    }
    if (const JsonValue* hash = entry.Find("sha256_raw")) {
      EXPECT_EQ(static_cast<int64_t>(value->size()), *entry.Find("length")->as_int());
      EXPECT_EQ(RawHash(*value), *hash->as_string());
    } else if (value->is_array()) {
      const JsonValue::Array& elements = *entry.Find("value")->as_array();
      ASSERT_EQ(value->size(), elements.size());
      for (size_t i = 0; i < elements.size(); ++i) CompareScalar(*value, i, elements[i]);
    } else {
      CompareScalar(*value, 0, *entry.Find("value"));
    }
  }
  std::vector<std::string> ours;
  for (const Metadata::Entry& entry : metadata.entries()) {
    if (!entry.key.starts_with(prefix) || other.contains(entry.key)) continue;
    if (known.contains(entry.key)) {
      if (!IsWrittenFirst(entry.key)) ours.push_back(entry.key);
      continue;
    }
    const bool welcome = entry.key.ends_with(".rope.freq_base") ||
                         entry.key.ends_with(".attention.sliding_window") ||
                         entry.key.ends_with(".attention.sliding_window_pattern") ||
                         entry.key == "general.file_type" || entry.key.starts_with("smelt.") ||
                         entry.key.ends_with(".attention.scale");
    EXPECT_TRUE(welcome) << "unexpected key " << entry.key;
  }
  EXPECT_EQ(ours, order);
}

}  // namespace smelt::testing
