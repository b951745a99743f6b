// From published tensors to recipes: every tensor of the table is found and has its shape.
#include <algorithm>
#include <cmath>
#include <optional>

#include "formats/computed_matrix.h"
#include "lib/base/checked.h"
#include "lib/base/status.h"
#include "lib/model/alternatives.h"
#include "lib/model/family.h"
#include "lib/model/imagined_model.h"
#include "lib/model/published_tensors.h"
#include "lib/model/same_values.h"
#include "lib/model/stored_values.h"

namespace smelt {
namespace {

/// The value of a tensor of one.
absl::StatusOr<float> NumberOf(const RawTensor& tensor) {
  if (tensor.dtype > RawType::kBF16) {
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(tensor.name), " is of type ",
                 Name(tensor.dtype), ", expected F64, F32, F16 or BF16");
  }
  const size_t size = BitsOf(tensor.dtype) / 8;
  std::vector<std::byte> bytes(size);
  SMELT_RETURN_IF_ERROR(tensor.storage->ReadAt(tensor.offset, bytes));
  float value = 0;
  DecodeElements(tensor.dtype, bytes.data(), size, 1, &value);
  if (!std::isfinite(value)) {
    return Error(ErrorCode::kInvalidInput, "tensor ", Escape(tensor.name), " is ",
                 NotFiniteText(value), ", expected a finite number");
  }
  return value;
}

class TensorMaker {
 public:
  explicit TensorMaker(FamilyContext& context)
      : context_(context), family_(context.family), container_(context.container) {}

  absl::StatusOr<std::vector<RecipeTensor>> Make() {
    if (context_.imagined != nullptr) {
      published_ = PublishedTensors::Imagined(family_, container_, context_.imagined->asked);
    } else {
      SMELT_ASSIGN_OR_RETURN(published_,
                             PublishedTensors::Make(family_, container_, context_.notes));
      SMELT_RETURN_IF_ERROR(SettleTie());
    }
    const uint64_t layers = context_.hyper(Param::kLayers);
    SMELT_RETURN_IF_ERROR(CheckCount("num_hidden_layers|n_layer|n_layers", layers));
    for (RecipeTensor& tensor : context_.generated) made_.push_back(std::move(tensor));
    context_.generated.clear();
    for (const TensorRule& rule : family_.tensors) {
      if (rule.source.find('*') == std::string_view::npos) SMELT_RETURN_IF_ERROR(Apply(rule, 0));
    }
    for (uint64_t layer = 0; layer < layers; ++layer) {
      for (const TensorRule& rule : family_.tensors) {
        if (rule.source.find('*') != std::string_view::npos)
          SMELT_RETURN_IF_ERROR(Apply(rule, layer));
      }
    }
    for (uint64_t i = 0; i < context_.hyper(Param::kDraft); ++i) {
      for (const TensorRule& rule : family_.tensors)
        SMELT_RETURN_IF_ERROR(ApplyToDraft(rule, layers, i));
      for (const TensorRule& rule : family_.draft.tensors)
        SMELT_RETURN_IF_ERROR(ApplyToDraft(rule, layers, i));
    }
    if (!published_->imagined()) SMELT_RETURN_IF_ERROR(published_->CheckAllUsed(context_));
    return std::move(made_);
  }

