#include "lib/model/lora_merge.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

#include "formats/computed_matrix.h"
#include "formats/quantized/stored_matrix.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/base/text_hash.h"
#include "lib/model/alternatives.h"
#include "lib/model/lora_asked.h"
#include "lib/model/merged_matrix.h"
#include "lib/model/published_names.h"
#include "lib/model/published_tensors.h"
#include "lib/model/same_values.h"

namespace smelt {
namespace {

bool IsTransposed(TensorOp op) {
  return op == TensorOp::kTransposedExperts || op == TensorOp::kTransposedExpertsFirst ||
         op == TensorOp::kTransposedExpertsSecond || op == TensorOp::kEvenExperts ||
         op == TensorOp::kOddExperts;
}
bool IsSecondHalf(TensorOp op) {
  return op == TensorOp::kFusedExpertsSecond || op == TensorOp::kTransposedExpertsSecond;
}
bool IsHalf(TensorOp op) {
  return IsSecondHalf(op) || op == TensorOp::kFusedExpertsFirst ||
         op == TensorOp::kTransposedExpertsFirst;
}

class Merger {
 public:
  Merger(const Family& family, bool tied, LoraAdapter& adapter, double strength, Container& base)
      : family_(family),
        names_(family),
        tied_(tied),
        adapter_(adapter),
        strength_(strength),
        base_(base) {
    for (size_t i = 0; i < base.tensors.size(); ++i)
      index_.emplace(names_.Bare(base.tensors[i].name).text, i);
    for (const TensorRule& rule : family.tensors) {
      if (rule.target == "token_embd.weight") embedding_ = StoredName(rule.source);
    }
    head_ = StoredName(family.head);
  }

  absl::StatusOr<LoraMerged> Run() {
    SMELT_ASSIGN_OR_RETURN(parts_, ReadLoraParts(adapter_));
    merged_.left_out = parts_.left_out;
    SMELT_RETURN_IF_ERROR(SettleHead());
    for (const RawTensor* tensor : parts_.whole) SMELT_RETURN_IF_ERROR(Replace(*tensor));
    SMELT_RETURN_IF_ERROR(CheckVocabulary());
    for (const auto& [name, module] : parts_.modules) {
      if (module.tokens != nullptr) SMELT_RETURN_IF_ERROR(ReplaceTokens(name, *module.tokens));
      if (module.low_rank()) SMELT_RETURN_IF_ERROR(Merge(name, module));
    }
    base_.files.insert(base_.files.end(), adapter_.container.files.begin(),
                       adapter_.container.files.end());
    return merged_;
  }

 private:
  RawTensor* Find(const std::string& bare) {
    const auto it = index_.find(bare);
    return it == index_.end() ? nullptr : &base_.tensors[it->second];
  }

  /// The same by any of the names that the tables have for it: an adapter's may be newer than its
  /// base's.
  RawTensor* FindByAnyName(const std::string& bare) {
    if (RawTensor* const found = Find(bare)) return found;
    for (const TensorRule& rule : family_.tensors) {
      for (const std::string& sources : {std::string(rule.source), BiasesOf(rule.source)}) {
        const auto place = names_.PlaceIn(sources, bare);
        if (!place) continue;
        if (RawTensor* const found = Find(StoredName(sources, place->layer, place->expert)))
          return found;
      }
    }
    return nullptr;
  }

  /// The first of "a|b" that is there, with layer and expert filled in, as a bare name; else the
  /// first.
  std::string StoredName(std::string_view sources, uint64_t layer = 0, uint64_t expert = 0) const {
    std::string first;
    for (const std::string_view source : Alternatives(sources)) {
      std::string bare = names_.Bare(FilledName(source, layer, expert)).text;
      if (index_.contains(bare)) return bare;
      if (first.empty()) first = std::move(bare);
    }
    return first;
  }

  void Append(RawTensor tensor, const std::string& bare) {
    tensor.name = bare;
    index_.emplace(bare, base_.tensors.size());
    base_.tensors.push_back(std::move(tensor));
  }

