#include "lib/jobs/plan.h"

#include <algorithm>
#include <cctype>

#include "formats/gguf.h"
#include "lib/base/hash.h"
#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/jobs/gathered_statistics.h"
#include "lib/jobs/metadata_edit.h"
#include "lib/jobs/output_name.h"
#include "lib/jobs/output_types.h"
#include "lib/jobs/plan_importance.h"
#include "lib/jobs/plan_layout.h"
#include "quant/codec.h"
#include "quant/encoder.h"

namespace smelt {
namespace {

// Elements of a tile: 1 MiB as f32. Small enough that any number of workers stays within the memory
// bound, large enough that a read or write is worth its system call.
constexpr uint64_t kTileElements = 256 * 1024;

uint64_t TileRows(const TensorInfo& tensor) {
  const uint64_t columns = std::max<uint64_t>(tensor.shape.columns(), 1);
  uint64_t rows = std::max<uint64_t>(kTileElements / columns, 1);
  // Whole blocks of a source that reads several rows at once, as long as they keep the bound.
  if (tensor.tile_rows > 1 && tensor.tile_rows <= rows) rows -= rows % tensor.tile_rows;
  return std::min(rows, std::max<uint64_t>(tensor.shape.ne[1], 1));
}

absl::Status CheckEncodable(const TensorInfo& tensor, TensorType type, bool may_requantize) {
  if (type == tensor.type) return absl::OkStatus();
  const TensorType stored = tensor.file_type();
  if (Info(stored).quantized && tensor.recipe == nullptr && !may_requantize) {
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(tensor.name), " is already quantized (",
                 Info(stored).name, ") and would become ", Info(type).name,
                 tensor.unmerged ? " with the adapter" : "",
                 ": errors add up, so convert from the original model, or accept the loss with "
                 "--allow-requantize");
  }
  if (FindCodec(tensor.type) == nullptr && tensor.recipe == nullptr &&
      tensor.type != TensorType::kF64) {
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(tensor.name), " is stored as ",
                 Info(tensor.type).name,
                 ", whose values we cannot read; --type copy keeps it as it is");
  }
  if (!CanEncode(type)) {
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(tensor.name), " would become ",
                 Info(type).name, ", which we cannot write; choose another --type");
  }
  if (!RowBytes(type, tensor.shape.columns())) {
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(tensor.name), " has rows of ",
                 tensor.shape.columns(), " columns, no multiple of the ", Info(type).block_elements,
                 " of ", Info(type).name, "; choose another type for it");
  }
  return absl::OkStatus();
}

bool Quantizes(const Plan& plan) {
  return std::ranges::any_of(plan.tensors, [](const PlannedTensor& t) {
    return Info(t.type).quantized && t.type != t.source_type;
  });
}

absl::Status PlanGathering(const ModelSource& source, Plan& plan) {
  const PlanOptions& options = plan.options;
  if (!options.gathers()) return absl::OkStatus();
  if (!Quantizes(plan)) {
    if (!options.statistics.empty()) {
      plan.warnings.push_back(Cat("--statistics has no effect with --type ", Escape(options.type),
                                  ": no tensor is quantized, and nothing is gathered"));
    }
    return absl::OkStatus();
  }
  SMELT_ASSIGN_OR_RETURN(plan.gathering,
                         MakeGathering(source, {.files = options.calibration,
                                                .tokens = options.calibration_tokens,
                                                .moments = options.effort == "best",
                                                .statistics = options.statistics}));
  if (plan.gathering->kept == nullptr) return absl::OkStatus();
  return CheckStatistics(*plan.gathering->kept, source, WithMoments(source, plan));
}

absl::StatusOr<Metadata> OutputMetadata(const ModelSource& source, const Plan& plan,
                                        const OutputTypes& types) {
  Metadata metadata = source.metadata();
  for (std::string_view key : {kSplitNumberKey, kSplitCountKey, kSplitTensorsKey})
    metadata.Erase(key);
  metadata.Erase(OwnKeyName("smelt.padding"));  // of the source's own layout
  const bool block_types = std::any_of(types.choices.begin(), types.choices.end(),
                                       [](const TypeChoice& c) { return Info(c.type).quantized; });
  // A converter's plain output has the key only where the family writes it; a quantizer always sets
  // it.
  if (types.file_type && (block_types || metadata.Has("general.file_type") || types.name == "COPY"))
    metadata.Set("general.file_type", *types.file_type);
  if (block_types || metadata.Has("general.quantization_version"))
    metadata.Set("general.quantization_version", uint32_t{2});
  SetImportanceKeys(plan, metadata);
  SMELT_RETURN_IF_ERROR(EditMetadata(plan.options.metadata, metadata));
  return metadata;
}

std::string ArchitectureOf(const Metadata& metadata) {
  const MetadataValue* v = metadata.Find("general.architecture");
  return v != nullptr && v->AsString() != nullptr ? *v->AsString() : std::string();
}

std::string StringOr(const Metadata& metadata, std::string_view key) {
  const MetadataValue* v = metadata.Find(key);
  return v != nullptr && v->AsString() != nullptr ? *v->AsString() : std::string();
}

std::string LastComponent(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  path = path.substr(path.find_last_of('/') + 1);
  for (std::string_view suffix : {".gguf", ".safetensors"}) {
    if (path.ends_with(suffix)) path.resize(path.size() - suffix.size());
  }
  return path;
}

}  // namespace

uint64_t Plan::header_bytes() const {
  uint64_t bytes = 0;
  for (const PlannedFile& file : files) bytes += file.header.size();
  return bytes;
}

