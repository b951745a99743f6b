// From published tensors to recipes, one family's rules after another: what the passes over the
// table share. A file for each kind of tensor: family_tensors.cc (which rules apply),
// matrix_tensors.cc, head_tensors.cc, expert_tensors.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/model/family.h"
#include "lib/model/published_tensors.h"

namespace smelt {

class TensorMaker {
 public:
  explicit TensorMaker(FamilyContext& context)
      : context_(context), family_(context.family), container_(context.container) {}

  absl::StatusOr<std::vector<RecipeTensor>> Make();

 private:
  // Of all tensors.
  /// What the files hold outranks `tie_word_embeddings`: an output matrix with values of its own is
  /// used, and one that is stored alone is the embedding too.
  absl::Status SettleTie();
  absl::Status SettleHead();
  absl::Status Apply(const TensorRule& rule, uint64_t layer);
  absl::Status Make(const TensorRule& rule, uint64_t layer, const std::string& target);
  /// A rule of blocks for block `i` of the draft head, which follows the model's.
  absl::Status ApplyToDraft(const TensorRule& rule, uint64_t layers, uint64_t i);
  /// Whether the model has the rule's tensor; of an imagined one, whether it is asked for.
  absl::StatusOr<bool> Applies(const TensorRule& rule, uint64_t layer, const std::string& target);
  bool HasBias(const TensorRule& rule, uint64_t layer) const;
  /// Before anything is done so many times: each would be a tensor of the files.
  absl::Status CheckCount(std::string_view key, uint64_t count) const;
  absl::StatusOr<const RawTensor*> Need(std::string_view sources, uint64_t layer, uint64_t expert,
                                        const std::string& target);
  std::string MissingHint(std::string_view sources, std::string_view name) const;
  absl::Status ExpectShape(const RawTensor& tensor, const std::vector<uint64_t>& shape,
                           const std::string& target, const TensorRule& rule);
  void Add(std::string name, std::vector<uint64_t> ne, Recipe recipe);
  absl::Status KeepNumber(const TensorRule& rule, uint64_t layer, const std::string& key);

  // Of matrices and vectors.
  absl::Status MakePlain(const TensorRule& rule, uint64_t layer, const std::string& target);
  absl::Status MakeBias(const TensorRule& rule, uint64_t layer);
  /// The tensor, or the slices that make it.
  void AddLeaves(const RawTensor& tensor, uint64_t view, bool transposed, Recipe& recipe) const;
  absl::Status AddOperation(TensorOp op, uint64_t rows, Recipe& recipe);
  /// Factors come first, and those of 1 not at all.
  void AddFactors(const TensorRule& rule, Recipe& recipe) const;
  /// Value heads from (key head, j) to (j, key head).
  void MoveValueHeads(TensorOp op, uint64_t rows, Recipe& recipe) const;

  // Of those whose rows or vectors lie by head.
  /// Of each of `groups` of `unit` rows, `count` rows from `first` on.
  struct OfEach {
    uint64_t groups, unit, first, count;
  };
  absl::Status MakeHeadVectors(const TensorRule& rule, uint64_t layer, const std::string& target);
  /// kv_b_proj of multi-head latent attention: for each head rows of keys, then of values. Keys are
  /// turned, so that they work on the query.
  absl::Status MakeLatent(const TensorRule& rule, uint64_t layer, const std::string& target);
  /// A matrix whose rows lie by key head: q, k, and v and z of the value heads that use it.
  absl::Status MakeUnfolded(const TensorRule& rule, uint64_t layer, const std::string& target);
  /// Rows by key head: of the queries that use it, of the key, of the value. Biases lie so too.
  absl::Status MakeGrouped(const TensorRule& rule, uint64_t layer, const std::string& target);
  static void AddOfEach(const RawTensor& tensor, uint64_t columns, const OfEach& part,
                        Recipe& recipe);

  // Of experts.
  absl::StatusOr<uint64_t> Experts() const;
  absl::Status MakeExperts(const TensorRule& rule, uint64_t layer, const std::string& target);
  /// Whether outputs come before inputs in a tensor of experts that are published transposed:
  /// transformers' own saves have them so. If that tensor is square, the other one of the block,
  /// which then is not, tells.
  bool LieUpright(const TensorRule& rule, uint64_t layer, const RawTensor& tensor, uint64_t experts,
                  bool halves);
  absl::Status MakeFusedExperts(const TensorRule& rule, uint64_t layer, const std::string& target);
  absl::Status MakeExpertBias(const TensorRule& rule, uint64_t layer, const std::string& target);

  FamilyContext& context_;
  const Family& family_;
  const Container& container_;
  std::optional<PublishedTensors> published_;
  std::vector<RecipeTensor> made_;
};

}  // namespace smelt