  /// Whether the adapter changes the weight of this bare name, but for rows of single tokens.
  bool Changes(const std::string& bare) const {
    const bool whole = std::ranges::any_of(parts_.whole, [&](const RawTensor* tensor) {
      return names_.Bare(tensor->name).text == bare;
    });
    return whole || ChangesByRank(bare);
  }
  bool ChangesByRank(const std::string& bare) const {
    return std::ranges::any_of(parts_.modules, [&](const auto& entry) {
      return entry.second.low_rank() && names_.Bare(Cat(entry.first, ".weight")).text == bare;
    });
  }
  bool HasTokensOf(const std::string& bare) const {
    return std::ranges::any_of(parts_.modules, [&](const auto& entry) {
      return entry.second.tokens != nullptr &&
             names_.Bare(Cat(entry.first, ".weight")).text == bare;
    });
  }

  /// An output matrix that is the embedding has values of its own as soon as an adapter changes one
  /// of the two. PEFT keeps them the same where ensure_weight_tying says so, and for rows of
  /// tokens.
  absl::Status SettleHead() {
    const RawTensor* const embedding = Find(embedding_);
    if (!tied_ || embedding == nullptr) return absl::OkStatus();
    RawTensor* const head = Find(head_);
    if (head != nullptr) {
      SMELT_ASSIGN_OR_RETURN(const bool same, SameValues(*head, *embedding));
      if (!same) return absl::OkStatus();
    }
    const bool of_head = Changes(head_) || HasTokensOf(head_);
    const bool stays_tied =
        !of_head && (adapter_.config.ensure_weight_tying() || !Changes(embedding_));
    if (stays_tied && head != nullptr && (HasTokensOf(embedding_) || Changes(embedding_))) {
      base_.tensors.erase(base_.tensors.begin() + static_cast<std::ptrdiff_t>(index_[head_]));
      const size_t gone = index_[head_];
      index_.erase(head_);
      for (auto& [name, place] : index_) place -= place > gone ? 1 : 0;
    }
    merged_.parted = !stays_tied && (ChangesByRank(head_) || ChangesByRank(embedding_));
    if (!stays_tied && head == nullptr) Append(RawTensor(*embedding), head_);
    return absl::OkStatus();
  }

  absl::Status CheckStrength(const RawTensor& tensor) const {
    if (strength_ == 1 || IsCopyOfBase(tensor)) return absl::OkStatus();
    return Error(ErrorCode::kUnsupported, "the adapter ", Escape(adapter_.path, 80),
                 " cannot be merged ", strength_, " times as strong: its ",
                 Escape(tensor.name, 100),
                 " takes the place of the base's, which can only be done as it is; leave the "
                 "strength out");
  }

  /// A tensor that takes the place of the base's.
  absl::Status Replace(const RawTensor& tensor) {
    const BareName name = names_.Bare(tensor.name);
    if (name.replaced) return absl::OkStatus();  // what the adapter's own takes the place of
    SMELT_RETURN_IF_ERROR(CheckStrength(tensor));
    if (!names_.IsWanted(name.text)) {
      return Error(ErrorCode::kUnsupported, "tensor ", Escape(tensor.name), " of the adapter ",
                   Escape(adapter_.path, 80),
                   " has no place in the base: leaving it out would change the model");
    }
    ++merged_.whole;
    RawTensor* const old = FindByAnyName(name.text);
    if (old == nullptr) {
      Append(tensor, name.text);
      return absl::OkStatus();
    }
    const bool grows = name.text == embedding_ && old->shape.size() == 2 &&
                       tensor.shape.size() == 2 && old->shape[0] != tensor.shape[0];
    if (grows) merged_.vocabulary_rows = tensor.shape[0];
    std::string stored = std::move(old->name);
    *old = tensor;
    old->name = std::move(stored);
    return absl::OkStatus();
  }

