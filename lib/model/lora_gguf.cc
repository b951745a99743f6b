#include "lib/model/lora_gguf.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "formats/computed_matrix.h"
#include "lib/base/status.h"
#include "lib/model/imagined_model.h"
#include "lib/model/lora_asked.h"
#include "lib/model/published_names.h"
#include "lib/model/published_tensors.h"

namespace smelt {
namespace {

/// Element operations that a change takes too: those that only multiply.
bool OnlyScales(const Recipe& recipe) {
  return std::ranges::all_of(
      recipe.elements, [](const ElementOp& op) { return std::holds_alternative<ScaleRows>(op); });
}

/// Elements of the whole tensor before a leaf's part of it.
uint64_t FirstElement(const RawTensor& leaf) { return leaf.offset * 8 / BitsOf(leaf.dtype); }

class Mover {
 public:
  Mover(LoraAdapter& adapter, const AskedTensors& asked, double strength)
      : adapter_(adapter), asked_(asked), strength_(strength) {}

  absl::Status Move(const RecipeTensor& tensor) {
    const std::vector<Leaf>& leaves = tensor.recipe.leaves;
    if (std::ranges::any_of(leaves, [](const Leaf& l) { return l.index() != 0; }))
      return absl::OkStatus();  // generated
    const std::string& source = LeafOf(tensor, 0).tensor.name;
    if (asked_.whole.contains(source)) SMELT_RETURN_IF_ERROR(MoveWhole(tensor));
    if (asked_.biases.contains(source)) return MoveBias(tensor, source);
    const bool adapted = std::ranges::any_of(leaves, [&](const Leaf& leaf) {
      return asked_.modules.contains(std::get<RawLeaf>(leaf).tensor.name);
    });
    if (!adapted) return absl::OkStatus();
    if (tensor.shape.dims == 3) return MoveExperts(tensor);
    return asked_.modules.contains(source) ? MoveMatrix(tensor, source) : CannotFollow(tensor);
  }

  GgufLora&& Take() && { return std::move(out_); }
  bool IsUsed(const std::string& bare) const { return used_.contains(bare); }

 private:
  static const RawLeaf& LeafOf(const RecipeTensor& tensor, size_t i) {
    return std::get<RawLeaf>(tensor.recipe.leaves[i]);
  }

  absl::Status CannotFollow(const RecipeTensor& tensor) const {
    return Error(ErrorCode::kUnsupported, "tensor ", tensor.name, " is made of ",
                 Escape(LeafOf(tensor, 0).tensor.name, 100),
                 " in a way that an adapter's matrices cannot follow; merge the adapter ",
                 Escape(adapter_.path, 80), " into the published folder");
  }

  absl::Status DoesNotFit(const RecipeTensor& tensor, const RawTensor& own) const {
    const bool tokens = own.shape.size() == 2 && own.shape[1] == tensor.shape.columns() &&
                        (tensor.name == "token_embd.weight" || tensor.name == "output.weight");
    if (tokens) {
      return Error(ErrorCode::kUnsupported, "tensor ", Escape(own.name, 120), " has ", own.shape[0],
                   " rows, and ", tensor.name, " has ", tensor.shape.rows(),
                   ": an adapter with added tokens needs their vocabulary; merge it into the "
                   "published folder (convert BASE --lora ADAPTER)");
    }
    return Error(ErrorCode::kInvalidInput, "tensor ", Escape(own.name, 120), " of shape ",
                 ShapeText(own.shape), " does not fit ", tensor.name, " of ", tensor.shape.ToText(),
                 ": is this the base that the adapter was trained on?");
  }

  absl::StatusOr<double> ScaleOf(const AskedModule& asked, uint64_t rank) {
    SMELT_ASSIGN_OR_RETURN(const double scale, adapter_.config.Scale(asked.name, rank));
    return scale * strength_;
  }

