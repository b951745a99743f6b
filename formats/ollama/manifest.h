// The two JSON texts of a model in an Ollama store, byte for byte as Go's encoder writes them, and
// their reader.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/gguf.h"

namespace smelt::ollama {

// Media types of layers.
inline constexpr std::string_view kModelLayer = "application/vnd.ollama.image.model";
inline constexpr std::string_view kAdapterLayer = "application/vnd.ollama.image.adapter";
inline constexpr std::string_view kProjectorLayer = "application/vnd.ollama.image.projector";
inline constexpr std::string_view kTemplateLayer = "application/vnd.ollama.image.template";
inline constexpr std::string_view kPromptLayer = "application/vnd.ollama.image.prompt";  ///< old
inline constexpr std::string_view kSystemLayer = "application/vnd.ollama.image.system";
inline constexpr std::string_view kLicenseLayer = "application/vnd.ollama.image.license";
inline constexpr std::string_view kParamsLayer = "application/vnd.ollama.image.params";
inline constexpr std::string_view kMessagesLayer = "application/vnd.ollama.image.messages";
inline constexpr std::string_view kConfigType = "application/vnd.docker.container.image.v1+json";

inline constexpr std::string_view kTensorLayer = "application/vnd.ollama.image.tensor";

struct Layer {
  std::string media_type;
  std::string digest;  ///< "sha256:" and 64 lower-case digits
  uint64_t size = 0;
  std::string from;  ///< left out when empty
};

struct Manifest {
  Layer config;  ///< digest empty when the manifest has none
  std::vector<Layer> layers;
};

/// What a configuration blob says of a model.
struct Config {
  std::string format = "gguf";                 ///< model_format
  std::string family;                          ///< general.architecture
  std::string parameters;                      ///< ParameterText
  std::string file_type;                       ///< "Q4_K_M", "unknown"
  std::string renderer, parser, least_ollama;  ///< left out when empty
  size_t adapters = 0;                         ///< layers of that kind
  std::vector<std::string> layers;             ///< digests of all layers, in their order
};

/// From the file's keys and tensors, as Ollama derives them.
absl::StatusOr<Config> ConfigOf(const GgufFile& file);

/// renderer, parser and least_ollama of a configuration that somebody wrote; the rest is the
/// file's.
absl::StatusOr<Config> ReadConfig(std::string_view text, std::string_view file);

/// One line with a line feed at the end.
std::string WriteConfig(const Config& config);
std::string WriteManifest(const Manifest& manifest);

/// Reads what any version or registry wrote: any spacing, key order and unknown keys, anything
/// after the first JSON value.
absl::StatusOr<Manifest> ReadManifest(std::string_view text, std::string_view file);

/// The file name of a digest ("sha256-..."); empty when the digest is none (accepts "sha256-" too,
/// as Ollama does).
std::string BlobName(std::string_view digest);

/// A string literal as Go's encoding/json writes it (HTML-escaped).
std::string GoJsonString(std::string_view text);

}  // namespace smelt::ollama