  /// An output matrix has a row for each that the embedding has.
  absl::Status CheckVocabulary() {
    const RawTensor *const embedding = Find(embedding_), *const head = Find(head_);
    if (merged_.vocabulary_rows == 0 || head == nullptr || head->shape.empty() ||
        head->shape[0] == embedding->shape[0])
      return absl::OkStatus();
    return Error(ErrorCode::kInvalidInput, "the adapter ", Escape(adapter_.path, 80), " has ",
                 embedding->shape[0], " rows of ", embedding_, ", and the output matrix ", head_,
                 " has ", head->shape[0],
                 ": its rows of the added tokens were not saved; save the adapter with both "
                 "(save_embedding_layers, or modules_to_save)");
  }

  absl::Status NotInBase(const std::string& tensor, const std::string& bare) const {
    return Error(ErrorCode::kInvalidInput, "tensor ", Escape(tensor, 120), " of the adapter ",
                 Escape(adapter_.path, 80), ": the base has no ", Escape(bare, 80),
                 ": is this the base that it was trained on?");
  }

  absl::Status ReplaceTokens(const std::string& name, const RawTensor& rows) {
    SMELT_RETURN_IF_ERROR(CheckStrength(rows));
    const std::string bare = names_.Bare(Cat(name, ".weight")).text;
    RawTensor* const base = FindByAnyName(bare);
    if (base == nullptr) return NotInBase(rows.name, bare);
    SMELT_ASSIGN_OR_RETURN(ReplacedRows replaced, TokenRowsOf(adapter_, name, rows));
    merged_.token_rows += replaced.from.size();
    TensorChange change;
    change.replaced = std::move(replaced);
    return MergeInto(std::move(change), *base);
  }

  void Count(uint64_t rank) {
    ++merged_.matrices;
    merged_.low = merged_.low == 0 ? rank : std::min(merged_.low, rank);
    merged_.high = std::max(merged_.high, rank);
  }

  absl::Status Merge(const std::string& name, const LoraModule& module) {
    const std::string bare = names_.Bare(Cat(name, ".weight")).text;
    RawTensor* const base = FindByAnyName(bare);
    if (base == nullptr) return MergeExperts(name, bare, module);
    const bool turned = module.embedding || IsStoredTurned(bare);
    SMELT_ASSIGN_OR_RETURN(const double scale, ScaleOf(name, module.a->shape[0]));
    TensorChange change;
    SMELT_ASSIGN_OR_RETURN(LowRank product, ProductOf(*module.a, *module.b, turned, scale));
    Count(product.rank());
    change.products.push_back(std::move(product));
    if (module.lengths != nullptr) {
      SMELT_ASSIGN_OR_RETURN(RecipeMatrix lengths, LengthsOf(*module.lengths));
      change.lengths = Lengths{std::move(lengths), turned};
    }
    SMELT_RETURN_IF_ERROR(CheckMatrix(*base));
    SMELT_RETURN_IF_ERROR(MergeInto(std::move(change), *base));
    return module.bias == nullptr ? absl::OkStatus() : MergeBias(BiasOf(bare), *module.bias, scale);
  }

  absl::StatusOr<double> ScaleOf(const std::string& name, uint64_t rank) {
    SMELT_ASSIGN_OR_RETURN(const double scale, adapter_.config.Scale(name, rank));
    if (std::isfinite(static_cast<float>(scale * strength_))) return scale * strength_;
    return Error(ErrorCode::kInvalidInput, "lora_alpha and the strength ", strength_,
                 " of the adapter ", Escape(adapter_.path, 80), " make no finite scale");
  }

  static absl::StatusOr<RecipeMatrix> LengthsOf(const RawTensor& tensor) {
    Recipe recipe;  // one number a line
    recipe.leaves.push_back(RawLeaf{tensor, 1, false});
    return RecipeMatrix::Make(tensor.name, tensor.elements(), 1, std::move(recipe));
  }

  static absl::Status CheckMatrix(const RawTensor& base) {
    if (base.shape.size() == 2) return absl::OkStatus();
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(base.name), " of shape ",
                 ShapeText(base.shape), " is no matrix, and adapters of others are not merged");
  }