double Plan::bits_per_weight() const {
  uint64_t bytes = 0;
  for (const PlannedTensor& t : tensors) bytes += t.bytes;
  return parameters == 0 ? 0 : static_cast<double>(bytes) * 8 / static_cast<double>(parameters);
}

uint64_t Plan::Fingerprint() const {
  std::string text = Cat(source_identity, "\n", encoder_version, "\n", options.effort, "\n");
  for (const PlannedTensor& t : tensors)
    text += Cat(t.name, ' ', static_cast<uint32_t>(t.source_type), ' ',
                static_cast<uint32_t>(t.type), ' ', t.offset, ' ', t.tile_rows, "\n");
  if (importance != nullptr) text += importance->sha256();
  if (gathering) text += gathering->Identity();
  for (const PlannedFile& file : files) text += Cat(file.bytes, ' ', XxHash64(file.header), "\n");
  return XxHash64(std::as_bytes(std::span(text)));
}

Tile Plan::TileAt(uint64_t number) const {
  const auto after =
      std::upper_bound(tensors.begin(), tensors.end(), number,
                       [](uint64_t n, const PlannedTensor& t) { return n < t.first_tile; });
  Tile tile;
  tile.tensor = static_cast<size_t>(after - tensors.begin()) - 1;
  const PlannedTensor& t = tensors[tile.tensor];
  tile.file = t.file;
  const uint64_t in_tensor = number - t.first_tile;
  const uint64_t matrix = in_tensor / t.tiles_per_matrix();
  const uint64_t row = in_tensor % t.tiles_per_matrix() * t.tile_rows;
  tile.rows = std::min(t.tile_rows, t.matrix_rows() - row);
  tile.first_row = matrix * t.matrix_rows() + row;
  const uint64_t row_bytes = t.bytes / t.shape.rows();
  tile.offset = t.offset + tile.first_row * row_bytes;
  tile.bytes = tile.rows * row_bytes;
  tile.padding = in_tensor + 1 == t.tiles ? t.padding : 0;
  return tile;
}

absl::StatusOr<Plan> MakePlan(const ModelSource& source, const PlanOptions& options,
                              const FixedTypes* fixed) {
  if (!EffortNamed(options.effort)) {
    return Error(ErrorCode::kUsage, "effort is ", Escape(options.effort, 40),
                 ": write fast, normal or best");
  }
  if (!options.gathers() && (!options.calibration.empty() || options.calibration_tokens > 0)) {
    return Error(ErrorCode::kUsage,
                 "a calibration text (--calibration, --calibration-tokens) is read for --effort "
                 "best and --imatrix auto only");
  }
  if (!options.gathers() && !options.statistics.empty()) {
    return Error(ErrorCode::kUsage,
                 "--statistics keeps what --effort best and --imatrix auto gather: add one of "
                 "them");
  }
  SMELT_ASSIGN_OR_RETURN(OutputTypes types, ChooseOutputTypes(source, options));
  Plan plan;
  plan.source = source.name();
  plan.source_identity = source.identity();
  plan.options = options;
  plan.type = types.name;
  plan.warnings = std::move(types.warnings);
  plan.fallbacks = CountFallbacks(source, types.choices);
  if (fixed != nullptr) {
    for (size_t i = 0; i < types.choices.size(); ++i) {
      types.choices[i].type = fixed->types[i].first;
      types.choices[i].why = fixed->types[i].second;
    }
  }
  SMELT_RETURN_IF_ERROR(OpenImportance(plan));
  for (size_t i = 0; i < source.tensors().size(); ++i) {
    const TensorInfo& info = source.tensors()[i];
    if (const auto owner = info.companion_of;
        owner && types.choices[*owner].type != source.tensors()[*owner].type)
      continue;
    // Who names a tensor of a copy means it.
    const bool named = plan.type == "COPY" && !types.choices[i].option.empty();
    SMELT_RETURN_IF_ERROR(
        CheckEncodable(info, types.choices[i].type, named || options.allow_requantize));
    PlannedTensor t;
    t.name = info.name;
    t.source = i;
    t.shape = info.shape;
    t.source_type = info.type;
    t.type = types.choices[i].type;
    t.why = types.choices[i].why;
    t.tile_rows = TileRows(info);
    plan.tensors.push_back(std::move(t));
  }
  SMELT_RETURN_IF_ERROR(MatchImportance(plan));
  SMELT_RETURN_IF_ERROR(PlanGathering(source, plan));
  SMELT_ASSIGN_OR_RETURN(const Metadata metadata, OutputMetadata(source, plan, types));
  plan.architecture = ArchitectureOf(metadata);
  SMELT_RETURN_IF_ERROR(LayOut(metadata, plan));
  return plan;
}

std::string DefaultOutputName(const ModelSource& source, const Plan& plan,
                              const std::string& type) {
  const std::string& ending = type.empty() ? plan.type : type;
  const Metadata& metadata = source.metadata();
  std::string name = StringOr(metadata, "general.basename");
  if (name.empty()) name = StringOr(metadata, "general.name");
  if (name.empty()) return Cat(SafeFileName(LastComponent(source.name())), "-", ending, ".gguf");
  for (const char* key : {"general.size_label", "general.finetune", "general.version"}) {
    const std::string part = StringOr(metadata, key);
    if (!part.empty()) name += "-" + part;
  }
  const bool adapter = StringOr(metadata, "general.type") == "adapter";
  return Cat(SafeFileName(name), "-", ending, adapter ? "-LoRA" : "", ".gguf");
}

}  // namespace smelt
