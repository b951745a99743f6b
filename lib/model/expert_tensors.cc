// Tensors of all experts of a block: stacked of single ones, or cut from what a class holds fused.
#include <algorithm>

#include "formats/computed_matrix.h"
#include "lib/base/status.h"
#include "lib/model/alternatives.h"
#include "lib/model/tensor_maker.h"

namespace smelt {
namespace {

/// Expert `e` of a tensor (experts, ...): the same storage, one dimension less.
RawTensor ExpertOf(const RawTensor& tensor, uint64_t e) {
  RawTensor part = OuterSlice(tensor, e, 1);
  part.shape.erase(part.shape.begin());
  part.strides.erase(part.strides.begin());
  return part;
}

}  // namespace

absl::StatusOr<uint64_t> TensorMaker::Experts() const {
  const uint64_t experts = context_.hyper(Param::kExperts);
  if (context_.hyper.Has(Param::kExpertsUsed) && context_.hyper(Param::kExpertsUsed) > experts) {
    return context_.config.Bad("num_experts_per_tok|experts_per_token",
                               Cat("is ", context_.hyper(Param::kExpertsUsed),
                                   ", but a layer has only ", experts, " experts"));
  }
  return experts;
}

absl::Status TensorMaker::MakeExperts(const TensorRule& rule, uint64_t layer,
                                      const std::string& target) {
  SMELT_ASSIGN_OR_RETURN(const uint64_t experts, Experts());
  const uint64_t rows = context_.hyper(rule.rows), columns = context_.hyper(rule.columns);
  if (!published_->imagined())
    SMELT_RETURN_IF_ERROR(CheckCount("num_local_experts|num_experts", experts));
  std::vector<std::string_view> parts = {rule.source};
  if (rule.op == TensorOp::kPairedExperts) parts = Alternatives(rule.source);
  Recipe recipe;
  for (uint64_t e = 0; e < experts; ++e) {
    for (const std::string_view part : parts) {
      SMELT_ASSIGN_OR_RETURN(const RawTensor* tensor, Need(part, layer, e, target));
      SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, {rows / parts.size(), columns}, target, rule));
      recipe.leaves.push_back(RawLeaf{*tensor, columns, false});
    }
  }
  Add(target, {columns, rows, experts}, std::move(recipe));
  return absl::OkStatus();
}

bool TensorMaker::LieUpright(const TensorRule& rule, uint64_t layer, const RawTensor& tensor,
                             uint64_t experts, bool halves) {
  const uint64_t rows = context_.hyper(rule.rows), columns = context_.hyper(rule.columns);
  const uint64_t stored_rows = halves ? 2 * rows : rows;
  if (stored_rows != columns)
    return tensor.shape == std::vector<uint64_t>{experts, stored_rows, columns};
  constexpr std::string_view kUp = "gate_up_proj", kDown = "down_proj";
  std::string other(rule.source);
  const size_t at = other.rfind(halves ? kUp : kDown);
  if (at == other.npos) return false;
  other.replace(at, (halves ? kUp : kDown).size(), halves ? kDown : kUp);
  const RawTensor* found = published_->Find(other, layer);
  return found != nullptr &&
         found->shape == std::vector<uint64_t>{experts, halves ? columns : 2 * columns, rows};
}

absl::Status TensorMaker::MakeFusedExperts(const TensorRule& rule, uint64_t layer,
                                           const std::string& target) {
  SMELT_ASSIGN_OR_RETURN(const uint64_t experts, Experts());
  const uint64_t rows = context_.hyper(rule.rows), columns = context_.hyper(rule.columns);
  SMELT_ASSIGN_OR_RETURN(const RawTensor* tensor, Need(rule.source, layer, 0, target));
  const bool second =
      rule.op == TensorOp::kFusedExpertsSecond || rule.op == TensorOp::kTransposedExpertsSecond;
  const bool halves = second || rule.op == TensorOp::kFusedExpertsFirst ||
                      rule.op == TensorOp::kTransposedExpertsFirst;
  const bool by_rows = rule.op == TensorOp::kEvenExpertRows || rule.op == TensorOp::kOddExpertRows;
  const bool odd = rule.op == TensorOp::kOddExperts || rule.op == TensorOp::kOddExpertRows;
  const bool interleaved = by_rows || odd || rule.op == TensorOp::kEvenExperts;
  const uint64_t stored_rows = halves || interleaved ? 2 * rows : rows;
  const bool either = rule.op == TensorOp::kTransposedExperts ||
                      rule.op == TensorOp::kTransposedExpertsFirst ||
                      rule.op == TensorOp::kTransposedExpertsSecond;
  const bool upright = either ? LieUpright(rule, layer, *tensor, experts, halves)
                              : halves || by_rows || rule.op == TensorOp::kStackedExperts;
  SMELT_RETURN_IF_ERROR(ExpectShape(*tensor,
                                    upright ? std::vector<uint64_t>{experts, stored_rows, columns}
                                            : std::vector<uint64_t>{experts, columns, stored_rows},
                                    target, rule));
  Recipe recipe;
  for (uint64_t e = 0; e < experts; ++e)
    recipe.leaves.push_back(RawLeaf{ExpertOf(*tensor, e), columns, !upright});
  if (interleaved) {
    recipe.rows.push_back(SliceRows{odd ? 1u : 0u, 2, experts * rows});
  } else if (halves) {
    // (experts, 2, rows) with the halves outermost, then one of them.
    recipe.rows.push_back(SwapRows{1, experts, 2, rows});
    recipe.rows.push_back(SliceRows{second ? experts * rows : 0, 1, experts * rows});
  }
  Add(target, {columns, rows, experts}, std::move(recipe));
  return absl::OkStatus();
}

absl::Status TensorMaker::MakeExpertBias(const TensorRule& rule, uint64_t layer,
                                         const std::string& target) {
  const uint64_t rows = context_.hyper(rule.rows), experts = context_.hyper(Param::kExperts);
  SMELT_ASSIGN_OR_RETURN(const RawTensor* tensor, Need(rule.source, layer, 0, target));
  const bool whole = rule.op == TensorOp::kExpertBias;
  SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, {experts, whole ? rows : 2 * rows}, target, rule));
  Recipe recipe;
  recipe.leaves.push_back(RawLeaf{*tensor, whole ? rows : 1, false});
  if (!whole)
    recipe.rows.push_back(SliceRows{rule.op == TensorOp::kOddBias ? 1u : 0u, 2, experts * rows});
  Add(target, {rows, experts}, std::move(recipe));
  return absl::OkStatus();
}

}  // namespace smelt