  /// The bias of lora_B, which counts as the product does.
  absl::Status MergeBias(const std::string& bare, const RawTensor& added, double scale) {
    constexpr uint64_t kLongest = 1 << 24;
    RawTensor* const bias = FindByAnyName(bare);
    if (bias == nullptr) {
      return Error(ErrorCode::kUnsupported, "tensor ", Escape(added.name, 120), " of the adapter ",
                   Escape(adapter_.path, 80), " is added to ", Escape(bare, 80),
                   ", which the base does not have: a bias cannot be merged into a matrix without");
    }
    SMELT_ASSIGN_OR_RETURN(std::vector<float> sum, ReadAllFloats(*bias, kLongest));
    SMELT_ASSIGN_OR_RETURN(const std::vector<float> more, ReadAllFloats(added, kLongest));
    if (sum.size() != more.size()) {
      return Error(ErrorCode::kInvalidInput, "tensor ", Escape(added.name, 120), " has ",
                   more.size(), " values, and ", Escape(bias->name, 100), " has ", sum.size(),
                   ": is this the base that the adapter was trained on?");
    }
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<float>(scale) * more[i];
    const auto bytes = std::as_bytes(std::span(sum));
    bias->storage = MemoryStorage(bias->name, {bytes.begin(), bytes.end()});
    bias->offset = 0;
    bias->dtype = RawType::kF32;
    bias->strides = ContiguousStrides(bias->shape);
    bias->computed = nullptr;
    return absl::OkStatus();
  }

  /// Whether the family stores this matrix as (inputs, outputs), like GPT-2's Conv1D. What
  /// fan_in_fan_out says is the same for all modules and wrong for some.
  bool IsStoredTurned(const std::string& bare) const {
    return std::ranges::any_of(family_.tensors, [&](const TensorRule& rule) {
      return rule.op == TensorOp::kTranspose && names_.PlaceIn(rule.source, bare);
    });
  }

  // Experts: all of a layer in one parameter, which has no module of its own, or one by one, in
  // the base and in the adapter.

  absl::Status MergeExperts(const std::string& name, const std::string& bare,
                            const LoraModule& module) {
    if (module.lengths != nullptr || module.bias != nullptr || module.embedding)
      return NotInBase(module.a->name, bare);
    for (const TensorRule& rule : family_.tensors) {
      if (rule.fused.empty()) continue;
      const auto place = names_.PlaceIn(rule.source, bare);
      RawTensor* const fused = place ? Find(StoredName(rule.fused, place->layer)) : nullptr;
      if (fused != nullptr) return MergeOneOfFused(name, module, rule, place->expert, *fused);
    }
    SMELT_ASSIGN_OR_RETURN(const std::string parameter,
                           LoraParameter(adapter_.config, adapter_.path, name));
    if (parameter.empty()) return NotInBase(module.a->name, bare);
    const std::string called = ParameterName(name, parameter), whole = names_.Bare(called).text;
    if (RawTensor* const fused = Find(whole)) return MergeFused(called, module, whole, *fused);
    bool any = false;
    for (const TensorRule& rule : family_.tensors) {
      const auto place = rule.fused.empty() ? std::nullopt : names_.PlaceIn(rule.fused, whole);
      if (!place) continue;
      any = true;
      SMELT_RETURN_IF_ERROR(MergeFusedOneByOne(called, module, rule, place->layer));
    }
    return any ? absl::OkStatus() : NotInBase(module.a->name, whole);
  }

  absl::Status BadExperts(const LoraModule& module, uint64_t experts) const {
    return Error(ErrorCode::kInvalidInput, "tensors ", Escape(module.a->name, 100), " of shape ",
                 ShapeText(module.a->shape), " and lora_B of ", ShapeText(module.b->shape),
                 " are not of ", experts,
                 " experts of the base: is this the base that the adapter was trained on?");
  }

