#include "lib/jobs/output_types.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

#include "lib/base/ascii.h"
#include "lib/base/status.h"
#include "lib/jobs/fallbacks.h"
#include "lib/model/recipe.h"
#include "quant/encoder.h"
#include "smelt/nearest.h"

namespace smelt {
namespace {

bool IsPublished(const ModelSource& source) {
  return std::any_of(source.tensors().begin(), source.tensors().end(),
                     [](const TensorInfo& t) { return t.recipe != nullptr; });
}

bool IsPlain(TensorType type) {
  return type == TensorType::kF32 || type == TensorType::kF16 || type == TensorType::kBF16;
}

// Small tensors that llama.cpp's converter keeps in F32 although they have two dimensions and end
// in ".weight".
constexpr std::array<std::string_view, 8> kAlwaysF32 = {
    "ffn_gate_inp.weight", "ffn_gate_inp_shexp.weight", "position_embd.weight",
    "token_types.weight",  "ssm_conv1d.weight",         "shortconv.conv.weight",
    "altup_router.weight", "attn_rel_b.weight"};

// The type in which the converter writes a published tensor when asked for `output`, and why.
TypeChoice ConverterType(const TensorInfo& tensor, TensorType output) {
  if (tensor.shape.dims < 2) return {TensorType::kF32, "one dimension"};
  if (tensor.name.ends_with("_norm.weight")) return {TensorType::kF32, "a norm"};
  if (!tensor.name.ends_with(".weight")) return {TensorType::kF32, "no weight matrix"};
  for (std::string_view name : kAlwaysF32) {
    if (tensor.name.ends_with(name)) return {TensorType::kF32, "kept exact: small and sensitive"};
  }
  return {output, ""};
}

// "auto": bf16 stays bf16, and so do weights that are decoded; everything else becomes f16. The
// first matrix decides.
TensorType AutomaticType(const ModelSource& source) {
  const bool decoded = std::ranges::any_of(source.tensors(), [](const TensorInfo& t) {
    return t.recipe != nullptr && t.recipe->code_bits() != 0;
  });
  if (decoded) return TensorType::kBF16;
  for (const TensorInfo& t : source.tensors()) {
    if (t.shape.dims >= 2 && (t.recipe == nullptr || t.recipe->only_gathers()))
      return t.file_type() == TensorType::kBF16 ? TensorType::kBF16 : TensorType::kF16;
  }
  return TensorType::kF16;
}

uint32_t FileTypeOf(TensorType type) {
  switch (type) {
    case TensorType::kF32:
      return 0;
    case TensorType::kBF16:
      return 32;
    case TensorType::kMXFP4:
      return 38;
    case TensorType::kNVFP4:
      return 39;
    default:
      return 1;
  }
}

absl::StatusOr<std::optional<TensorType>> OptionalType(const std::string& name,
                                                       std::string_view option) {
  if (name.empty()) return std::optional<TensorType>();
  std::optional<TensorType> type = ParseTensorType(name);
  if (!type)
    return Error(ErrorCode::kUsage, option, ": \"", Escape(name),
                 "\" is no tensor type; try q6_k, q8_0 or f16");
  return type;
}

absl::StatusOr<PresetOptions> ToPresetOptions(const PlanOptions& options) {
  PresetOptions out;
  out.pure = options.pure;
  out.with_importance = !options.imatrix.empty() || options.gathers();
  SMELT_ASSIGN_OR_RETURN(out.output_tensor_type,
                         OptionalType(options.output_tensor_type, "--output-tensor-type"));
  SMELT_ASSIGN_OR_RETURN(out.token_embedding_type,
                         OptionalType(options.token_embedding_type, "--token-embedding-type"));
  for (const auto& [pattern, name] : options.tensor_types) {
    SMELT_ASSIGN_OR_RETURN(std::optional<TensorType> type,
                           OptionalType(name, Cat("--tensor-type ", Escape(pattern, 40))));
    if (!type)
      return Error(ErrorCode::kUsage, "--tensor-type ", Escape(pattern, 40),
                   ": no type given; write REGEX=TYPE");
    out.tensor_types.emplace_back(pattern, *type);
  }
  return out;
}

bool HasTypeOptions(const PlanOptions& options) {
  return options.pure || !options.output_tensor_type.empty() ||
         !options.token_embedding_type.empty() || !options.tensor_types.empty();
}

uint32_t KeyOr0(const Metadata& metadata, const std::string& key) {
  const MetadataValue* value = metadata.Find(key);
  if (value == nullptr || value->size() == 0) return 0;
  const std::optional<int64_t> n = value->IntAt(0);
  return n && *n > 0 && *n <= UINT32_MAX ? static_cast<uint32_t>(*n) : 0;
}

// The model as the presets see it. Published tensors take the types that the converter's own file
// would have.
ModelShape ShapeOf(const ModelSource& source, bool published, TensorType automatic) {
  const Metadata& metadata = source.metadata();
  ModelShape shape;
  if (const MetadataValue* v = metadata.Find("general.architecture");
      v != nullptr && v->AsString() != nullptr)
    shape.architecture = *v->AsString();
  shape.layers = KeyOr0(metadata, shape.architecture + ".block_count");
  shape.experts = KeyOr0(metadata, shape.architecture + ".expert_count");
  shape.heads = KeyOr0(metadata, shape.architecture + ".attention.head_count");
  const std::string kv_heads = shape.architecture + ".attention.head_count_kv";
  shape.kv_heads = metadata.Has(kv_heads) ? KeyOr0(metadata, kv_heads) : shape.heads;
  for (const TensorInfo& t : source.tensors()) {
    ShapeTensor s;
    s.name = t.name;
    std::copy(t.shape.ne.begin(), t.shape.ne.end(), s.ne);
    s.dims = t.shape.dims;
    s.type = published ? ConverterType(t, automatic).type : t.file_type();
    shape.tensors.push_back(std::move(s));
  }
  return shape;
}

// file_type of a copy: the source's own, or 1024 + the one of its most frequent type.
std::optional<uint32_t> GuessFileType(const ModelSource& source) {
  if (source.metadata().Has("general.file_type")) return std::nullopt;
  std::map<TensorType, size_t> counts;
  for (const TensorInfo& t : source.tensors())
    if (t.shape.dims >= 2) ++counts[t.file_type()];
  const auto most =
      std::max_element(counts.begin(), counts.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most == counts.end()) return std::nullopt;
  const Preset* preset = FindPreset(Info(most->first).name);
  if (preset == nullptr) return std::nullopt;
  return 1024 + preset->file_type;
}

OutputTypes Copy(const ModelSource& source, bool published) {
  OutputTypes out;
  out.name = "COPY";
  for (const TensorInfo& t : source.tensors()) {
    const TensorType type = t.file_type();
    TypeChoice choice{type, "kept"};
    if (published) {
      choice = ConverterType(t, type == TensorType::kF64 ? TensorType::kF32 : type);
      if (choice.why.empty()) choice.why = "kept";
    }
    if (t.unmerged) choice.why += ", with the adapter";
    out.choices.push_back(std::move(choice));
  }
  out.file_type =
      published ? std::optional(FileTypeOf(AutomaticType(source))) : GuessFileType(source);
  return out;
}

// `keep_blocks`: what the source holds in a block type stays in it, and file_type says so.
OutputTypes Plain(const ModelSource& source, TensorType type, bool keep_blocks) {
  OutputTypes out;
  out.name = std::string(Info(type).name);
  out.file_type = FileTypeOf(type);
  for (const TensorInfo& t : source.tensors()) {
    TypeChoice choice = ConverterType(t, type);
    if (choice.why.empty()) choice.why = "as asked";
    if (keep_blocks && Info(t.type).quantized) {
      choice = {t.type, "as it is in the source"};
      out.file_type = FileTypeOf(t.type);
    }
    out.choices.push_back(std::move(choice));
  }
  return out;
}

// Whether coarse codes of the source become other codes.
bool CodesAgain(const ModelSource& source, const std::vector<TypeChoice>& choices) {
  constexpr uint32_t kCoarse = 4;
  for (size_t i = 0; i < choices.size(); ++i) {
    const TensorInfo& t = source.tensors()[i];
    const uint32_t bits = t.recipe == nullptr ? 0 : t.recipe->code_bits();
    const TensorTypeInfo& to = Info(choices[i].type);
    if (bits != 0 && bits <= kCoarse && to.quantized && choices[i].type != t.type) return true;
  }
  return false;
}

// A copy but for the tensors that --tensor-type names.
absl::StatusOr<OutputTypes> CopyBut(const ModelSource& source, bool published,
                                    const PlanOptions& options) {
  if (options.pure || !options.output_tensor_type.empty() ||
      !options.token_embedding_type.empty()) {
    return Error(ErrorCode::kUsage,
                 "--pure, --output-tensor-type and --token-embedding-type have no effect with "
                 "--type copy, which keeps what is not named: name tensors with --tensor-type");
  }
  OutputTypes out = Copy(source, published);
  if (options.tensor_types.empty()) return out;
  SMELT_ASSIGN_OR_RETURN(const PresetOptions named, ToPresetOptions(options));
  SMELT_RETURN_IF_ERROR(ChangeNamed(ShapeOf(source, published, AutomaticType(source)), named,
                                    out.choices, out.warnings));
  return out;
}

absl::Status UnknownType(std::string_view given, std::optional<TensorType> of_tensors) {
  if (of_tensors && Info(*of_tensors).quantized && CanEncode(*of_tensors)) {
    return Error(ErrorCode::kUsage, "--type ", Escape(given),
                 " is a type of tensors, not of files: --type q4_0 --pure --tensor-type '.*=",
                 LowerAscii(given), "' gives it to all matrices");
  }
  std::vector<std::string_view> names = {"AUTO", "COPY"};
  for (const Preset& preset : AllPresets()) names.push_back(preset.name);
  std::string nearest;
  for (const std::string_view name : NearestNames(given, names, 3))
    nearest += (nearest.empty() ? "" : ", ") + LowerAscii(name);
  return Error(ErrorCode::kUsage, "--type \"", Escape(given), "\" is unknown; the nearest are ",
               nearest, ", the usual one is q4_k_m (smelt convert --help lists all)");
}

}  // namespace

absl::StatusOr<OutputTypes> ChooseOutputTypes(const ModelSource& source,
                                              const PlanOptions& options) {
  const bool published = IsPublished(source);
  const TensorType automatic = AutomaticType(source);
  std::string name = UpperAscii(options.type);
  if (name == "AUTO") name = std::string(Info(automatic).name);
  const std::optional<TensorType> as_type = ParseTensorType(name);
  const bool plain = as_type && IsPlain(*as_type);
  if (name == "COPY") return CopyBut(source, published, options);
  if (plain && HasTypeOptions(options)) {
    return Error(ErrorCode::kUsage,
                 "--pure, --tensor-type, --output-tensor-type and --token-embedding-type have no "
                 "effect with --type ",
                 Escape(options.type),
                 ": they change what a quantizing type such as q4_k_m chooses");
  }
  if (plain && published) return Plain(source, *as_type, UpperAscii(options.type) == "AUTO");
  const Preset* preset = FindPreset(name);
  if (preset == nullptr) return UnknownType(options.type, as_type);
  SMELT_ASSIGN_OR_RETURN(PresetOptions preset_options, ToPresetOptions(options));
  OutputTypes out;
  out.name = std::string(preset->name);
  out.file_type = preset->file_type;
  SMELT_ASSIGN_OR_RETURN(out.choices, ChooseTypes(ShapeOf(source, published, automatic), *preset,
                                                  preset_options, &out.warnings));
  const auto quantized = [](const TypeChoice& c) { return Info(c.type).quantized; };
  if (Info(preset->base).quantized &&
      std::none_of(out.choices.begin(), out.choices.end(), quantized)) {
    out.warnings.push_back(
        "no tensor changes its type: the presets change matrices whose name ends in \".weight\"; "
        "--dry-run says why each one is kept");
  }
  if (CodesAgain(source, out.choices)) {
    out.warnings.push_back(
        "weights that the source holds in 4 bits or fewer are quantized again, and the errors add "
        "up: the unquantized model gives a better file");
  }
  if (!options.allow_fallback) SMELT_RETURN_IF_ERROR(RefuseFallbacks(source, out.choices));
  return out;
}

}  // namespace smelt
