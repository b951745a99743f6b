// Low-rank adapters as PEFT saves them, merged into the tensors of their base.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/container.h"
#include "lib/base/json.h"
#include "lib/model/family.h"

namespace smelt {

/// A folder with adapter_config.json and adapter_model.safetensors (or .bin).
struct LoraAdapter {
  std::string path;
  std::string texts;  ///< of the configuration, for identity
  JsonValue config;
  Container container;

  /// base_model_name_or_path; empty: it does not say.
  std::string Base() const;
};

/// kNotFound where the folder is none; kUnsupported names a kind that is not merged.
absl::StatusOr<LoraAdapter> OpenLora(const std::string& path);

/// Merges an adapter, `strength` times as strong as it was trained, into the tensors of its base:
/// low-rank matrices (LoRA, rsLoRA, DoRA, ranks and alphas of single modules), whole tensors that
/// it replaces (modules_to_save, biases, stored bases). `family` knows the base's names.
absl::Status MergeLora(const Family& family, const LoraAdapter& adapter, double strength,
                       Container& base, std::vector<std::string>& notes);

/// The folder that an adapter's base is in: what it names, as a folder beside the adapter or from
/// here, or a model of the hub's cache. Empty: it is nowhere.
std::string FindLoraBase(const LoraAdapter& adapter);

}  // namespace smelt