 private:
  /// What the files hold outranks `tie_word_embeddings`: an output matrix with values of its own is
  /// used, and one that is stored alone is the embedding too.
  absl::Status SettleTie() {
    if (!context_.hyper.flag(Param::kTied)) return absl::OkStatus();
    const auto of_target = [this](std::string_view target) {
      return std::ranges::find_if(family_.tensors, [&](const TensorRule& rule) {
        return rule.target == target && (rule.when == nullptr || rule.when(context_, 0));
      });
    };
    const auto embedding = of_target("token_embd.weight");
    const RawTensor* head = published_->Find(family_.head);
    if (head == nullptr || embedding == family_.tensors.end()) return absl::OkStatus();
    const RawTensor* table = published_->Find(embedding->source);
    if (table == nullptr) {
      published_->AddName(FilledName(embedding->source, 0, 0), *head);
      return absl::OkStatus();
    }
    SMELT_ASSIGN_OR_RETURN(const bool alike, SameValues(*head, *table));
    if (alike) return absl::OkStatus();
    const std::string conflict = Cat("tie_word_embeddings is true, but ", Escape(head->name),
                                     " holds other values than ", Escape(table->name));
    context_.hyper.Set(Param::kTied, 0);
    if (of_target("output.weight") == family_.tensors.end()) {
      return Error(ErrorCode::kUnsupported, context_.config.name(), ": ", conflict,
                   ", and a GGUF of ", family_.architecture.name, " has no output matrix");
    }
    context_.notes.push_back(Cat(conflict, ": the stored matrix is used"));
    return absl::OkStatus();
  }

  absl::StatusOr<const RawTensor*> Need(std::string_view sources, uint64_t layer, uint64_t expert,
                                        const std::string& target) {
    const RawTensor* tensor = published_->Find(sources, layer, expert);
    if (tensor != nullptr) return tensor;
    const bool per_layer = sources.find('*') != std::string_view::npos;
    return Error(ErrorCode::kInvalidInput, "tensor ", FilledName(sources, layer, expert), " (",
                 target, ") is missing",
                 per_layer ? Cat("; ", context_.config.name(), " says ",
                                 context_.hyper(Param::kLayers), " layers")
                           : std::string(),
                 MissingHint(sources, FilledName(sources, layer, expert)));
  }

  std::string MissingHint(std::string_view sources, std::string_view name) const {
    std::string hint;
    if (IsHead(family_, Alternatives(sources)[0]))
      hint = "; tie_word_embeddings is false, so the output matrix must be stored";
    const std::string nearest = published_->Nearest(name);
    return nearest.empty() ? hint
                           : Cat(hint, "; the nearest name in the files is ", Escape(nearest, 100));
  }

  absl::Status ExpectShape(const RawTensor& tensor, const std::vector<uint64_t>& shape,
                           const std::string& target, const TensorRule& rule) {
    published_->Expect(tensor, shape);
    if (tensor.shape == shape) return absl::OkStatus();
    return Error(ErrorCode::kInvalidInput, "tensor ", Escape(tensor.name), " (", target,
                 ") has shape ", ShapeText(tensor.shape), ", expected ", ShapeText(shape), " (",
                 TextOf(rule.rows), rule.columns == Param::kNone ? "" : " x ", TextOf(rule.columns),
                 " of ", context_.config.name(), ")");
  }

  void Add(std::string name, std::vector<uint64_t> ne, Recipe recipe) {
    RecipeTensor tensor;
    tensor.name = std::move(name);
    tensor.shape.dims = static_cast<int>(ne.size());
    std::copy(ne.begin(), ne.end(), tensor.shape.ne.begin());
    tensor.recipe = std::move(recipe);
    made_.push_back(std::move(tensor));
  }

  /// A rule of blocks for block `i` of the draft head, which follows the model's.
  absl::Status ApplyToDraft(const TensorRule& rule, uint64_t layers, uint64_t i) {
    if (rule.target.find('*') == std::string_view::npos) return absl::OkStatus();
    const DraftHead& draft = family_.draft;
    const uint64_t number = draft.prefix.empty() ? layers + i : i;
    const std::string source = DraftName(draft, rule.source, number),
                      fused = DraftName(draft, rule.fused, number);
    TensorRule own = rule;
    own.source = source;
    own.fused = fused;
    return Apply(own, layers + i);
  }