  /// A tensor of the adapter's own, moved as the base's was.
  absl::Status MoveWhole(const RecipeTensor& tensor) {
    Recipe recipe = tensor.recipe;
    bool copy = true;
    for (Leaf& leaf : recipe.leaves) {
      RawTensor& part = std::get<RawLeaf>(leaf).tensor;
      const auto own = asked_.whole.find(part.name);
      if (own == asked_.whole.end()) return CannotFollow(tensor);
      const RawTensor& whole = *own->second;
      const bool copied = IsCopyOfBase(whole);
      copy = copy && copied;
      if (strength_ != 1 && !copied) {
        return Error(ErrorCode::kUnsupported, "the adapter ", Escape(adapter_.path, 80),
                     " cannot be merged ", strength_, " times as strong: its ",
                     Escape(whole.name, 100),
                     " takes the place of the base's, which can only be done as it is");
      }
      const uint64_t first = FirstElement(part);
      const bool same =
          first == 0 ? whole.shape == part.shape
                     : first <= whole.elements() && part.elements() <= whole.elements() - first;
      if (!same || !whole.contiguous()) return DoesNotFit(tensor, whole);
      used_.insert(part.name);
      RawTensor moved = whole;
      moved.shape = part.shape;
      moved.strides = part.strides;
      moved.offset += first * BitsOf(whole.dtype) / 8;
      part = std::move(moved);
    }
    ++out_.merged.whole;
    SMELT_ASSIGN_OR_RETURN(RecipeMatrix whole,
                           RecipeMatrix::Make(tensor.name, tensor.shape.rows(),
                                              tensor.shape.columns(), std::move(recipe)));
    GgufChange& change = out_.changes[tensor.name];
    change.whole = std::move(whole);
    change.copy = copy;
    return absl::OkStatus();
  }

  /// What lora_B's bias adds: a product of one and it.
  absl::Status MoveBias(const RecipeTensor& tensor, const std::string& source) {
    const AskedModule& asked = asked_.biases.find(source)->second;
    if (!OnlyScales(tensor.recipe) || tensor.recipe.leaves.size() != 1) return CannotFollow(tensor);
    if (asked.module->bias->elements() != tensor.shape.elements())
      return DoesNotFit(tensor, *asked.module->bias);
    Recipe recipe = tensor.recipe, one;
    std::get<RawLeaf>(recipe.leaves[0]).tensor = *asked.module->bias;
    one.leaves.push_back(ConstantLeaf{{1.0f}});
    LowRank product;
    SMELT_ASSIGN_OR_RETURN(product.left, RecipeMatrix::Make("one", 1, 1, std::move(one)));
    SMELT_ASSIGN_OR_RETURN(
        product.right,
        RecipeMatrix::Make(asked.module->bias->name, 1, tensor.shape.columns(), std::move(recipe)));
    SMELT_ASSIGN_OR_RETURN(const double scale, ScaleOf(asked, asked.module->a->shape[0]));
    product.scale = static_cast<float>(scale);
    used_.insert(source);
    out_.changes[tensor.name].change.products.push_back(std::move(product));
    return absl::OkStatus();
  }

  void Count(uint64_t rank) {
    LoraMerged& merged = out_.merged;
    ++merged.matrices;
    merged.low = merged.low == 0 ? rank : std::min(merged.low, rank);
    merged.high = std::max(merged.high, rank);
  }

  absl::Status MoveMatrix(const RecipeTensor& tensor, const std::string& source) {
    const AskedModule& asked = asked_.modules.find(source)->second;
    const Recipe& recipe = tensor.recipe;
    const bool one = std::ranges::all_of(recipe.leaves, [&](const Leaf& leaf) {
      return std::get<RawLeaf>(leaf).tensor.name == source;
    });
    if (!one || recipe.across != 1 || !OnlyScales(recipe)) return CannotFollow(tensor);
    used_.insert(source);
    if (asked.module->tokens != nullptr) SMELT_RETURN_IF_ERROR(MoveTokens(tensor, asked));
    return asked.module->low_rank() ? MoveProduct(tensor, asked) : absl::OkStatus();
  }

