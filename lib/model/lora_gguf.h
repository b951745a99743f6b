// Adapters by the tensors of a GGUF: those that llama.cpp's files hold, and PEFT's as they go into
// a model that was converted already.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/gguf.h"
#include "lib/model/family.h"
#include "lib/model/lora.h"
#include "lib/model/lora_merge.h"
#include "lib/model/merged_rows.h"
#include "lib/model/model_source.h"
#include "lib/model/published_names.h"

namespace smelt {

/// What an adapter does to one tensor of a GGUF.
struct GgufChange {
  std::optional<RecipeMatrix> whole;  ///< takes its place
  bool copy = false;                  ///< which is the base's own, saved along
  TensorChange change;
};

struct GgufLora {
  std::map<std::string, GgufChange> changes;  ///< by the tensor's name
  LoraMerged merged;
  bool ties = false;  ///< what changes the embedding changes an output matrix that is the same, too
  std::string identity;
};

/// Whether a file is an adapter as llama.cpp's convert_lora_to_gguf writes it.
bool IsGgufLora(const GgufFile& file);

/// Such a file. Its matrices count alpha over their rank, as llama.cpp has it; without an alpha
/// they count as they are. kUnsupported where it is of another architecture than `base`.
absl::StatusOr<GgufLora> ReadGgufLora(const GgufFile& file, double strength,
                                      const ModelSource& base);

/// PEFT's adapter for the tensors that `context` makes of published ones: every step that a
/// published tensor takes (rows in another order, experts stacked, halves) its change takes too.
absl::StatusOr<GgufLora> ToGgufLora(const PublishedNames& names, FamilyContext& context,
                                    LoraAdapter& adapter, double strength);

/// PEFT's adapter for a GGUF, of one of the families of its architecture.
absl::StatusOr<GgufLora> ToGgufLora(LoraAdapter& adapter, double strength, const ModelSource& base);

}  // namespace smelt
