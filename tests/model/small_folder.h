// Small model folders with counted weights, for tests of what is read and how it is moved.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/model/open.h"

namespace smelt::testing {

struct FolderTensor {
  std::vector<uint64_t> shape;
  std::vector<float> values;
  std::string dtype = "F32";  ///< as safetensors spells it: F32, F16, BF16, or an integer type
};
using FolderTensors = std::map<std::string, FolderTensor>;

/// Values that tell every place apart.
FolderTensor Counting(std::vector<uint64_t> shape, float start);

/// config.json and one safetensors file.
void WriteFolder(const std::string& folder, const std::string& config,
                 const FolderTensors& tensors);

/// Opens the folder as one without a tokenizer.
absl::StatusOr<OpenedModel> OpenFolder(const std::string& folder);

/// All values of a tensor, which must be there.
std::vector<float> ReadTensor(const ModelSource& source, const std::string& name);

/// A decoder of Llama's names: width 8, 2 heads of 4, feed-forward 6, vocabulary 10.
FolderTensors LlamaTensors(uint64_t layers, bool lm_head);

/// What config.json says of it with two layers, without braces.
inline constexpr const char* kLlamaConfig =
    R"("hidden_size":8,"num_hidden_layers":2,"num_attention_heads":2,"num_key_value_heads":2,"intermediate_size":6,)"
    R"("vocab_size":10,"max_position_embeddings":64,"rms_norm_eps":1e-5,"tie_word_embeddings":false)";

/// A config.json that says `more` (members with a comma behind each) and kLlamaConfig.
std::string LlamaConfig(std::string_view more);

/// Whether one of the sentences holds the part.
bool Says(const std::vector<std::string>& sentences, std::string_view part);

/// Fails unless the folder was refused by one short sentence that holds all parts.
void ExpectRefused(const absl::StatusOr<OpenedModel>& opened,
                   const std::vector<std::string_view>& parts);

}  // namespace smelt::testing