  /// Whether the model has the rule's tensor; of an imagined one, whether it is asked for.
  absl::StatusOr<bool> Applies(const TensorRule& rule, uint64_t layer, const std::string& target) {
    const ImaginedModel* const imagined = context_.imagined;
    if (imagined != nullptr) {
      const bool asked = published_->Has(rule.source, layer) || HasBias(rule, layer) ||
                         (!rule.fused.empty() && published_->Has(rule.fused, layer));
      if (!asked) return false;
      // What is so of a layer only config.json knows; that the file has the tensor is enough.
      const bool of_layer = rule.target.find('*') != std::string_view::npos;
      if (imagined->file != nullptr && (of_layer || rule.when == nullptr || rule.when(context_, 0)))
        return TakeExtents(*imagined, rule, target, context_.hyper);
      if (imagined->file != nullptr) return false;
    }
    return rule.when == nullptr || rule.when(context_, layer);
  }

  bool HasBias(const TensorRule& rule, uint64_t layer) const {
    return published_->imagined()
               ? rule.bias != Param::kNone && published_->Has(BiasesOf(rule.source), layer)
               : context_.hyper.flag(rule.bias);
  }

  /// Before anything is done so many times: each would be a tensor of the files.
  absl::Status CheckCount(std::string_view key, uint64_t count) const {
    const uint64_t tensors =
        context_.imagined == nullptr ? container_.tensors.size() : context_.imagined->MostLayers();
    if (count <= tensors) return absl::OkStatus();
    return context_.config.Bad(
        key, Cat("is ", count, ", but the files hold only ", tensors, " tensors"));
  }

  absl::Status Apply(const TensorRule& rule, uint64_t layer) {
    const std::string target = FilledName(rule.target, layer);
    SMELT_ASSIGN_OR_RETURN(const bool applies, Applies(rule, layer, target));
    if (!applies) return absl::OkStatus();
    if (rule.optional && !published_->Has(rule.source, layer)) return absl::OkStatus();
    if (!rule.fused.empty() && published_->Has(rule.fused, layer) &&
        !published_->Has(rule.source, layer)) {
      TensorRule fused = rule;
      fused.source = rule.fused;
      fused.op = rule.fused_op;
      return MakeFusedExperts(fused, layer, target);
    }
    switch (rule.op) {
      case TensorOp::kHeadVectors:
        return MakeHeadVectors(rule, layer, target);
      case TensorOp::kNumberOfLayer:
        return KeepNumber(rule, layer, target);
      case TensorOp::kExperts:
      case TensorOp::kPairedExperts:
        return MakeExperts(rule, layer, target);
      case TensorOp::kStackedExperts:
      case TensorOp::kTransposedExperts:
      case TensorOp::kTransposedExpertsFirst:
      case TensorOp::kTransposedExpertsSecond:
      case TensorOp::kFusedExpertsFirst:
      case TensorOp::kFusedExpertsSecond:
      case TensorOp::kEvenExperts:
      case TensorOp::kOddExperts:
      case TensorOp::kEvenExpertRows:
      case TensorOp::kOddExpertRows:
        return MakeFusedExperts(rule, layer, target);
      case TensorOp::kLatentKeys:
      case TensorOp::kLatentValues:
        return MakeLatent(rule, layer, target);
      case TensorOp::kEvenBias:
      case TensorOp::kOddBias:
      case TensorOp::kExpertBias:
        return MakeExpertBias(rule, layer, target);
      case TensorOp::kUnfoldQkv:
      case TensorOp::kUnfoldGate:
        return MakeUnfolded(rule, layer, target);
      case TensorOp::kGroupedRotaryQ:
      case TensorOp::kGroupedRotaryK:
      case TensorOp::kGroupedV:
        return MakeGrouped(rule, layer, target);
      default:
        return MakePlain(rule, layer, target);
    }
  }