  /// All experts in the adapter and in the base.
  absl::Status MergeFused(const std::string& name, const LoraModule& module,
                          const std::string& whole, RawTensor& base) {
    if (base.shape.size() != 3) return CheckMatrix(base);
    const uint64_t experts = base.shape[0], rows = base.shape[1], columns = base.shape[2];
    const uint64_t inputs = module.a->shape[1], outputs = module.b->shape[0];
    const bool upright = inputs == columns && outputs == rows,
               turned = inputs == rows && outputs == columns;
    if (experts == 0 || module.a->shape[0] % experts != 0 ||
        module.b->shape[1] != module.a->shape[0] || (!upright && !turned))
      return BadExperts(module, experts);
    const bool lies_turned = std::ranges::any_of(family_.tensors, [&](const TensorRule& rule) {
      const bool fused = !rule.fused.empty() && names_.PlaceIn(rule.fused, whole);
      return (fused && IsTransposed(rule.fused_op)) ||
             (IsTransposed(rule.op) && names_.PlaceIn(rule.source, whole));
    });
    SMELT_ASSIGN_OR_RETURN(const double scale, ScaleOf(name, module.a->shape[0] / experts));
    TensorChange change;
    for (uint64_t e = 0; e < experts; ++e) {
      SMELT_ASSIGN_OR_RETURN(
          LowRank product, ProductOf(ExpertA(*module.a, experts, e), ExpertB(*module.b, experts, e),
                                     upright && turned ? lies_turned : turned, scale));
      product.first_row = e * rows;
      product.part = true;
      change.products.push_back(std::move(product));
    }
    Count(module.a->shape[0] / experts);
    return MergeInto(std::move(change), base);
  }

  /// All experts in the adapter, one by one in the base.
  absl::Status MergeFusedOneByOne(const std::string& name, const LoraModule& module,
                                  const TensorRule& rule, uint64_t layer) {
    const auto bare_of = [&](uint64_t e) { return StoredName(rule.source, layer, e); };
    uint64_t experts = 0;
    while (Find(bare_of(experts)) != nullptr) ++experts;
    const uint64_t parts = IsHalf(rule.fused_op) ? 2 : 1, outputs = module.b->shape[0];
    if (experts == 0) return NotInBase(module.a->name, bare_of(0));
    if (module.a->shape[0] % experts != 0 || module.b->shape[1] != module.a->shape[0] ||
        outputs % parts != 0)
      return BadExperts(module, experts);
    SMELT_ASSIGN_OR_RETURN(const double scale, ScaleOf(name, module.a->shape[0] / experts));
    const uint64_t rows = outputs / parts, first = IsSecondHalf(rule.fused_op) ? rows : 0;
    for (uint64_t e = 0; e < experts; ++e) {
      const RawTensor b = OuterSlice(ExpertB(*module.b, experts, e), first, rows);
      TensorChange change;
      SMELT_ASSIGN_OR_RETURN(LowRank product,
                             ProductOf(ExpertA(*module.a, experts, e), b, false, scale));
      change.products.push_back(std::move(product));
      SMELT_RETURN_IF_ERROR(MergeInto(std::move(change), *Find(bare_of(e))));
    }
    Count(module.a->shape[0] / experts);
    return absl::OkStatus();
  }

  /// One expert in the adapter, all in the base.
  absl::Status MergeOneOfFused(const std::string& name, const LoraModule& module,
                               const TensorRule& rule, uint64_t expert, RawTensor& base) {
    if (base.shape.size() != 3 || expert >= base.shape[0])
      return NotInBase(module.a->name, base.name);
    const bool half = IsHalf(rule.fused_op);
    const uint64_t rows = base.shape[1];
    const bool turned = IsTransposed(rule.fused_op) && module.a->shape[1] == rows;
    if (turned && half) {
      return Error(ErrorCode::kUnsupported, "tensor ", Escape(module.a->name, 120),
                   " adapts a part of ", Escape(base.name, 100),
                   ", whose experts lie inputs first: merge it with peft (merge_and_unload)");
    }
    SMELT_ASSIGN_OR_RETURN(const double scale, ScaleOf(name, module.a->shape[0]));
    SMELT_ASSIGN_OR_RETURN(LowRank product, ProductOf(*module.a, *module.b, turned, scale));
    if (product.left.rows() != (half ? rows / 2 : rows)) return BadExperts(module, base.shape[0]);
    product.first_row = expert * rows + (IsSecondHalf(rule.fused_op) ? rows / 2 : 0);
    product.part = true;
    Count(product.rank());
    TensorChange change;
    change.products.push_back(std::move(product));
    return MergeInto(std::move(change), base);
  }

