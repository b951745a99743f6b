// Which rules of a family apply, and to which published tensors: every tensor of the table is found
// and has its shape.
#include <algorithm>
#include <cmath>
#include <utility>

#include "lib/base/status.h"
#include "lib/model/alternatives.h"
#include "lib/model/imagined_model.h"
#include "lib/model/same_values.h"
#include "lib/model/stored_values.h"
#include "lib/model/tensor_maker.h"

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

}  // namespace

absl::StatusOr<std::vector<RecipeTensor>> TensorMaker::Make() {
  if (context_.imagined != nullptr) {
    published_ = PublishedTensors::Imagined(family_, container_, context_.imagined->asked);
  } else {
    SMELT_ASSIGN_OR_RETURN(published_, PublishedTensors::Make(family_, container_, context_.notes));
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

absl::Status TensorMaker::SettleTie() {
  if (!context_.hyper.flag(Param::kTied)) return SettleHead();
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

/// Of a model with parts the tie is said outside of the text part; older versions of transformers
/// saved it inside only. A model that is published for its vectors often has no output matrix, and
/// a configuration of the one with it: readers then take the embedding, as where both are one.
absl::Status TensorMaker::SettleHead() {
  const Config* whole = context_.config.Outer();
  const JsonValue* part = whole == nullptr ? nullptr : whole->Find(family_.part);
  const JsonValue* tie = part == nullptr ? nullptr : part->FindNonNull("tie_word_embeddings");
  const bool tied_inside = tie != nullptr && tie->as_bool() != nullptr && *tie->as_bool();
  if ((!tied_inside && !context_.makes_vectors) || published_->Find(family_.head) != nullptr)
    return absl::OkStatus();
  context_.hyper.Set(Param::kTied, 1);
  if (tied_inside) {
    context_.notes.push_back(Cat(Alternatives(family_.head)[0], " is not stored, and ",
                                 family_.part, " says tie_word_embeddings: the embedding is used"));
    return absl::OkStatus();
  }
  context_.notes.push_back(Cat("no output matrix (", Alternatives(family_.head)[0],
                               ") is stored, as is usual of models that are published for their "
                               "vectors: the embedding stands for it, and text means nothing"));
  return absl::OkStatus();
}

absl::StatusOr<const RawTensor*> TensorMaker::Need(std::string_view sources, uint64_t layer,
                                                   uint64_t expert, const std::string& target) {
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

std::string TensorMaker::MissingHint(std::string_view sources, std::string_view name) const {
  std::string hint;
  if (IsHead(family_, Alternatives(sources)[0]))
    hint = "; tie_word_embeddings is false, so the output matrix must be stored";
  const std::string nearest = published_->Nearest(name);
  return nearest.empty() ? hint
                         : Cat(hint, "; the nearest name in the files is ", Escape(nearest, 100));
}

absl::Status TensorMaker::ExpectShape(const RawTensor& tensor, const std::vector<uint64_t>& shape,
                                      const std::string& target, const TensorRule& rule) {
  published_->Expect(tensor, shape);
  if (tensor.shape == shape) return absl::OkStatus();
  return Error(ErrorCode::kInvalidInput, "tensor ", Escape(tensor.name), " (", target,
               ") has shape ", ShapeText(tensor.shape), ", expected ", ShapeText(shape), " (",
               TextOf(rule.rows), rule.columns == Param::kNone ? "" : " x ", TextOf(rule.columns),
               " of ", context_.config.name(), ")");
}

void TensorMaker::Add(std::string name, std::vector<uint64_t> ne, Recipe recipe) {
  RecipeTensor tensor;
  tensor.name = std::move(name);
  tensor.shape.dims = static_cast<int>(ne.size());
  std::copy(ne.begin(), ne.end(), tensor.shape.ne.begin());
  tensor.recipe = std::move(recipe);
  made_.push_back(std::move(tensor));
}

absl::Status TensorMaker::ApplyToDraft(const TensorRule& rule, uint64_t layers, uint64_t i) {
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

absl::StatusOr<bool> TensorMaker::Applies(const TensorRule& rule, uint64_t layer,
                                          const std::string& target) {
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

bool TensorMaker::HasBias(const TensorRule& rule, uint64_t layer) const {
  return published_->imagined()
             ? rule.bias != Param::kNone && published_->Has(BiasesOf(rule.source), layer)
             : context_.hyper.flag(rule.bias);
}

absl::Status TensorMaker::CheckCount(std::string_view key, uint64_t count) const {
  const uint64_t tensors =
      context_.imagined == nullptr ? container_.tensors.size() : context_.imagined->MostLayers();
  if (count <= tensors) return absl::OkStatus();
  return context_.config.Bad(key,
                             Cat("is ", count, ", but the files hold only ", tensors, " tensors"));
}

absl::Status TensorMaker::Apply(const TensorRule& rule, uint64_t layer) {
  const std::string target = FilledName(rule.target, layer);
  SMELT_ASSIGN_OR_RETURN(const bool applies, Applies(rule, layer, target));
  if (!applies) return absl::OkStatus();
  if (rule.optional && !published_->Has(rule.source, layer)) return absl::OkStatus();
  if (!published_->Has(rule.source, layer)) {
    for (const auto& [source, op] :
         {std::pair(rule.fused, rule.fused_op), {rule.mlx, rule.mlx_op}}) {
      if (source.empty() || !published_->Has(source, layer)) continue;
      TensorRule other = rule;
      other.source = source;
      other.op = op;
      return Make(other, layer, target);
    }
  }
  return Make(rule, layer, target);
}

absl::Status TensorMaker::Make(const TensorRule& rule, uint64_t layer, const std::string& target) {
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
    case TensorOp::kLatentKeysOfHeads:
    case TensorOp::kLatentValuesOfHeads:
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

absl::Status TensorMaker::KeepNumber(const TensorRule& rule, uint64_t layer,
                                     const std::string& key) {
  SMELT_ASSIGN_OR_RETURN(const RawTensor* tensor, Need(rule.source, layer, 0, key));
  if (tensor->elements() != 1) SMELT_RETURN_IF_ERROR(ExpectShape(*tensor, {1}, key, rule));
  SMELT_ASSIGN_OR_RETURN(const float number, NumberOf(*tensor));
  context_.numbers[key].push_back(number);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<RecipeTensor>> MakeTensors(FamilyContext& context) {
  return TensorMaker(context).Make();
}

}  // namespace smelt
