// From published tensors to recipes: every tensor of the table is found and has its shape, every
// tensor of the files is used.
#include <algorithm>
#include <ranges>
#include <unordered_map>
#include <unordered_set>

#include "lib/base/checked.h"
#include "lib/base/status.h"
#include "lib/model/family.h"
#include "lib/model/weights.h"

namespace smelt {
namespace {

// Without influence on any model: buffers that old checkpoints carry along.
constexpr std::string_view kBuffers[] = {".rotary_emb.inv_freq", ".attention.masked_bias",
                                         ".attention.bias",      ".attn.masked_bias",
                                         ".attn.bias",           ".attention.rotary_emb.inv_freq"};
constexpr std::string_view kOtherParts[] = {
    "vision_tower.",   "multi_modal_projector.",   "vision_model.", "audio_tower.",
    "vision_encoder.", "vision_language_adapter.", "patch_merger.", "pre_mm_projector_norm."};

std::string Filled(std::string_view pattern, char mark, uint64_t number) {
  const size_t at = pattern.find(mark);
  if (at == std::string_view::npos) return std::string(pattern);
  return Cat(pattern.substr(0, at), number, pattern.substr(at + 1));
}

std::string ShapeText(const std::vector<uint64_t>& shape) {
  std::string text;
  for (uint64_t extent : shape) text += text.empty() ? Cat(extent) : Cat(" x ", extent);
  return text.empty() ? "scalar" : text;
}

std::string BiasOf(std::string_view name) {
  return Cat(name.substr(0, name.rfind(".weight")), ".bias");
}

class TensorMaker {
 public:
  TensorMaker(FamilyContext& context, const Container& container)
      : context_(context), family_(context.family), container_(container) {}

  absl::StatusOr<std::vector<RecipeTensor>> Make() {
    SMELT_RETURN_IF_ERROR(BuildIndex());
    SMELT_RETURN_IF_ERROR(SettleTie());
    const uint64_t layers = context_.hyper("layers");
    if (layers > container_.tensors.size()) {  // before anything is done per layer
      return context_.config.Bad(
          "num_hidden_layers|n_layer|n_layers",
          Cat("is ", layers, ", but the files hold only ", container_.tensors.size(), " tensors"));
    }
    for (RecipeTensor& tensor : context_.generated) made_.push_back(std::move(tensor));
    context_.generated.clear();
    for (const TensorRule& rule : family_.tensors) {
      if (rule.target.find('*') == std::string_view::npos) SMELT_RETURN_IF_ERROR(Apply(rule, 0));
    }
    for (uint64_t layer = 0; layer < layers; ++layer) {
      for (const TensorRule& rule : family_.tensors) {
        if (rule.target.find('*') != std::string_view::npos)
          SMELT_RETURN_IF_ERROR(Apply(rule, layer));
      }
    }
    SMELT_RETURN_IF_ERROR(CheckAllUsed());
    return std::move(made_);
  }

 private:
  /// Names as the table has them: without "language_model.", with the body's prefix.
  absl::Status BuildIndex() {
    bool has_body = false;
    std::vector<std::string> names;
    for (const RawTensor& tensor : container_.tensors) {
      std::string name = tensor.name;
      const size_t at = name.find("language_model.");
      if (at != std::string::npos && (at == 0 || name[at - 1] == '.'))
        name.erase(at, std::string_view("language_model.").size());
      if (!family_.outer.empty() && name.starts_with(family_.outer))
        name.erase(0, family_.outer.size());
      has_body |= name.starts_with(family_.body);
      names.push_back(std::move(name));
    }
    for (size_t i = 0; i < names.size(); ++i) {
      if (!has_body && !IsHead(names[i])) names[i] = Cat(family_.body, names[i]);
      if (!index_.emplace(names[i], &container_.tensors[i]).second) {
        return Error(ErrorCode::kInvalidInput, "tensor ", Escape(names[i]),
                     " is there twice under different prefixes");
      }
    }
    return absl::OkStatus();
  }

  bool IsHead(std::string_view name) const {
    return std::ranges::any_of(std::views::split(family_.head, '|'), [name](auto part) {
      return name == std::string_view(part.begin(), part.end());
    });
  }

