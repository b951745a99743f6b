// Names: what a model's id says about it, titles, size labels. The rules are those of llama.cpp's
// converter.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "lib/model/recipe_source.h"

namespace smelt {

/// Parts of "ORG/Name-7B-Instruct-v0.1"; empty = the id does not say.
struct NameParts {
  std::string full_name, organization, basename, finetune, version, size_label;
};

/// `parameters`: elements of all tensors, 0 = unknown (then every label counts as a size).
NameParts ParseModelId(std::string_view id, uint64_t parameters);

/// "some-name v1.2" -> "Some Name v1.2".
std::string TitleOf(std::string_view id);

/// Counts that a size label is made of.
struct SizeCounts {
  uint64_t total = 0, shared = 0, per_expert = 0, experts = 0;
};
SizeCounts CountSizes(std::span<const RecipeTensor> tensors);
/// "1.2B"; "8x7.2B" when there are experts.
std::string SizeLabel(const SizeCounts& counts);

}  // namespace smelt