  absl::Status MoveTokens(const RecipeTensor& tensor, const AskedModule& asked) {
    const RawTensor& rows = *asked.module->tokens;
    if (!tensor.recipe.rows.empty() || !tensor.recipe.elements.empty() || tensor.recipe.columns)
      return CannotFollow(tensor);
    if (strength_ != 1) {
      return Error(ErrorCode::kUnsupported, "the adapter ", Escape(adapter_.path, 80),
                   " cannot be merged ", strength_,
                   " times as strong: it has rows of tokens, "
                   "which take the place of the base's");
    }
    SMELT_ASSIGN_OR_RETURN(ReplacedRows replaced, TokenRowsOf(adapter_, asked.name, rows));
    out_.merged.token_rows += replaced.from.size();
    out_.changes[tensor.name].change.replaced = std::move(replaced);
    return absl::OkStatus();
  }

  /// The recipe with other leaves, `width` columns wide, in place of the base's: `own`, or parts of
  /// it, as the base's leaves are parts.
  static Recipe Moved(const RecipeTensor& tensor, const RawTensor& own, uint64_t width) {
    Recipe moved;
    for (const Leaf& leaf : tensor.recipe.leaves) {
      const RawLeaf& base = std::get<RawLeaf>(leaf);
      const uint64_t first = FirstElement(base.tensor) / base.columns;
      const bool part = tensor.recipe.leaves.size() > 1;
      moved.leaves.push_back(
          RawLeaf{part ? OuterSlice(own, first, LeafRows(leaf)) : own, width, false});
    }
    moved.rows = tensor.recipe.rows;
    moved.elements = tensor.recipe.elements;
    return moved;
  }

  /// Rows of the published tensor up to the last that the leaves have.
  static uint64_t StoredRows(const RecipeTensor& tensor) {
    uint64_t rows = 0;
    for (const Leaf& leaf : tensor.recipe.leaves) {
      const RawLeaf& raw = std::get<RawLeaf>(leaf);
      rows = std::max(rows, FirstElement(raw.tensor) / raw.columns + LeafRows(leaf));
    }
    return rows;
  }

  absl::Status MoveProduct(const RecipeTensor& tensor, const AskedModule& asked) {
    const RawTensor &a = *asked.module->a, &b = *asked.module->b;
    const uint64_t rows = tensor.shape.rows(), columns = tensor.shape.columns();
    const bool embedding = asked.module->embedding;
    const uint64_t rank = a.shape[0];
    const uint64_t stored = StoredRows(tensor);
    const bool parts = tensor.recipe.leaves.size() > 1;  // others may be in other tensors
    const uint64_t lines = embedding ? a.shape[1] : b.shape[0];
    const bool all_lines = parts ? lines >= stored : lines == stored,
               all_columns = (embedding ? b.shape[0] : a.shape[1]) == columns;
    if (b.shape[1] != rank || !all_lines || !all_columns)
      return DoesNotFit(tensor, (embedding ? all_lines : all_columns) ? b : a);
    LowRank product;
    Recipe right;
    if (embedding) {
      if (!tensor.recipe.rows.empty() || tensor.recipe.leaves.size() != 1)
        return CannotFollow(tensor);
      Recipe left;
      left.leaves.push_back(RawLeaf{a, rank, true});
      left.elements = tensor.recipe.elements;
      SMELT_ASSIGN_OR_RETURN(product.left, RecipeMatrix::Make(a.name, rows, rank, std::move(left)));
      right.leaves.push_back(RawLeaf{b, b.shape[0], true});
    } else {
      SMELT_ASSIGN_OR_RETURN(product.left,
                             RecipeMatrix::Make(b.name, rows, rank, Moved(tensor, b, rank)));
      right.leaves.push_back(RawLeaf{a, columns, false});
    }
    right.columns = tensor.recipe.columns;
    const std::string& name = embedding ? b.name : a.name;
    SMELT_ASSIGN_OR_RETURN(product.right,
                           RecipeMatrix::Make(name, rank, columns, std::move(right)));
    SMELT_ASSIGN_OR_RETURN(const double scale, ScaleOf(asked, rank));
    product.scale = static_cast<float>(scale);
    GgufChange& change = out_.changes[tensor.name];
    change.change.products.push_back(std::move(product));
    Count(rank);
    return asked.module->lengths == nullptr ? absl::OkStatus() : MoveLengths(tensor, asked, change);
  }

