// Tensors whose rows lie by head: latent attention, gated delta nets, one matrix of queries, keys
// and values by key head, a vector for each head.
#include <algorithm>

#include "formats/computed_matrix.h"
#include "lib/base/status.h"
#include "lib/model/tensor_maker.h"

namespace smelt {

absl::Status TensorMaker::MakeHeadVectors(const TensorRule& rule, uint64_t layer,
                                          const std::string& target) {
  const uint64_t heads = context_.hyper(rule.rows), size = context_.hyper(rule.columns);
  Recipe recipe;
  for (uint64_t head = 0; head < std::min<uint64_t>(heads, container_.tensors.size() + 1); ++head) {
    SMELT_ASSIGN_OR_RETURN(const RawTensor* tensor, Need(rule.source, layer, head, target));
    SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, {size}, target, rule));
    recipe.leaves.push_back(RawLeaf{*tensor, size, false});
  }
  Add(target, {size, heads}, std::move(recipe));
  return absl::OkStatus();
}

absl::Status TensorMaker::MakeLatent(const TensorRule& rule, uint64_t layer,
                                     const std::string& target) {
  const Hyper& h = context_.hyper;
  const uint64_t heads = h(Param::kHeads), keys = h(Param::kPlainSize),
                 values = h(Param::kValueSize), rank = h(Param::kKvRank);
  SMELT_ASSIGN_OR_RETURN(const RawTensor* tensor, Need(rule.source, layer, 0, target));
  const bool of_heads =
      rule.op == TensorOp::kLatentKeysOfHeads || rule.op == TensorOp::kLatentValuesOfHeads;
  const bool of_keys = rule.op == TensorOp::kLatentKeys || rule.op == TensorOp::kLatentKeysOfHeads;
  Recipe recipe;
  if (of_heads) {
    SMELT_RETURN_IF_ERROR(ExpectShape(*tensor,
                                      of_keys ? std::vector<uint64_t>{heads, rank, keys}
                                              : std::vector<uint64_t>{heads, values, rank},
                                      target, rule));
    recipe.leaves.push_back(RawLeaf{*tensor, of_keys ? keys : rank, false});
  } else {
    SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, {heads * (keys + values), rank}, target, rule));
    for (uint64_t head = 0; head < heads; ++head) {
      RawTensor part = OuterSlice(*tensor, head * (keys + values) + (of_keys ? 0 : keys),
                                  of_keys ? keys : values);
      recipe.leaves.push_back(RawLeaf{std::move(part), of_keys ? keys : rank, of_keys});
    }
  }
  Add(target,
      of_keys ? std::vector<uint64_t>{keys, rank, heads}
              : std::vector<uint64_t>{rank, values, heads},
      std::move(recipe));
  return absl::OkStatus();
}

absl::Status TensorMaker::MakeUnfolded(const TensorRule& rule, uint64_t layer,
                                       const std::string& target) {
  const Hyper& h = context_.hyper;
  SMELT_ASSIGN_OR_RETURN(const RawTensor* tensor, Need(rule.source, layer, 0, target));
  const uint64_t columns = h(rule.columns), heads = h(Param::kKeyHeads);
  SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, {h(Param::kInRows), columns}, target, rule));
  const uint64_t key = h(Param::kKeySize), values = h(Param::kInner) / heads;
  const uint64_t unit = 2 * (key + values);
  Recipe recipe;
  uint64_t rows = 0;
  const auto add = [&](uint64_t first, uint64_t count) {
    AddOfEach(*tensor, columns, {heads, unit, first, count}, recipe);
    rows += heads * count;
  };
  if (rule.op == TensorOp::kUnfoldGate) {
    add(2 * key + values, values);
  } else {
    add(0, key);
    add(key, key);
    add(2 * key, values);
  }
  Add(target, {columns, rows}, std::move(recipe));
  return absl::OkStatus();
}

void TensorMaker::AddOfEach(const RawTensor& tensor, uint64_t columns, const OfEach& part,
                            Recipe& recipe) {
  for (uint64_t group = 0; group < part.groups; ++group) {
    recipe.leaves.push_back(
        RawLeaf{OuterSlice(tensor, group * part.unit + part.first, part.count), columns, false});
  }
}

absl::Status TensorMaker::MakeGrouped(const TensorRule& rule, uint64_t layer,
                                      const std::string& target) {
  const Hyper& h = context_.hyper;
  const uint64_t heads = h(Param::kKvHeads), size = h(Param::kHeadDim),
                 queries = h(Param::kHeads) / heads * size;
  OfEach part{heads, queries + 2 * size, queries, size};
  TensorOp order = TensorOp::kRotaryK;
  if (rule.op == TensorOp::kGroupedRotaryQ) {
    part.first = 0;
    part.count = queries;
    order = TensorOp::kRotaryQ;
  } else if (rule.op == TensorOp::kGroupedV) {
    part.first += size;
    order = TensorOp::kCopy;
  }
  const uint64_t rows = heads * part.count, columns = h(rule.columns);
  const auto add = [&](std::string_view source, const std::string& name,
                       std::vector<uint64_t> shape) -> absl::Status {
    SMELT_ASSIGN_OR_RETURN(const RawTensor* tensor, Need(source, layer, 0, name));
    SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, shape, name, rule));
    Recipe recipe;
    const bool vector = shape.size() == 1;
    AddOfEach(*tensor, vector ? 1 : columns, part, recipe);
    SMELT_RETURN_IF_ERROR(AddOperation(order, rows, recipe));
    Add(name, vector ? std::vector<uint64_t>{rows} : std::vector<uint64_t>{columns, rows},
        std::move(recipe));
    return absl::OkStatus();
  };
  SMELT_RETURN_IF_ERROR(add(rule.source, target, {h(rule.rows), columns}));
  if (!h.flag(rule.bias)) return absl::OkStatus();
  return add(BiasOf(rule.source), BiasOf(target), {h(rule.rows)});
}

}  // namespace smelt
