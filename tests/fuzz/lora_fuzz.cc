// An adapter for a small base: a byte that chooses the way in (PEFT's matrices into published
// tensors or into a GGUF, or llama.cpp's file), one that chooses what adapter_config.json says,
// then a safetensors file or a GGUF.
#include <algorithm>
#include <cstring>
#include <vector>

#include "formats/computed_matrix.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "lib/base/cat.h"
#include "lib/model/adapted_source.h"
#include "lib/model/families/families.h"
#include "lib/model/gguf_source.h"
#include "lib/model/lora_gguf.h"
#include "lib/model/lora_merge.h"
#include "tests/fuzz/fuzz.h"

namespace {

using smelt::fuzz::Require;
using smelt::fuzz::RequireGoodMessage;

constexpr const char* kConfigs[] = {
    "{}",
    R"({"peft_type":"LORA","r":2,"lora_alpha":4,"use_rslora":true})",
    R"({"use_dora":true,"lora_alpha":3})",
    R"({"rank_pattern":{"v_proj":1,"(":2},"alpha_pattern":{".*":1e30}})",
    R"({"rank_pattern":{"v_proj":1},"alpha_pattern":{"q_proj":5},"trainable_token_indices":[3,0]})",
    R"({"target_parameters":["mlp.experts.gate_up_proj","mlp.experts.down_proj"],"lora_alpha":2})",
    R"({"trainable_token_indices":{"embed_tokens":[1],"lm_head":[9,4]},"ensure_weight_tying":true})",
    R"({"peft_type":"VERA"})",
};
constexpr uint64_t kWidth = 8, kFfn = 6, kVocabulary = 10, kExperts = 2;

/// The tensors of a block, by published and by GGUF name. Two experts, two heads.
struct BaseTensor {
  const char *published, *name;
  std::vector<uint64_t> shape;
};
std::vector<BaseTensor> BaseTensors(bool experts) {
  std::vector<BaseTensor> tensors = {
      {"model.embed_tokens.weight", "token_embd.weight", {kVocabulary, kWidth}},
      {"model.layers.0.self_attn.q_proj.weight", "blk.0.attn_q.weight", {kWidth, kWidth}},
      {"model.layers.0.self_attn.v_proj.weight", "blk.0.attn_v.weight", {kWidth, kWidth}},
      {"model.layers.0.self_attn.q_proj.bias", "blk.0.attn_q.bias", {kWidth}}};
  if (!experts) {
    tensors.push_back(
        {"model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight", {kWidth, kFfn}});
    return tensors;
  }
  tensors.push_back({"model.layers.0.mlp.experts.gate_up_proj",
                     "blk.0.ffn_gate_exps.weight",
                     {kExperts, 2 * kFfn, kWidth}});
  tensors.push_back({"model.layers.0.mlp.experts.down_proj",
                     "blk.0.ffn_down_exps.weight",
                     {kExperts, kWidth, kFfn}});
  return tensors;
}

uint64_t ElementsOf(const std::vector<uint64_t>& shape) {
  uint64_t n = 1;
  for (uint64_t extent : shape) n *= extent;
  return n;
}

smelt::Container Published(bool experts) {
  smelt::Container base;
  for (const BaseTensor& tensor : BaseTensors(experts)) {
    smelt::RawTensor raw;
    raw.name = tensor.published;
    raw.shape = tensor.shape;
    raw.strides = smelt::ContiguousStrides(raw.shape);
    raw.storage = smelt::MemoryStorage(
        raw.name, std::vector<std::byte>(ElementsOf(raw.shape) * sizeof(float)));
    base.tensors.push_back(std::move(raw));
  }
  return base;
}

std::unique_ptr<smelt::ModelSource> AsGguf(bool experts) {
  smelt::Metadata metadata;
  metadata.Set("general.architecture", "llama");
  for (const auto& [key, value] :
       {std::pair("block_count", 1u), {"embedding_length", 8u}, {"attention.head_count", 2u}})
    metadata.Set(smelt::Cat("llama.", key), uint32_t{value});
  std::vector<smelt::GgufTensorSpec> specs;
  for (const BaseTensor& tensor : BaseTensors(experts)) {
    smelt::GgufTensorSpec spec{.name = tensor.name, .type = smelt::TensorType::kF32};
    std::vector<uint64_t> shape = tensor.shape;
    if (spec.name.find("gate_exps") != std::string::npos) shape[1] = kFfn;
    for (uint64_t extent : shape) {
      std::copy_backward(spec.ne.begin(), spec.ne.begin() + spec.dims,
                         spec.ne.begin() + spec.dims + 1);
      spec.ne[0] = extent;
      ++spec.dims;
    }
    specs.push_back(spec);
  }
  const auto layout = smelt::SerializeGgufHeader(metadata, specs);
  Require(layout.ok(), "the base can be written");
  std::vector<std::byte> bytes(layout->file_size);
  std::memcpy(bytes.data(), layout->header.data(), layout->header.size());
  auto file = smelt::ReadGguf(smelt::MemoryStorage("base", std::move(bytes)));
  Require(file.ok(), "the base can be read");
  return smelt::MakeGgufSource("base", *std::move(file));
}

void ReadAll(const smelt::Container& container) {
  for (const smelt::RawTensor& tensor : container.tensors) {
    if (tensor.computed == nullptr || tensor.elements() == 0) continue;
    const uint64_t columns = tensor.shape.back(), rows = tensor.elements() / columns;
    std::vector<float> values(rows * columns);
    const absl::Status read = tensor.computed->ReadRows(0, rows, values.data());
    if (!read.ok()) RequireGoodMessage(read);
  }
}

void ReadAll(const smelt::ModelSource& source) {
  for (size_t i = 0; i < source.tensors().size(); ++i) {
    const smelt::Shape& shape = source.tensors()[i].shape;
    std::vector<float> values(shape.elements());
    const absl::Status read = source.ReadRows(i, 0, shape.rows(), values.data());
    if (!read.ok()) RequireGoodMessage(read);
  }
}

void Adapt(absl::StatusOr<smelt::GgufLora> lora, bool experts) {
  if (!lora.ok()) return RequireGoodMessage(lora.status());
  std::vector<smelt::GgufLora> adapters;
  adapters.push_back(*std::move(lora));
  std::unique_ptr<smelt::ModelSource> base = AsGguf(experts);
  smelt::Metadata metadata = base->metadata();
  const auto source =
      smelt::MakeAdaptedSource(std::move(base), std::move(adapters), std::move(metadata));
  if (!source.ok()) return RequireGoodMessage(source.status());
  ReadAll(**source);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size > (1 << 16)) return 0;
  const int way = data[0] % 3;
  const bool experts = (data[0] & 0x80) != 0, tied = (data[0] & 0x40) != 0;
  auto storage = smelt::fuzz::InMemory(data + 2, size - 2);
  if (way == 2) {
    const auto file = smelt::ReadGguf(storage);
    if (file.ok()) Adapt(smelt::ReadGgufLora(*file, 1, *AsGguf(experts)), experts);
    return 0;
  }
  const char* const text = kConfigs[data[1] % std::size(kConfigs)];
  auto config = smelt::LoraConfig::Parse(text, "adapter");
  if (!config.ok()) {
    RequireGoodMessage(config.status());
    return 0;
  }
  auto container = smelt::ReadSafetensors(storage);
  if (!container.ok()) return 0;
  smelt::LoraAdapter adapter{"adapter", text, *std::move(config), *std::move(container)};
  const double strength = data[1] >= 0xf0 ? 0.5 : 1;
  if (way == 1) {
    Adapt(smelt::ToGgufLora(adapter, strength, *AsGguf(experts)), experts);
    return 0;
  }
  smelt::Container base = Published(experts);
  const auto merged =
      smelt::MergeLora(experts ? smelt::kMixtral : smelt::kLlama, tied, adapter, strength, base);
  if (!merged.ok()) {
    RequireGoodMessage(merged.status());
    return 0;
  }
  ReadAll(base);
  return 0;
}