  absl::Status MoveLengths(const RecipeTensor& tensor, const AskedModule& asked,
                           GgufChange& change) {
    RawTensor lengths = *asked.module->lengths;
    const bool of_columns = asked.module->embedding;
    const uint64_t lines = of_columns ? tensor.shape.columns() : tensor.shape.rows();
    const uint64_t all = of_columns ? lines : asked.module->b->shape[0];
    if (lengths.elements() != all) return DoesNotFit(tensor, lengths);
    lengths.shape = {lengths.elements(), 1};
    lengths.strides = ContiguousStrides(lengths.shape);
    Recipe recipe;
    if (of_columns) {
      recipe.leaves.push_back(RawLeaf{lengths, 1, false});
      recipe.elements = tensor.recipe.elements;
    } else {
      recipe = Moved(tensor, lengths, 1);
    }
    SMELT_ASSIGN_OR_RETURN(RecipeMatrix values,
                           RecipeMatrix::Make(lengths.name, lines, 1, std::move(recipe)));
    change.change.lengths = Lengths{std::move(values), of_columns};
    return absl::OkStatus();
  }

  /// Experts, each from a leaf of its own, of which its rows are some at even distances.
  absl::Status MoveExperts(const RecipeTensor& tensor) {
    const Recipe& recipe = tensor.recipe;
    const uint64_t experts = tensor.shape.ne[2], rows = tensor.shape.ne[1];
    if (recipe.across != 1 || recipe.columns || !recipe.elements.empty() ||
        recipe.leaves.size() != experts)
      return CannotFollow(tensor);
    bool any = false;
    uint64_t rank = 0;
    for (uint64_t e = 0; e < experts; ++e) {
      const uint64_t stored = LeafRows(recipe.leaves[0]), from = recipe.SourceRow(e * rows);
      const uint64_t step = rows == 1 ? 1 : recipe.SourceRow(e * rows + 1) - from;
      if (from / stored != e || recipe.SourceRow(e * rows + rows - 1) != from + (rows - 1) * step)
        return CannotFollow(tensor);
      const RawLeaf& leaf = LeafOf(tensor, e);
      const auto it = asked_.modules.find(leaf.tensor.name);
      if (it == asked_.modules.end()) continue;
      SMELT_ASSIGN_OR_RETURN(LowRank product, ExpertProduct(tensor, it->second, e,
                                                            SliceRows{from % stored, step, rows}));
      rank = std::max(rank, product.rank());
      any = true;
      used_.insert(leaf.tensor.name);
      out_.changes[tensor.name].change.products.push_back(std::move(product));
    }
    if (any) Count(rank);
    return absl::OkStatus();
  }

  absl::StatusOr<LowRank> ExpertProduct(const RecipeTensor& tensor, const AskedModule& asked,
                                        uint64_t expert, const SliceRows& slice) {
    const LoraModule& module = *asked.module;
    if (module.lengths != nullptr || module.bias != nullptr || module.embedding ||
        module.tokens != nullptr)
      return CannotFollow(tensor);
    const uint64_t experts = tensor.shape.ne[2], columns = tensor.shape.ne[0];
    // One module for all of them adapts a parameter; its leaves have one name.
    const bool together =
        experts > 1 && LeafOf(tensor, 0).tensor.name == LeafOf(tensor, 1).tensor.name;
    RawTensor a = *module.a, b = *module.b;
    const uint64_t parts = together ? experts : 1;
    if (a.shape[0] % parts != 0 || a.shape[1] != columns) return DoesNotFit(tensor, a);
    if (b.shape[1] != a.shape[0] || b.shape[0] != LeafRows(tensor.recipe.leaves[expert]))
      return DoesNotFit(tensor, b);
    if (together) {
      a = ExpertA(*module.a, experts, expert);
      b = ExpertB(*module.b, experts, expert);
    }
    LowRank product;
    Recipe left;
    left.leaves.push_back(RawLeaf{b, a.shape[0], false});
    left.rows.push_back(slice);
    SMELT_ASSIGN_OR_RETURN(product.left,
                           RecipeMatrix::Make(b.name, slice.count, a.shape[0], std::move(left)));
    SMELT_ASSIGN_OR_RETURN(product.right, RecipeMatrix::Of(a));
    SMELT_ASSIGN_OR_RETURN(const double scale, ScaleOf(asked, a.shape[0]));
    product.scale = static_cast<float>(scale);
    product.first_row = expert * slice.count;
    product.part = true;
    return product;
  }

