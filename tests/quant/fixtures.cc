#include "tests/quant/fixtures.h"

#include <cmath>
#include <cstring>

#include "formats/safetensors.h"
#include "quant/simd.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

const Container& Open(const std::string& name) {
  static std::map<std::string, Container> opened;
  auto it = opened.find(name);
  if (it == opened.end()) {
    absl::StatusOr<Container> container = OpenSafetensors(testing::TestdataPath("quant/" + name));
    EXPECT_EQ(container.status().ToString(), "OK");
    it = opened.emplace(name, container.ok() ? *std::move(container) : Container()).first;
  }
  return it->second;
}

template <typename T>
std::vector<T> Read(const RawTensor& tensor) {
  std::vector<T> out(tensor.elements());
  SMELT_EXPECT_OK(tensor.storage->ReadAt(
      tensor.offset, std::as_writable_bytes(std::span<T>(out.data(), out.size()))));
  return out;
}

template <typename T>
std::vector<T> Read(const std::string& file, const std::string& name) {
  const RawTensor* tensor = Open(file).Find(name);
  EXPECT_NE(tensor, nullptr) << name;
  return tensor == nullptr ? std::vector<T>() : Read<T>(*tensor);
}

}  // namespace

std::vector<TensorType> DecodeTypes() {
  std::vector<TensorType> types;
  for (const TensorTypeInfo& info : AllTensorTypes()) {
    if (Open("decode.safetensors").Find(std::string(info.name) + ".blocks") != nullptr) {
      types.push_back(info.type);
    }
  }
  return types;
}

std::vector<std::byte> DecodeBlocks(TensorType type) {
  return Read<std::byte>("decode.safetensors", std::string(Info(type).name) + ".blocks");
}

std::vector<float> DecodeValues(TensorType type) {
  return Read<float>("decode.safetensors", std::string(Info(type).name) + ".values");
}

const std::vector<SampleMatrix>& Matrices() {
  static const std::vector<SampleMatrix> matrices = [] {
    std::vector<SampleMatrix> out;
    for (const RawTensor& tensor : Open("matrices.safetensors").tensors) {
      if (tensor.shape.size() != 2) continue;
      out.push_back({tensor.name, tensor.shape[0], tensor.shape[1], Read<float>(tensor),
                     Read<float>("matrices.safetensors", "importance." + tensor.name),
                     Read<float>("matrices.safetensors", "importance_half." + tensor.name)});
    }
    return out;
  }();
  return matrices;
}

JsonValue ReadJson(const std::string& path) {
  absl::StatusOr<JsonValue> value = ParseJsonValue(testing::ReadFile(path), path);
  EXPECT_EQ(value.status().ToString(), "OK");
  return value.ok() ? *std::move(value) : JsonValue();
}

std::vector<float> Noise(size_t count, uint32_t seed) {
  std::vector<float> out(count);
  uint32_t state = seed * 2654435761u + 1;
  auto next = [&state] {
    state = state * 1664525u + 1013904223u;
    return state >> 8;
  };
  for (float& x : out) {
    // A sum of uniform values, now and then much larger or zero.
    float sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<float>(next()) * 0x1p-24f - 0.5f;
    const uint32_t kind = next() % 64;
    x = kind == 0 ? 0.0f : kind == 1 ? sum * 16.0f : sum;
  }
  return out;
}

EachTarget::EachTarget() : names_(SimdTargets()) {}
EachTarget::~EachTarget() { SMELT_EXPECT_OK(ForceSimdTarget("")); }
void EachTarget::Use(const std::string& name) { SMELT_EXPECT_OK(ForceSimdTarget(name)); }

}  // namespace smelt
