// general.*: what a model is called, by whom, under which licence, and how its makers sample from
// it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/base/json.h"
#include "lib/base/metadata.h"
#include "lib/model/names.h"

namespace smelt {

struct GeneralInputs {
  std::string architecture;
  std::string folder;                   ///< name of the folder, or ORG/NAME of a hub cache's
  std::string config_name;              ///< `_name_or_path` of config.json
  std::optional<JsonValue> card;        ///< front matter of README.md
  std::optional<JsonValue> generation;  ///< generation_config.json
  bool states_repetition = false;       ///< a penalty for repetition is among the sampling's keys
  SizeCounts sizes;
};

/// architecture, type, sampling, authorship, in the order of llama.cpp's converter. Values of a
/// wrong kind are skipped with a warning.
void WriteGeneral(const GeneralInputs& inputs, Metadata& out, std::vector<std::string>& warnings);

/// "ORG/NAME" when `path` is a snapshot of a hub cache (models--ORG--NAME/snapshots/COMMIT), else
/// the folder's own name.
std::string ModelFolderName(const std::string& path);

}  // namespace smelt
