// What a model in a store is besides its weights: template, system prompt, licences, parameters,
// example messages; from a Modelfile into layers.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/ollama/manifest.h"
#include "formats/ollama/modelfile.h"
#include "formats/ollama/parameters.h"
#include "formats/ollama/store_writer.h"

namespace smelt::ollama {

struct ModelSettings {
  std::string template_text, system;  ///< empty: not given
  std::vector<std::string> licenses;
  std::vector<std::pair<std::string, std::string>> parameters;  ///< name, value; in their order
  std::vector<Message> messages;
  std::string renderer, parser;   ///< names of what is built into Ollama; empty: not given
  std::string least_ollama = "";  ///< "0.14.0"; empty: any

  /// What the lines say; of those that can be given once, the last. FROM and ADAPTER are the
  /// caller's. Errors name the line.
  static absl::StatusOr<ModelSettings> Of(std::span<const ModelfileLine> lines,
                                          std::string_view file);
};

/// The layers of a model derived from one with the layers `inherited`: what `settings` gives
/// replaces what is there, licences are added, parameters are merged. New ones go into the store;
/// `added` receives their blobs.
absl::StatusOr<std::vector<Layer>> AddSettings(const ModelSettings& settings,
                                               std::vector<Layer> inherited, StoreWriter& writer,
                                               std::vector<AddedBlob>& added);

}  // namespace smelt::ollama
