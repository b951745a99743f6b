// Text from a model.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "smelt/export.h"
#include "smelt/observer.h"

namespace smelt {

struct GenerateOptions {
  std::string model;
  std::string prompt;
  std::vector<int32_t> prompt_ids;  ///< taken as they are, instead of `prompt`
  bool use_prompt_ids = false;
  int64_t max_tokens = 128;
  double temperature = 0.8, top_p = 0.95, min_p = 0.05, repeat_penalty = 1.0;
  int top_k = 40;
  uint64_t seed = 0;
  bool ignore_eos = false;
  bool f32_activations = false;
  std::function<void(std::string_view)> on_text;  ///< pieces as they become complete characters
};

struct GenerateResult {
  std::vector<int32_t> prompt_ids, ids;
  std::string text;
  double prompt_tokens_per_second = 0, tokens_per_second = 0;
};

SMELT_EXPORT absl::StatusOr<GenerateResult> Generate(const GenerateOptions& options,
                                                     const Observer& observer = {});

}  // namespace smelt