  /// The tensor, or the slices that make it.
  void AddLeaves(const RawTensor& tensor, uint64_t view, bool transposed, Recipe& recipe) const {
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

  absl::Status MakePlain(const TensorRule& rule, uint64_t layer, const std::string& target) {
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

  absl::Status AddOperation(TensorOp op, uint64_t rows, Recipe& recipe) {
    const Hyper& h = context_.hyper;
    if (op == TensorOp::kRotaryQ || op == TensorOp::kRotaryK) {
      const uint64_t heads = op == TensorOp::kRotaryQ || !h.Has(Param::kKvHeads)
                                 ? h(Param::kHeads)
                                 : h(Param::kKvHeads);
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

  /// Factors come first, and those of 1 not at all.
  void AddFactors(const TensorRule& rule, Recipe& recipe) const {
    std::vector<ElementOp> factors;
    for (Param param : rule.factors) {
      if (param != Param::kNone && context_.hyper.real(param) != 1)
        factors.push_back(ScaleRows{{{0, context_.hyper.real(param)}}});
    }
    recipe.elements.insert(recipe.elements.begin(), factors.begin(), factors.end());
  }

  /// kv_b_proj of multi-head latent attention: for each head rows of keys, then of values. Keys are
  /// turned, so that they work on the query.
  absl::Status MakeLatent(const TensorRule& rule, uint64_t layer, const std::string& target) {
    const Hyper& h = context_.hyper;
    const uint64_t heads = h(Param::kHeads), keys = h(Param::kPlainSize),
                   values = h(Param::kValueSize), rank = h(Param::kKvRank);
    SMELT_ASSIGN_OR_RETURN(const RawTensor* tensor, Need(rule.source, layer, 0, target));
    SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, {heads * (keys + values), rank}, target, rule));
    const bool of_keys = rule.op == TensorOp::kLatentKeys;
    Recipe recipe;
    for (uint64_t head = 0; head < heads; ++head) {
      RawTensor part = OuterSlice(*tensor, head * (keys + values) + (of_keys ? 0 : keys),
                                  of_keys ? keys : values);
      recipe.leaves.push_back(RawLeaf{std::move(part), of_keys ? keys : rank, of_keys});
    }
    Add(target,
        of_keys ? std::vector<uint64_t>{keys, rank, heads}
                : std::vector<uint64_t>{rank, values, heads},
        std::move(recipe));
    return absl::OkStatus();
  }

  /// Value heads from (key head, j) to (j, key head).
  void MoveValueHeads(TensorOp op, uint64_t rows, Recipe& recipe) const {
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

  /// A matrix whose rows lie by key head: q, k, and v and z of the value heads that use it.
  absl::Status MakeUnfolded(const TensorRule& rule, uint64_t layer, const std::string& target) {
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

  /// Of each of `groups` of `unit` rows, `count` rows from `first` on.
  struct OfEach {
    uint64_t groups, unit, first, count;
  };
  static void AddOfEach(const RawTensor& tensor, uint64_t columns, const OfEach& part,
                        Recipe& recipe) {
    for (uint64_t group = 0; group < part.groups; ++group) {
      recipe.leaves.push_back(
          RawLeaf{OuterSlice(tensor, group * part.unit + part.first, part.count), columns, false});
    }
  }

  /// Rows by key head: of the queries that use it, of the key, of the value. Biases lie so too.
  absl::Status MakeGrouped(const TensorRule& rule, uint64_t layer, const std::string& target) {
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

  absl::Status MakeBias(const TensorRule& rule, uint64_t layer) {
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

  absl::StatusOr<uint64_t> Experts() const {
    const uint64_t experts = context_.hyper(Param::kExperts);
    if (context_.hyper.Has(Param::kExpertsUsed) && context_.hyper(Param::kExpertsUsed) > experts) {
      return context_.config.Bad("num_experts_per_tok|experts_per_token",
                                 Cat("is ", context_.hyper(Param::kExpertsUsed),
                                     ", but a layer has only ", experts, " experts"));
    }
    return experts;
  }

  absl::Status MakeExperts(const TensorRule& rule, uint64_t layer, const std::string& target) {
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

  absl::Status MakeHeadVectors(const TensorRule& rule, uint64_t layer, const std::string& target) {
    const uint64_t heads = context_.hyper(rule.rows), size = context_.hyper(rule.columns);
    Recipe recipe;
    for (uint64_t head = 0; head < std::min<uint64_t>(heads, container_.tensors.size() + 1);
         ++head) {
      SMELT_ASSIGN_OR_RETURN(const RawTensor* tensor, Need(rule.source, layer, head, target));
      SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, {size}, target, rule));
      recipe.leaves.push_back(RawLeaf{*tensor, size, false});
    }
    Add(target, {size, heads}, std::move(recipe));
    return absl::OkStatus();
  }

  absl::Status KeepNumber(const TensorRule& rule, uint64_t layer, const std::string& key) {
    SMELT_ASSIGN_OR_RETURN(const RawTensor* tensor, Need(rule.source, layer, 0, key));
    if (tensor->elements() != 1) SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, {1}, key, rule));
    SMELT_ASSIGN_OR_RETURN(const float number, NumberOf(*tensor));
    context_.numbers[key].push_back(number);
    return absl::OkStatus();
  }

  /// Expert `e` of a tensor (experts, ...): the same storage, one dimension less.
  static RawTensor Expert(const RawTensor& tensor, uint64_t e) {
    RawTensor part = OuterSlice(tensor, e, 1);
    part.shape.erase(part.shape.begin());
    part.strides.erase(part.strides.begin());
    return part;
  }

  /// Whether outputs come before inputs in a tensor of experts that are published transposed:
  /// transformers' own saves have them so. If that tensor is square, the other one of the block,
  /// which then is not, tells.
  bool LieUpright(const TensorRule& rule, uint64_t layer, const RawTensor& tensor, uint64_t experts,
                  bool halves) {
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

  absl::Status MakeFusedExperts(const TensorRule& rule, uint64_t layer, const std::string& target) {
    SMELT_ASSIGN_OR_RETURN(const uint64_t experts, Experts());
    const uint64_t rows = context_.hyper(rule.rows), columns = context_.hyper(rule.columns);
    SMELT_ASSIGN_OR_RETURN(const RawTensor* tensor, Need(rule.source, layer, 0, target));
    const bool second =
        rule.op == TensorOp::kFusedExpertsSecond || rule.op == TensorOp::kTransposedExpertsSecond;
    const bool halves = second || rule.op == TensorOp::kFusedExpertsFirst ||
                        rule.op == TensorOp::kTransposedExpertsFirst;
    const bool by_rows =
        rule.op == TensorOp::kEvenExpertRows || rule.op == TensorOp::kOddExpertRows;
    const bool odd = rule.op == TensorOp::kOddExperts || rule.op == TensorOp::kOddExpertRows;
    const bool interleaved = by_rows || odd || rule.op == TensorOp::kEvenExperts;
    const uint64_t stored_rows = halves || interleaved ? 2 * rows : rows;
    const bool either = rule.op == TensorOp::kTransposedExperts ||
                        rule.op == TensorOp::kTransposedExpertsFirst ||
                        rule.op == TensorOp::kTransposedExpertsSecond;
    const bool upright = either ? LieUpright(rule, layer, *tensor, experts, halves)
                                : halves || by_rows || rule.op == TensorOp::kStackedExperts;
    SMELT_RETURN_IF_ERROR(ExpectShape(*tensor,
                                      upright
                                          ? std::vector<uint64_t>{experts, stored_rows, columns}
                                          : std::vector<uint64_t>{experts, columns, stored_rows},
                                      target, rule));
    Recipe recipe;
    for (uint64_t e = 0; e < experts; ++e)
      recipe.leaves.push_back(RawLeaf{Expert(*tensor, e), columns, !upright});
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

  absl::Status MakeExpertBias(const TensorRule& rule, uint64_t layer, const std::string& target) {
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

  FamilyContext& context_;
  const Family& family_;
  const Container& container_;
  std::optional<PublishedTensors> published_;
  std::vector<RecipeTensor> made_;
};

}  // namespace

absl::StatusOr<std::vector<RecipeTensor>> MakeTensors(FamilyContext& context) {
  return TensorMaker(context).Make();
}

}  // namespace smelt
