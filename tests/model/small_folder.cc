#include "tests/model/small_folder.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "lib/base/cat.h"
#include "lib/base/float16.h"
#include "tests/testing/safetensors.h"
#include "tests/testing/testing.h"

namespace smelt::testing {

FolderTensor Counting(std::vector<uint64_t> shape, float start) {
  uint64_t n = 1;
  for (uint64_t extent : shape) n *= extent;
  FolderTensor tensor{std::move(shape), std::vector<float>(n)};
  for (uint64_t i = 0; i < n; ++i) tensor.values[i] = start + static_cast<float>(i);
  return tensor;
}

namespace {

template <typename Stored>
void Append(std::string& data, Stored value) {
  data.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void AppendAs(std::string& data, float value, std::string_view dtype) {
  if (dtype == "F16") return Append(data, F32ToF16(value));
  if (dtype == "BF16") return Append(data, F32ToBf16(value));
  if (dtype == "U32" || dtype == "I32") return Append(data, static_cast<uint32_t>(value));
  if (dtype == "U8" || dtype == "I8" || dtype == "F8_E4M3")
    return Append(data, static_cast<uint8_t>(value));
  Append(data, value);
}

}  // namespace

void WriteFolder(const std::string& folder, const std::string& config,
                 const FolderTensors& tensors) {
  std::vector<StoredTensor> stored;
  for (const auto& [name, tensor] : tensors) {
    StoredTensor& one = stored.emplace_back(StoredTensor{name, tensor.dtype, tensor.shape, {}});
    for (float value : tensor.values) AppendAs(one.bytes, value, tensor.dtype);
  }
  WriteFile(folder + "/model.safetensors", SafetensorsFile(stored));
  WriteFile(folder + "/config.json", config);
}

absl::StatusOr<OpenedModel> OpenFolder(const std::string& folder) {
  OpenOptions options;
  options.vocabulary = false;
  return OpenModel(folder, options);
}

std::vector<float> ReadTensor(const ModelSource& source, const std::string& name) {
  const int index = source.Find(name);
  EXPECT_GE(index, 0) << name;
  if (index < 0) return {};
  const Shape& shape = source.tensors()[index].shape;
  std::vector<float> values(shape.elements());
  SMELT_EXPECT_OK(source.ReadRows(index, 0, shape.rows(), values.data()));
  return values;
}

FolderTensors LlamaTensors(uint64_t layers, bool lm_head) {
  FolderTensors t;
  t["model.embed_tokens.weight"] = Counting({10, 8}, 0);
  t["model.norm.weight"] = Counting({8}, 1);
  if (lm_head) t["lm_head.weight"] = Counting({10, 8}, 5);
  for (uint64_t i = 0; i < layers; ++i) {
    const std::string p = Cat("model.layers.", i, ".");
    t[p + "input_layernorm.weight"] = Counting({8}, 1);
    t[p + "post_attention_layernorm.weight"] = Counting({8}, 1);
    for (const char* name : {"q", "k", "v", "o"})
      t[Cat(p, "self_attn.", name, "_proj.weight")] = Counting({8, 8}, 2);
    t[p + "mlp.gate_proj.weight"] = Counting({6, 8}, 3);
    t[p + "mlp.up_proj.weight"] = Counting({6, 8}, 4);
    t[p + "mlp.down_proj.weight"] = Counting({8, 6}, 5);
  }
  return t;
}

std::string LlamaConfig(std::string_view more) { return Cat("{", more, kLlamaConfig, "}"); }

bool Says(const std::vector<std::string>& sentences, std::string_view part) {
  return std::ranges::any_of(
      sentences, [&](const std::string& one) { return one.find(part) != std::string::npos; });
}

void ExpectRefused(const absl::StatusOr<OpenedModel>& opened,
                   const std::vector<std::string_view>& parts) {
  ASSERT_FALSE(opened.ok());
  const std::string message(opened.status().message());
  for (std::string_view part : parts)
    EXPECT_NE(message.find(part), std::string::npos) << part << " in " << message;
  EXPECT_LT(message.size(), 400u);
}

}  // namespace smelt::testing