  /// What the files hold outranks `tie_word_embeddings`: an output matrix with values of its own is
  /// used, and one that is stored alone is the embedding too.
  absl::Status SettleTie() {
    if (!context_.hyper.flag("tied")) return absl::OkStatus();
    const auto of_target = [this](std::string_view target) {
      return std::ranges::find_if(family_.tensors, [&](const TensorRule& rule) {
        return rule.target == target && (rule.when == nullptr || rule.when(context_, 0));
      });
    };
    const auto embedding = of_target("token_embd.weight");
    const RawTensor* head = Find(family_.head, 0, 0);
    if (head == nullptr || embedding == family_.tensors.end()) return absl::OkStatus();
    const RawTensor* table = Find(embedding->source, 0, 0);
    if (table == nullptr) {
      index_.emplace(FirstName(embedding->source, 0, 0), head);
      return absl::OkStatus();
    }
    SMELT_ASSIGN_OR_RETURN(const bool alike, StoredAlike(*head, *table));
    if (alike) return absl::OkStatus();
    const std::string conflict = Cat("tie_word_embeddings is true, but ", Escape(head->name),
                                     " holds other values than ", Escape(table->name));
    context_.hyper.Set("tied", 0);
    if (of_target("output.weight") == family_.tensors.end()) {
      return Error(ErrorCode::kUnsupported, context_.config.name(), ": ", conflict,
                   ", and a GGUF of ", family_.architecture.name, " has no output matrix");
    }
    context_.notes.push_back(Cat(conflict, ": the stored matrix is used"));
    return absl::OkStatus();
  }

  /// The first of "a|b" that is there, with layer and expert filled in.
  const RawTensor* Find(std::string_view sources, uint64_t layer, uint64_t expert) {
    while (true) {
      const size_t bar = sources.find('|');
      const auto it = index_.find(Filled(Filled(sources.substr(0, bar), '*', layer), '#', expert));
      if (it != index_.end()) {
        used_.insert(it->second);
        return it->second;
      }
      if (bar == std::string_view::npos) return nullptr;
      sources.remove_prefix(bar + 1);
    }
  }

  std::string FirstName(std::string_view sources, uint64_t layer, uint64_t expert) const {
    return Filled(Filled(sources.substr(0, sources.find('|')), '*', layer), '#', expert);
  }

  absl::StatusOr<const RawTensor*> Need(std::string_view sources, uint64_t layer, uint64_t expert,
                                        const std::string& target) {
    const RawTensor* tensor = Find(sources, layer, expert);
    if (tensor != nullptr) return tensor;
    const bool per_layer = sources.find('*') != std::string_view::npos;
    return Error(
        ErrorCode::kInvalidInput, "tensor ", FirstName(sources, layer, expert), " (", target,
        ") is missing",
        per_layer ? Cat("; ", context_.config.name(), " says ", context_.hyper("layers"), " layers")
                  : std::string(),
        MissingHint(sources));
  }

  std::string MissingHint(std::string_view sources) const {
    if (!IsHead(sources.substr(0, sources.find('|')))) return "";
    return "; tie_word_embeddings is false, so the output matrix must be stored";
  }

  absl::Status ExpectShape(const RawTensor& tensor, const std::vector<uint64_t>& shape,
                           const std::string& target, const TensorRule& rule) const {
    if (tensor.shape == shape) return absl::OkStatus();
    return Error(ErrorCode::kInvalidInput, "tensor ", Escape(tensor.name), " (", target,
                 ") has shape ", ShapeText(tensor.shape), ", expected ", ShapeText(shape), " (",
                 rule.rows, rule.columns.empty() ? "" : " x ", rule.columns, " of ",
                 context_.config.name(), ")");
  }

  void Add(std::string name, std::vector<uint64_t> ne, Recipe recipe) {
    RecipeTensor tensor;
    tensor.name = std::move(name);
    tensor.shape.dims = static_cast<int>(ne.size());
    std::copy(ne.begin(), ne.end(), tensor.shape.ne.begin());
    tensor.recipe = std::move(recipe);
    made_.push_back(std::move(tensor));
  }

