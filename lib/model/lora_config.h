// adapter_config.json as PEFT reads it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/json.h"
#include "quant/name_pattern.h"

namespace smelt {

class LoraConfig {
 public:
  static constexpr std::string_view kFile = "adapter_config.json";

  /// `path` of the adapter is for messages. kUnsupported names a method that is not merged.
  static absl::StatusOr<LoraConfig> Parse(std::string_view text, std::string path);

  /// base_model_name_or_path; empty: it does not say.
  std::string Base() const;
  /// lora_alpha, where no pattern says otherwise.
  absl::StatusOr<double> Alpha() const;
  /// What the product of a module's matrices is multiplied by: alpha over the rank, or over its
  /// root. `module` is a name of the files, `rank` that of its matrices, which must be as said.
  absl::StatusOr<double> Scale(std::string_view module, uint64_t rank);
  bool use_dora() const { return IsOn("use_dora"); }
  bool ensure_weight_tying() const { return IsOn("ensure_weight_tying"); }
  /// Rows of a module's weight that are trained (trainable_token_indices).
  absl::StatusOr<std::vector<uint64_t>> TokenIndices(std::string_view module) const;
  /// Parameters that are adapted without a module of their own ("mlp.experts.gate_up_proj").
  std::vector<std::string> TargetParameters() const;
  /// Keys of rank_pattern and alpha_pattern that decided nothing that Scale was asked about.
  std::vector<std::string> UnusedPatterns() const;

 private:
  /// A member of rank_pattern or alpha_pattern.
  struct Pattern {
    std::string key;
    NamePattern names;
    double value = 0;
    bool used = false;
  };

  LoraConfig(JsonValue value, std::string path)
      : value_(std::move(value)), path_(std::move(path)) {}
  bool IsOn(std::string_view key) const;
  absl::Status CheckMethod() const;
  absl::StatusOr<std::vector<Pattern>> ReadPatterns(std::string_view member) const;
  absl::StatusOr<std::optional<double>> NumberAt(std::string_view key) const;
  absl::StatusOr<double> Checked(std::optional<double> alpha) const;
  absl::Status Bad(std::string_view key, std::string_view text, std::string_view what) const;
  /// The number of the first pattern that has the module, else what `key` says, else nothing.
  absl::StatusOr<std::optional<double>> Number(std::vector<Pattern>& patterns, std::string_view key,
                                               std::string_view module);

  JsonValue value_;
  std::string path_;
  std::vector<Pattern> ranks_, alphas_;
};

}  // namespace smelt
