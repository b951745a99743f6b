// Low-rank adapters as PEFT saves them: what a folder holds, and where its base is.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/container.h"
#include "lib/model/left_out.h"
#include "lib/model/lora_config.h"

namespace smelt {

/// A folder with adapter_config.json and adapter_model.safetensors (or .bin).
struct LoraAdapter {
  std::string path;
  std::string texts;  ///< of the configuration, for identity
  LoraConfig config;
  Container container;
};

/// kNotFound where the folder is none; kUnsupported names a kind that is not merged.
absl::StatusOr<LoraAdapter> OpenLora(const std::string& path);

/// What was trained of one module.
struct LoraModule {
  const RawTensor *a = nullptr, *b = nullptr;
  const RawTensor* lengths = nullptr;  ///< DoRA's
  const RawTensor* bias = nullptr;     ///< of lora_B
  const RawTensor* tokens = nullptr;   ///< rows of some tokens
  bool embedding = false;              ///< a and b are of an embedding, which lies inputs first

  bool low_rank() const { return a != nullptr || b != nullptr; }
};

/// The tensors of an adapter by what they are. It must outlive this.
struct LoraParts {
  std::map<std::string, LoraModule> modules;  ///< by name, as the files have it
  std::vector<const RawTensor*> whole;        ///< tensors that take the place of the base's
  LeftOut left_out;                           ///< of parts that are not read: vision, audio
};

/// Whether a tensor that an adapter holds beside its matrices is the base's own weight, saved along
/// (of an embedding). Biases are saved where they were trained.
bool IsCopyOfBase(const RawTensor& tensor);

/// Every tensor of the adapter in its place. Errors name what is of no known kind, matrices without
/// their partner, and an adapter of which nothing is for the text part.
absl::StatusOr<LoraParts> ReadLoraParts(const LoraAdapter& adapter);

/// The adapter of a checkpoint that was saved with it unmerged (base_layer.weight beside
/// lora_A.default.weight), taken out of `container`; nothing: it has none. `folder` must say what
/// the matrices are multiplied by (adapter_config.json).
absl::StatusOr<std::optional<LoraAdapter>> TakeUnmerged(const std::string& folder,
                                                        Container& container);

/// The folder that an adapter's base is in: what it names, as a folder beside the adapter or from
/// here, or a model of the hub's cache. Empty: it is nowhere.
std::string FindLoraBase(const LoraAdapter& adapter);

}  // namespace smelt