  absl::Status Apply(const TensorRule& rule, uint64_t layer) {
    if (rule.when != nullptr && !rule.when(context_, layer)) return absl::OkStatus();
    const std::string target = Filled(rule.target, '*', layer);
    if (rule.optional && Find(rule.source, layer, 0) == nullptr) return absl::OkStatus();
    switch (rule.op) {
      case TensorOp::kExperts:
        return MakeExperts(rule, layer, target);
      case TensorOp::kTransposedExperts:
      case TensorOp::kFusedExpertsFirst:
      case TensorOp::kFusedExpertsSecond:
      case TensorOp::kEvenExperts:
      case TensorOp::kOddExperts:
        return MakeFusedExperts(rule, layer, target);
      case TensorOp::kEvenBias:
      case TensorOp::kOddBias:
      case TensorOp::kExpertBias:
        return MakeExpertBias(rule, layer, target);
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
                   columns = rule.columns.empty() ? 0 : context_.hyper(rule.columns);
    const bool vector = rule.columns.empty();
    const bool flat = rule.op == TensorOp::kFlat || rule.op == TensorOp::kFlatNegativeExp;
    if (flat) {
      SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, {rows * columns}, target, rule));
    } else if (vector) {
      SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, {rows}, target, rule));
    } else if (rule.op == TensorOp::kConv) {
      SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, {rows, 1, columns}, target, rule));
    } else if (rule.op == TensorOp::kTranspose) {
      SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, {columns, rows}, target, rule));
    } else {
      SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, {rows, columns}, target, rule));
    }
    uint64_t kept = rows;
    if (family_.rows_by_vocabulary && rule.rows == "vocab" &&
        context_.hyper.Has("vocabulary_rows")) {
      kept = std::min(rows, context_.hyper("vocabulary_rows"));
    }
    Recipe recipe;
    const bool permuted = rule.op == TensorOp::kRotaryQ || rule.op == TensorOp::kRotaryK ||
                          rule.op == TensorOp::kHeadMajor;
    const uint64_t view = vector ? (permuted ? 1 : rows) : columns;
    AddLeaves(*tensor, view, rule.op == TensorOp::kTranspose, recipe);
    if (kept != rows) recipe.rows.push_back(SliceRows{0, 1, kept});
    SMELT_RETURN_IF_ERROR(AddOperation(rule.op, rows, recipe));
    const uint64_t result = kept;
    Add(target, vector ? std::vector<uint64_t>{result} : std::vector<uint64_t>{columns, result},
        std::move(recipe));
    if (!rule.bias.empty() && context_.hyper.flag(rule.bias)) return MakeBias(rule, layer);
    return absl::OkStatus();
  }

  absl::Status AddOperation(TensorOp op, uint64_t rows, Recipe& recipe) {
    const Hyper& h = context_.hyper;
    if (op == TensorOp::kRotaryQ || op == TensorOp::kRotaryK) {
      const uint64_t heads =
          op == TensorOp::kRotaryQ || !h.Has("kv_heads") ? h("heads") : h("kv_heads");
      if (rows % (2 * heads) != 0)
        return context_.config.Bad("head_dim", "is odd, which half-split rotary rows cannot be");
      recipe.rows.push_back(SwapRows{heads, 2, rows / heads / 2});
    } else if (op == TensorOp::kHeadMajor) {
      recipe.rows.push_back(SwapRows{1, h("heads"), 3, h("head_dim")});
    } else if (op == TensorOp::kAddOne) {
      recipe.elements.push_back(AddConstant{1});
    } else if (op == TensorOp::kNegativeExp || op == TensorOp::kFlatNegativeExp) {
      recipe.elements.push_back(NegativeExp{});
    }
    return absl::OkStatus();
  }

  absl::Status MakeBias(const TensorRule& rule, uint64_t layer) {
    std::string sources;  // every alternative with .bias
    std::string_view rest = rule.source;
    while (true) {
      const size_t bar = rest.find('|');
      sources += BiasOf(rest.substr(0, bar));
      if (bar == std::string_view::npos) break;
      sources += '|';
      rest.remove_prefix(bar + 1);
    }
    const std::string target = BiasOf(Filled(rule.target, '*', layer));
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

  absl::Status MakeExperts(const TensorRule& rule, uint64_t layer, const std::string& target) {
    const uint64_t rows = context_.hyper(rule.rows), columns = context_.hyper(rule.columns),
                   experts = context_.hyper("experts");
    if (experts > container_.tensors.size()) {
      return context_.config.Bad(
          "num_local_experts|num_experts",
          Cat("is ", experts, ", but the files hold only ", container_.tensors.size(), " tensors"));
    }
    Recipe recipe;
    for (uint64_t e = 0; e < experts; ++e) {
      SMELT_ASSIGN_OR_RETURN(const RawTensor* tensor, Need(rule.source, layer, e, target));
      SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, {rows, columns}, target, rule));
      recipe.leaves.push_back(RawLeaf{*tensor, columns, false});
    }
    Add(target, {columns, rows, experts}, std::move(recipe));
    return absl::OkStatus();
  }

  /// Expert `e` of a tensor (experts, ...): the same storage, one dimension less.
  static RawTensor Expert(const RawTensor& tensor, uint64_t e) {
    RawTensor part = tensor;
    part.offset += e * static_cast<uint64_t>(tensor.strides[0]) * (BitsOf(tensor.dtype) / 8);
    part.shape.erase(part.shape.begin());
    part.strides.erase(part.strides.begin());
    return part;
  }

  absl::Status MakeFusedExperts(const TensorRule& rule, uint64_t layer, const std::string& target) {
    const uint64_t rows = context_.hyper(rule.rows), columns = context_.hyper(rule.columns),
                   experts = context_.hyper("experts");
    SMELT_ASSIGN_OR_RETURN(const RawTensor* tensor, Need(rule.source, layer, 0, target));
    const bool halves =
        rule.op == TensorOp::kFusedExpertsFirst || rule.op == TensorOp::kFusedExpertsSecond;
    const bool interleaved = rule.op == TensorOp::kEvenExperts || rule.op == TensorOp::kOddExperts;
    const uint64_t stored_rows = halves || interleaved ? 2 * rows : rows;
    SMELT_RETURN_IF_ERROR(ExpectShape(*tensor,
                                      halves ? std::vector<uint64_t>{experts, stored_rows, columns}
                                             : std::vector<uint64_t>{experts, columns, stored_rows},
                                      target, rule));
    Recipe recipe;
    for (uint64_t e = 0; e < experts; ++e)
      recipe.leaves.push_back(RawLeaf{Expert(*tensor, e), columns, !halves});
    if (interleaved) {
      recipe.rows.push_back(
          SliceRows{rule.op == TensorOp::kOddExperts ? 1u : 0u, 2, experts * rows});
    } else if (halves) {
      // (experts, 2, rows) with the halves outermost, then one of them.
      recipe.rows.push_back(SwapRows{1, experts, 2, rows});
      recipe.rows.push_back(SliceRows{rule.op == TensorOp::kFusedExpertsSecond ? experts * rows : 0,
                                      1, experts * rows});
    }
    Add(target, {columns, rows, experts}, std::move(recipe));
    return absl::OkStatus();
  }

  absl::Status MakeExpertBias(const TensorRule& rule, uint64_t layer, const std::string& target) {
    const uint64_t rows = context_.hyper(rule.rows), experts = context_.hyper("experts");
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

  bool IsDropped(const std::string& name) const {
    const auto ends = [&name](std::string_view ending) { return name.ends_with(ending); };
    if (std::any_of(std::begin(kBuffers), std::end(kBuffers), ends)) return true;
    if (std::any_of(family_.dropped.begin(), family_.dropped.end(), ends)) return true;
    return context_.hyper.flag("tied") && IsHead(name);  // the same values as the embedding's
  }

  absl::Status CheckAllUsed() {
    bool other_parts = false;
    for (const auto& [name, tensor] : index_) {
      if (used_.contains(tensor) || IsDropped(name)) continue;
      const bool other =
          std::any_of(std::begin(kOtherParts), std::end(kOtherParts), [&](std::string_view part) {
            return name.find(part) != std::string::npos &&
                   (name.starts_with(part) || name.find(Cat(".", part)) != std::string::npos);
          });
      other_parts |= other;
      if (!other) unknown_.push_back(tensor->name);
    }
    if (!unknown_.empty()) {
      const std::string& first = *std::min_element(unknown_.begin(), unknown_.end());
      return Error(ErrorCode::kUnsupported, "tensor ", Escape(first), " is not known to ",
                   family_.names[0], " with ", context_.hyper("layers"), " layers (",
                   context_.config.name(), "): leaving it out would change the model");
    }
    if (other_parts) {
      context_.notes.push_back(
          "only the text part of this model is used; its vision or audio tensors are left out");
    }
    return absl::OkStatus();
  }

  FamilyContext& context_;
  const Family& family_;
  const Container& container_;
  std::unordered_map<std::string, const RawTensor*> index_;
  std::unordered_set<const RawTensor*> used_;
  std::vector<RecipeTensor> made_;
  std::vector<std::string> unknown_;
};

}  // namespace

absl::StatusOr<std::vector<RecipeTensor>> MakeTensors(FamilyContext& context,
                                                      const Container& container) {
  return TensorMaker(context, container).Make();
}

}  // namespace smelt
