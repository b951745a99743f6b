// Which files of a folder belong together as the parts of one model, by their names alone.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace smelt {

/// Files of weights that are one model's: a single file, or parts that are numbered alike:
/// model-00001-of-00003.safetensors, hf_model_0001_0.pt, model_world_size_2_rank_0.pt.
struct WeightSet {
  std::vector<std::string> files;  ///< in the order of their numbers
  uint64_t total = 0;              ///< of the parts, where the names say it; else 0
  bool ranks = false;              ///< numbered as ranks: each may hold a slice of every tensor
  std::string missing;             ///< what the names promise and is not there; empty: complete
  bool joined = false;             ///< of names that have nothing in common, by their content

  bool complete() const { return missing.empty(); }
  /// "model.pt", "the 3 parts model-00001-of-00003.safetensors to model-00003-...", escaped.
  std::string Describe() const;
};

/// Whether a name with a checkpoint's ending is something else that training leaves: optimizer
/// states, schedules, adapters, hidden files.
bool IsNoWeights(std::string_view name);

/// Ending in any letter case: ".bin" of "MODEL.BIN".
bool HasEnding(std::string_view name, std::string_view ending);

/// `names` as sets, in the order of their first names. Names with a total ("of-00003",
/// "world_size_2") make a set each; others do when a single number in them counts from 0 or 1
/// without a gap.
std::vector<WeightSet> FindWeightSets(const std::vector<std::string>& names);

/// The set that is the model when there is nothing else to go by: the only one, or the only one of
/// several parts that are all there. nullptr: nothing tells.
const WeightSet* TheModel(const std::vector<WeightSet>& sets);

}  // namespace smelt
