// A safetensors file of quantized weights behind a byte that chooses what config.json says of it.
#include <vector>

#include "formats/computed_matrix.h"
#include "formats/quantized/join.h"
#include "formats/safetensors.h"
#include "tests/fuzz/fuzz.h"

namespace {

constexpr const char* kConfigs[] = {
    "{}",
    R"({"quant_method":"gptq","bits":4,"group_size":128,"desc_act":true})",
    R"({"quant_method":"gptq","bits":3,"group_size":-1,"checkpoint_format":"gptq_v2"})",
    R"({"quant_method":"awq","bits":4,"group_size":64,"version":"gemv"})",
    R"({"quant_method":"compressed-tensors","config_groups":{"a":{"weights":{"num_bits":3}}}})",
    R"({"quant_method":"fp8","weight_block_size":[128,64]})",
    R"({"group_size":32,"bits":4,"layer":{"group_size":16,"mode":"nvfp4"}})",
    R"({"group_size":64,"bits":5})",
    R"({"quant_method":"auto-round","bits":4,"group_size":32,"extra_config":{"l":{"bits":8}}})",
    R"({"quant_method":"quark","global_quant_config":{"weight":{"dtype":"int4"}}})",
    R"({"quant_method":"bitsandbytes","load_in_4bit":true})",
    R"({"quant_method":"gptq","bits":4,"group_size":32,"meta":{"quantizer":"gptqmodel:7"}})",
    R"({"config_groups":{"a":{"weights":{"group_size":96,"block_structure":"96x96"}}}})",
};
constexpr uint64_t kMost = 1 << 20;  // values that are read of one weight

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using smelt::fuzz::Require;
  if (size == 0) return 0;
  auto container = smelt::ReadSafetensors(smelt::fuzz::InMemory(data + 1, size - 1));
  if (!container.ok()) return 0;
  const auto json = smelt::ParseJsonValue(kConfigs[data[0] % std::size(kConfigs)], "config.json");
  smelt::QuantizationConfig config;
  config.dictionary = &*json;
  if (const auto method = config.Text("quant_method")) config.method = *method;
  std::vector<smelt::QuantizedCount> counts;
  std::vector<std::string> notes;
  const absl::Status joined = smelt::JoinQuantized(config, *container, counts, notes);
  if (!joined.ok()) {
    smelt::fuzz::RequireGoodMessage(joined);
    return 0;
  }
  for (const smelt::RawTensor& tensor : container->tensors) {
    if (tensor.computed == nullptr || tensor.elements() == 0) continue;
    const uint64_t columns = tensor.shape.back(), rows = tensor.elements() / columns;
    if (columns > kMost) continue;
    const uint64_t count = std::min(rows, kMost / columns);
    std::vector<float> values(count * columns);
    const absl::Status read = tensor.computed->ReadRows(rows - count, count, values.data());
    if (!read.ok()) smelt::fuzz::RequireGoodMessage(read);
    if (const auto type = tensor.computed->block_type()) {
      std::vector<std::byte> blocks(count * smelt::RowBytes(*type, columns).value());
      const absl::Status whole = tensor.computed->ReadBlocks(rows - count, count, blocks.data());
      if (!whole.ok()) smelt::fuzz::RequireGoodMessage(whole);
    }
  }
  return 0;
}
