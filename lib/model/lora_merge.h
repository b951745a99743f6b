// Adapters merged into the published tensors of their base.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/container.h"
#include "lib/model/family.h"
#include "lib/model/left_out.h"
#include "lib/model/lora.h"
#include "lib/model/merged_rows.h"

namespace smelt {

/// What came of it.
struct LoraMerged {
  uint64_t matrices = 0;       ///< that something was added to
  uint64_t whole = 0;          ///< tensors that are the adapter's own
  uint64_t low = 0, high = 0;  ///< the least rank and the greatest
  uint64_t token_rows = 0;     ///< rows of tokens that are the adapter's own
  /// Rows of the embedding, where the adapter's own has others than the base's; else 0.
  uint64_t vocabulary_rows = 0;
  /// Low-rank matrices change one end of a base whose output matrix is its embedding, or each end
  /// in its own way.
  bool parted = false;
  LeftOut left_out;  ///< what the adapter has for vision or audio

  /// "what it has for vision or audio is left out: visual.blocks.0..."; of `left_out` that is any.
  std::string LeftOutText() const;
  /// "merged into 14 matrices (rank 4 to 8), half as strong; 2 tensors are its own".
  std::string ToText(double strength) const;
};

/// Merges an adapter, `strength` times as strong as it was trained, into the tensors of its base:
/// low-rank matrices (LoRA, rsLoRA, DoRA, ranks and alphas of single modules, experts together or
/// one by one, biases of lora_B), rows of single tokens, whole tensors that it replaces
/// (modules_to_save, biases, stored bases). `family` knows the base's names; `tied`: the base's
/// output matrix is its embedding, unless it is stored with other values.
absl::StatusOr<LoraMerged> MergeLora(const Family& family, bool tied, LoraAdapter& adapter,
                                     double strength, Container& base);

/// The rows of single tokens that were trained of a module. kInvalidInput where `rows` has not one
/// for each token that the configuration lists.
absl::StatusOr<ReplacedRows> TokenRowsOf(const LoraAdapter& adapter, const std::string& module,
                                         const RawTensor& rows);

/// LowRank of the matrices of a module. `turned`: the tensor lies inputs first. kUnsupported for
/// what is no matrix.
absl::StatusOr<LowRank> ProductOf(const RawTensor& a, const RawTensor& b, bool turned,
                                  double scale);

/// The matrices of one expert of several that PEFT adapts together: of A (experts x rank, inputs)
/// rows that lie together, of B (outputs, rank x experts) every `experts`th column.
RawTensor ExpertA(const RawTensor& a, uint64_t experts, uint64_t expert);
RawTensor ExpertB(const RawTensor& b, uint64_t experts, uint64_t expert);

}  // namespace smelt
