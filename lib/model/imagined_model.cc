#include "lib/model/imagined_model.h"

#include <algorithm>
#include <optional>

#include "lib/base/status.h"
#include "lib/model/choose_family.h"
#include "lib/model/families/rows.h"

namespace smelt {
namespace {

/// Operations that a GGUF lets be told, with the hyperparameters that they take.
struct Needs {
  TensorOp op;
  Param params[3] = {};
};
constexpr Needs kTold[] = {
    {TensorOp::kCopy},
    {TensorOp::kRotaryQ, {Param::kHeads, Param::kRopeDims}},
    {TensorOp::kRotaryK, {Param::kHeads, Param::kRopeDims}},
    {TensorOp::kAddOne},
    {TensorOp::kTranspose},
    {TensorOp::kHeadMajor, {Param::kHeads, Param::kHeadDim}},
    {TensorOp::kExperts},
    {TensorOp::kStackedExperts},
    {TensorOp::kTransposedExperts},
    {TensorOp::kTransposedExpertsFirst},
    {TensorOp::kTransposedExpertsSecond},
    {TensorOp::kFusedExpertsFirst},
    {TensorOp::kFusedExpertsSecond},
    {TensorOp::kEvenExperts},
    {TensorOp::kOddExperts},
    {TensorOp::kEvenExpertRows},
    {TensorOp::kOddExpertRows},
    {TensorOp::kFirstRows},
    {TensorOp::kSecondRows},
    {TensorOp::kValueHeads, {Param::kValueHeads, Param::kKeyHeads, Param::kValueSize}},
    {TensorOp::kValueHeadColumns, {Param::kValueHeads, Param::kKeyHeads, Param::kValueSize}},
    {TensorOp::kLastValueHeads, {Param::kValueHeads, Param::kKeyHeads, Param::kValueSize}},
};

/// The number of a key; the greatest of a list.
std::optional<double> NumberOf(const Metadata& metadata, const std::string& key) {
  const MetadataValue* value = metadata.Find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto flag = value->AsBool(); flag && !value->is_array()) return *flag ? 1 : 0;
  std::optional<double> greatest;
  for (size_t i = 0; i < value->size(); ++i) {
    const std::optional<double> number = value->FloatAt(i);
    if (number && (!greatest || *number > *greatest)) greatest = number;
  }
  return greatest;
}

}  // namespace

absl::StatusOr<bool> TakeExtents(const ImaginedModel& imagined, const TensorRule& rule,
                                 const std::string& target, Hyper& hyper) {
  const int index = imagined.file->Find(target);
  if (index < 0) return false;
  const Needs* const told = std::ranges::find(kTold, rule.op, &Needs::op);
  const bool known = told != std::end(kTold) && std::ranges::all_of(told->params, [&](Param param) {
                       return param == Param::kNone || hyper(param) != 0;
                     });
  const bool scaled = rule.factors[0] != Param::kNone;
  if (!known || scaled) {
    return Error(ErrorCode::kUnsupported, "how ", target, " was made of ", rule.source,
                 " cannot be told from a GGUF",
                 scaled ? ": the factors that it was multiplied by are not in it" : "",
                 "; merge the adapter into the published folder");
  }
  const Shape& shape = imagined.file->tensors()[static_cast<size_t>(index)].shape;
  const auto set = [&](Param param, uint64_t extent) {
    if (param != Param::kNone) hyper.Set(param, static_cast<double>(extent));
  };
  const bool vector = rule.columns == Param::kNone;
  set(rule.columns, shape.ne[0]);
  set(rule.rows, shape.ne[vector ? 0 : 1]);
  if (shape.dims == 3) set(Param::kExperts, shape.ne[2]);
  return true;
}

std::vector<const Family*> FamiliesOf(const ModelSource& file) {
  const std::string name = file.metadata().StringOr("general.architecture", "").value_or("");
  std::vector<const Family*> families;
  for (const Family* family : KnownFamilies()) {
    if (family->architecture.name == name) families.push_back(family);
  }
  return families;
}

FamilyContext ContextOfGguf(const Family& family, const ModelSource& file, const Config& config,
                            const Container& container) {
  FamilyContext context{.family = family, .config = config, .container = container};
  const Metadata& metadata = file.metadata();
  const std::string prefix = Cat(family.architecture.name, ".");
  Hyper& h = context.hyper;
  h.Set(Param::kAlways, 1);
  h.Set(Param::kOne, 1);
  for (const KeyRule& rule : family.keys) {
    if (rule.param == Param::kNone) continue;
    const std::string_view key = rule.key == kKvHeadsKey.key      ? "attention.head_count_kv"
                                 : rule.key == kFfnLengthsKey.key ? "feed_forward_length"
                                                                  : rule.key;
    if (const auto number = NumberOf(metadata, Cat(prefix, key))) h.Set(rule.param, *number);
  }
  const auto read = [&](Param param, std::string_view key, double otherwise) {
    if (h(param) == 0) h.Set(param, NumberOf(metadata, Cat(prefix, key)).value_or(otherwise));
  };
  read(Param::kLayers, "block_count", 0);
  const double draft = NumberOf(metadata, Cat(prefix, kDraftKey.key)).value_or(0);
  if (draft > 0 && draft < h.real(Param::kLayers)) {
    h.Set(Param::kDraft, draft);
    h.Set(Param::kLayers, h.real(Param::kLayers) - draft);
  }
  read(Param::kHeads, "attention.head_count", 0);
  read(Param::kWidth, "embedding_length", 0);
  const uint64_t heads = std::max<uint64_t>(h(Param::kHeads), 1);
  if (h.Has(Param::kKvHeads) && h(Param::kKvHeads) == 0) h.Remove(Param::kKvHeads);
  read(Param::kHeadDim, "attention.key_length", static_cast<double>(h(Param::kWidth) / heads));
  read(Param::kRopeDims, "rope.dimension_count", h.real(Param::kHeadDim));
  if (h(Param::kValueHeads) != 0 && h(Param::kValueSize) == 0)
    h.Set(Param::kValueSize, static_cast<double>(h(Param::kInner) / h(Param::kValueHeads)));
  h.Set(Param::kTied, file.Find("output.weight") < 0 ? 1 : 0);
  return context;
}

}  // namespace smelt