  const Family& family_;
  PublishedNames names_;
  const bool tied_;
  LoraAdapter& adapter_;
  const double strength_;
  Container& base_;
  TextMap<std::string, size_t> index_;
  std::string embedding_, head_;
  LoraParts parts_;
  LoraMerged merged_;
};

}  // namespace

absl::StatusOr<ReplacedRows> TokenRowsOf(const LoraAdapter& adapter, const std::string& module,
                                         const RawTensor& rows) {
  SMELT_ASSIGN_OR_RETURN(const std::vector<uint64_t> indices, adapter.config.TokenIndices(module));
  ReplacedRows replaced;
  for (size_t i = 0; i < indices.size(); ++i) replaced.from[indices[i]] = i;
  if (rows.shape.size() != 2 || rows.shape[0] != replaced.from.size() ||
      replaced.from.size() != indices.size()) {
    return Error(ErrorCode::kInvalidInput, "tensor ", Escape(rows.name, 120), " of shape ",
                 ShapeText(rows.shape), " has no row for each of the ", indices.size(),
                 " tokens that trainable_token_indices lists",
                 replaced.from.size() == indices.size() ? "" : ", some of them twice");
  }
  SMELT_ASSIGN_OR_RETURN(replaced.values, RecipeMatrix::Of(rows));
  return replaced;
}

RawTensor ExpertA(const RawTensor& a, uint64_t experts, uint64_t expert) {
  const uint64_t rank = a.shape[0] / experts;
  return OuterSlice(a, expert * rank, rank);
}

RawTensor ExpertB(const RawTensor& b, uint64_t experts, uint64_t expert) {
  RawTensor part = b;
  part.offset += expert * static_cast<uint64_t>(b.strides[1]) * BitsOf(b.dtype) / 8;
  part.shape[1] = b.shape[1] / experts;
  part.strides[1] = b.strides[1] * static_cast<int64_t>(experts);
  return part;
}

absl::StatusOr<LowRank> ProductOf(const RawTensor& a, const RawTensor& b, bool turned,
                                  double scale) {
  LowRank product;
  if (turned) {
    SMELT_ASSIGN_OR_RETURN(product.left, RecipeMatrix::Turned(a));
    SMELT_ASSIGN_OR_RETURN(product.right, RecipeMatrix::Turned(b));
  } else {
    SMELT_ASSIGN_OR_RETURN(product.left, RecipeMatrix::Of(b));
    SMELT_ASSIGN_OR_RETURN(product.right, RecipeMatrix::Of(a));
  }
  product.scale = static_cast<float>(scale);
  return product;
}

std::string LoraMerged::LeftOutText() const {
  return Cat("what it has for vision or audio is left out: ", left_out.ToText());
}

std::string LoraMerged::ToText(double strength) const {
  std::string text;
  const auto add = [&](std::string_view what) { text += Cat(text.empty() ? "" : "; ", what); };
  if (matrices != 0) {
    add(Cat("merged into ", matrices, " matrices (rank ", low, high == low ? "" : Cat(" to ", high),
            ")", strength == 1 ? "" : Cat(", ", strength, " times as strong")));
  }
  if (whole != 0) add(Cat(whole, whole == 1 ? " tensor is" : " tensors are", " its own"));
  if (token_rows != 0) add(Cat(token_rows, " rows of tokens are its own"));
  if (parted) {
    add("embedding and output matrix, one in the base, are two now, as base and adapter compute "
        "(peft's merge_and_unload adds to the one for both)");
  }
  if (left_out.any()) add(LeftOutText());
  if (vocabulary_rows != 0) add(Cat("the vocabulary has ", vocabulary_rows, " rows with it"));
  return text;
}

absl::StatusOr<LoraMerged> MergeLora(const Family& family, bool tied, LoraAdapter& adapter,
                                     double strength, Container& base) {
  return Merger(family, tied, adapter, strength, base).Run();
}

}  // namespace smelt
