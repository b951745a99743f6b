// Matrices and vectors of one published tensor: whole, halved, permuted, scaled.
#include <algorithm>

#include "lib/base/status.h"
#include "lib/model/tensor_maker.h"

namespace smelt {

void TensorMaker::AddLeaves(const RawTensor& tensor, uint64_t view, bool transposed,
                            Recipe& recipe) const {
  if (context_.sliced != nullptr) {
    const auto it = context_.sliced->find(tensor.name);
    if (it != context_.sliced->end()) {
      const std::vector<RawTensor>& parts = it->second.parts;
      const uint64_t columns = it->second.by_columns ? view / parts.size() : view;
      for (const RawTensor& part : parts) recipe.leaves.push_back(RawLeaf{part, columns, false});
      if (it->second.by_columns) recipe.across = parts.size();
      return;
    }
  }
  recipe.leaves.push_back(RawLeaf{tensor, view, transposed});
}

absl::Status TensorMaker::MakePlain(const TensorRule& rule, uint64_t layer,
                                    const std::string& target) {
  SMELT_ASSIGN_OR_RETURN(const RawTensor* tensor, Need(rule.source, layer, 0, target));
  const uint64_t rows = context_.hyper(rule.rows),
                 columns = rule.columns == Param::kNone ? 0 : context_.hyper(rule.columns);
  const bool vector = rule.columns == Param::kNone;
  const bool flat = rule.op == TensorOp::kFlat || rule.op == TensorOp::kFlatNegativeExp;
  if (flat) {
    SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, {rows * columns}, target, rule));
  } else if (vector) {
    SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, {rows}, target, rule));
  } else if (rule.op == TensorOp::kConv || rule.op == TensorOp::kConvLastValueHeads) {
    SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, {rows, 1, columns}, target, rule));
  } else if (rule.op == TensorOp::kTranspose) {
    SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, {columns, rows}, target, rule));
  } else if (rule.op == TensorOp::kFirstRows || rule.op == TensorOp::kSecondRows) {
    SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, {2 * rows, columns}, target, rule));
  } else {
    SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, {rows, columns}, target, rule));
  }
  uint64_t kept = rows;
  if (family_.rows_by_vocabulary && rule.rows == Param::kVocab &&
      context_.hyper.Has(Param::kVocabularyRows)) {
    kept = std::min(rows, context_.hyper(Param::kVocabularyRows));
  }
  Recipe recipe;
  const bool permuted = rule.op == TensorOp::kRotaryQ || rule.op == TensorOp::kRotaryK ||
                        rule.op == TensorOp::kHeadMajor || rule.op == TensorOp::kValueHeads ||
                        rule.op == TensorOp::kValueHeadsNegativeExp;
  const uint64_t view = vector ? (permuted ? 1 : rows) : columns;
  AddLeaves(*tensor, view, rule.op == TensorOp::kTranspose, recipe);
  if (kept != rows) recipe.rows.push_back(SliceRows{0, 1, kept});
  SMELT_RETURN_IF_ERROR(AddOperation(rule.op, rows, recipe));
  AddFactors(rule, recipe);
  const uint64_t result = kept;
  Add(target, vector ? std::vector<uint64_t>{result} : std::vector<uint64_t>{columns, result},
      std::move(recipe));
  return HasBias(rule, layer) ? MakeBias(rule, layer) : absl::OkStatus();
}

absl::Status TensorMaker::AddOperation(TensorOp op, uint64_t rows, Recipe& recipe) {
  const Hyper& h = context_.hyper;
  if (op == TensorOp::kRotaryQ || op == TensorOp::kRotaryK) {
    const uint64_t heads =
        op == TensorOp::kRotaryQ || !h.Has(Param::kKvHeads) ? h(Param::kHeads) : h(Param::kKvHeads);
    const uint64_t size = rows / heads,
                   rotated = h.Has(Param::kRopeDims) ? h(Param::kRopeDims) : size;
    if (rotated % 2 != 0 || rotated > size)
      return context_.config.Bad("head_dim", "is odd, which half-split rotary rows cannot be");
    recipe.rows.push_back(SwapRows{heads, 2, rotated / 2, 1, size - rotated});
  } else if (op == TensorOp::kHeadMajor) {
    recipe.rows.push_back(SwapRows{1, h(Param::kHeads), 3, h(Param::kHeadDim)});
  } else if (op == TensorOp::kFirstRows || op == TensorOp::kSecondRows) {
    recipe.rows.push_back(SliceRows{op == TensorOp::kFirstRows ? 0 : rows, 1, rows});
  } else if (op == TensorOp::kSections) {
    recipe.elements.push_back(ScaleRows{context_.sections});
  } else if (op == TensorOp::kAddOne) {
    recipe.elements.push_back(AddConstant{1});
  } else if (op == TensorOp::kNegativeExp || op == TensorOp::kFlatNegativeExp) {
    recipe.elements.push_back(NegativeExp{});
  } else {
    MoveValueHeads(op, rows, recipe);
  }
  return absl::OkStatus();
}

void TensorMaker::AddFactors(const TensorRule& rule, Recipe& recipe) const {
  std::vector<ElementOp> factors;
  for (Param param : rule.factors) {
    if (param != Param::kNone && context_.hyper.real(param) != 1)
      factors.push_back(ScaleRows{{{0, context_.hyper.real(param)}}});
  }
  recipe.elements.insert(recipe.elements.begin(), factors.begin(), factors.end());
}

void TensorMaker::MoveValueHeads(TensorOp op, uint64_t rows, Recipe& recipe) const {
  const Hyper& h = context_.hyper;
  const uint64_t heads = h(Param::kValueHeads), keys = h(Param::kKeyHeads);
  const auto moved = [&](uint64_t unit, uint64_t first) {
    return SwapRows{
        .groups = 1, .outer = keys, .inner = heads / keys, .unit = unit, .first = first};
  };
  if (op == TensorOp::kValueHeads || op == TensorOp::kValueHeadsNegativeExp)
    recipe.rows.push_back(moved(rows / heads, 0));
  if (op == TensorOp::kValueHeadsNegativeExp) recipe.elements.push_back(NegativeExp{});
  const uint64_t size = h(Param::kValueSize);
  if (op == TensorOp::kValueHeadColumns) recipe.columns = moved(size, 0);
  if (op == TensorOp::kLastValueHeads || op == TensorOp::kConvLastValueHeads)
    recipe.rows.push_back(moved(size, rows - heads * size));
}

absl::Status TensorMaker::MakeBias(const TensorRule& rule, uint64_t layer) {
  const std::string sources = BiasesOf(rule.source);
  const std::string target = BiasOf(FilledName(rule.target, layer));
  const uint64_t rows = context_.hyper(rule.rows);
  SMELT_ASSIGN_OR_RETURN(const RawTensor* tensor, Need(sources, layer, 0, target));
  SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, {rows}, target, rule));
  Recipe recipe;
  const bool permuted = rule.op == TensorOp::kRotaryQ || rule.op == TensorOp::kRotaryK ||
                        rule.op == TensorOp::kHeadMajor;
  recipe.leaves.push_back(RawLeaf{*tensor, permuted ? 1 : rows, false});
  if (permuted) SMELT_RETURN_IF_ERROR(AddOperation(rule.op, rows, recipe));
  Add(target, {rows}, std::move(recipe));
  return absl::OkStatus();
}

}  // namespace smelt