  LoraAdapter& adapter_;
  const AskedTensors& asked_;
  const double strength_;
  GgufLora out_;
  std::set<std::string> used_;
};

absl::Status NotInBase(const Family& family, const LoraAdapter& adapter, const std::string& bare) {
  if (IsHead(family, bare)) {
    return Error(ErrorCode::kUnsupported, "the adapter ", Escape(adapter.path, 80), " is for ",
                 Escape(bare, 100),
                 ", and the base has none of its own (its embedding is that too): merge it into "
                 "the published folder, where the two can part (convert BASE --lora ADAPTER)");
  }
  return Error(ErrorCode::kInvalidInput, "the adapter ", Escape(adapter.path, 80), " is for ",
               Escape(bare, 100),
               ", of which the base has nothing: is this the base that it was trained on?");
}

}  // namespace

absl::StatusOr<GgufLora> ToGgufLora(const PublishedNames& names, FamilyContext& context,
                                    LoraAdapter& adapter, double strength) {
  SMELT_ASSIGN_OR_RETURN(const LoraParts parts, ReadLoraParts(adapter));
  SMELT_ASSIGN_OR_RETURN(const AskedTensors asked, AskedBy(names, adapter, parts));
  ImaginedModel imagined{.asked = asked.Names(),
                         .file = context.imagined == nullptr ? nullptr : context.imagined->file};
  context.imagined = &imagined;
  SMELT_ASSIGN_OR_RETURN(const std::vector<RecipeTensor> tensors, MakeTensors(context));
  context.imagined = nullptr;
  Mover mover(adapter, asked, strength);
  // Of a GGUF it is not known which of a class's rules for a tensor is the layer's; all move it
  // alike.
  std::set<std::string> moved;
  for (const RecipeTensor& tensor : tensors)
    if (moved.insert(tensor.name).second) SMELT_RETURN_IF_ERROR(mover.Move(tensor));
  for (const std::string& bare : imagined.asked)
    if (!mover.IsUsed(bare)) return NotInBase(context.family, adapter, bare);
  GgufLora lora = std::move(mover).Take();
  lora.merged.left_out = parts.left_out;
  lora.ties = adapter.config.ensure_weight_tying();
  lora.identity = Cat(adapter.texts, strength);
  for (const auto& file : adapter.container.files) lora.identity += Cat(file->identity(), ";");
  return lora;
}

absl::StatusOr<GgufLora> ToGgufLora(LoraAdapter& adapter, double strength,
                                    const ModelSource& base) {
  const std::vector<const Family*> families = FamiliesOf(base);
  absl::Status first = Error(
      ErrorCode::kUnsupported, Escape(base.name()),
      ": adapters of published models are merged into a GGUF of known architectures only; merge "
      "the adapter into the published folder");
  bool any = false;
  for (const Family* family : families) {
    const Config config(JsonValue(JsonValue::Object()), Escape(base.name(), 80));
    const Container container;
    const ImaginedModel of_file{.asked = {}, .file = &base};
    FamilyContext context = ContextOfGguf(*family, base, config, container);
    context.imagined = &of_file;
    absl::StatusOr<GgufLora> lora = ToGgufLora(PublishedNames(*family), context, adapter, strength);
    if (lora.ok()) return lora;
    if (!any) first = lora.status();
    any = true;
  }
  return first;
}

}  // namespace smelt
