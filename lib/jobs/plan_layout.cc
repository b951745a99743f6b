#include "lib/jobs/plan_layout.h"

#include <span>
#include <string_view>

#include "formats/gguf.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr std::string_view kAlignmentKey = "general.alignment", kEnding = ".gguf";

absl::StatusOr<uint64_t> AlignmentOf(const Metadata& metadata) {
  const MetadataValue* value = metadata.Find(kAlignmentKey);
  if (value == nullptr) return kGgufDefaultAlignment;
  const uint32_t* alignment = value->get_if<uint32_t>();
  if (alignment == nullptr || *alignment < 8 || *alignment > (1u << 20) ||
      (*alignment & (*alignment - 1)) != 0) {
    return Error(ErrorCode::kUsage, "general.alignment must be a power of two from 8 to 1048576");
  }
  return *alignment;
}

/// The keys of one part: the first has the model's.
Metadata KeysOfPart(const Metadata& metadata, uint64_t number, uint64_t count, uint64_t tensors) {
  Metadata keys;
  if (number == 0) {
    keys = metadata;
  } else if (const MetadataValue* alignment = metadata.Find(kAlignmentKey)) {
    keys.Set(kAlignmentKey, *alignment);
  }
  if (count == 1) return keys;
  keys.Set(kSplitNumberKey, static_cast<uint16_t>(number));
  keys.Set(kSplitCountKey, static_cast<uint16_t>(count));
  keys.Set(kSplitTensorsKey, static_cast<int32_t>(tensors));
  return keys;
}

/// Bytes of a tensor's entry in a header.
uint64_t EntryBytes(const GgufTensorSpec& tensor) {
  return 8 + tensor.name.size() + 4 + 8 * static_cast<uint64_t>(tensor.dims) + 4 + 8;
}

/// How many tensors each file takes: as many as the options let it, and at least one. `bytes`: of
/// each tensor.
absl::StatusOr<std::vector<uint64_t>> TensorsOfFiles(const Metadata& metadata,
                                                     std::span<const GgufTensorSpec> tensors,
                                                     std::span<const uint64_t> bytes,
                                                     uint64_t alignment, const PlanOptions& o) {
  const auto padded = [&](uint64_t n) { return (n + alignment - 1) / alignment * alignment; };
  std::vector<uint64_t> counts = {0};
  uint64_t header = 0, data = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    uint64_t& count = counts.back();
    const uint64_t size = padded(header + EntryBytes(tensors[i])) + data + padded(bytes[i]);
    const bool full = (o.split_tensors > 0 && count >= o.split_tensors) ||
                      (o.split_size > 0 && size > o.split_size);
    if (i == 0 || (full && count > 0)) {
      if (i > 0) counts.push_back(0);
      const Metadata keys = KeysOfPart(metadata, counts.size() - 1, 2, tensors.size());
      SMELT_ASSIGN_OR_RETURN(const GgufLayout empty, SerializeGgufHeader(keys, {}, alignment));
      header = empty.header.size();
      data = 0;
    }
    ++counts.back();
    header += EntryBytes(tensors[i]);
    data += padded(bytes[i]);
  }
  if (counts.size() <= kGgufMaxParts) return counts;
  return Error(ErrorCode::kUsage, "the output would consist of ", counts.size(),
               " parts, and at most ", kGgufMaxParts, " can be numbered; let the parts be larger");
}

/// Appends a file with the next `count` tensors.
absl::Status AddFile(const Metadata& keys, std::span<const GgufTensorSpec> specs,
                     uint64_t alignment, std::span<PlannedTensor> tensors, Plan& plan) {
  SMELT_ASSIGN_OR_RETURN(GgufLayout layout, SerializeGgufHeader(keys, specs, alignment));
  PlannedFile file;
  file.header = std::move(layout.header);
  file.bytes = layout.file_size;
  file.tensors = tensors.size();
  file.first_tile = plan.tiles;
  for (size_t i = 0; i < tensors.size(); ++i) {
    PlannedTensor& t = tensors[i];
    t.file = plan.files.size();
    t.offset = layout.offsets[i];
    t.bytes = layout.bytes[i];
    const uint64_t next = i + 1 < tensors.size() ? layout.offsets[i + 1] : layout.file_size;
    t.padding = next - t.offset - t.bytes;
    t.first_tile = plan.tiles;
    t.tiles = t.tiles_per_matrix() * t.shape.ne[2] * t.shape.ne[3];
    plan.tiles += t.tiles;
    plan.parameters += t.shape.elements();
  }
  file.tiles = plan.tiles - file.first_tile;
  plan.file_bytes += file.bytes;
  plan.files.push_back(std::move(file));
  return absl::OkStatus();
}

}  // namespace

absl::Status LayOut(const Metadata& metadata, Plan& plan) {
  const PlanOptions& options = plan.options;
  std::vector<GgufTensorSpec> specs;
  for (const PlannedTensor& t : plan.tensors)
    specs.push_back({t.name, t.shape.ne, t.shape.dims, t.type});
  SMELT_ASSIGN_OR_RETURN(const uint64_t alignment, AlignmentOf(metadata));
  if (options.split_size > 0 && options.split_tensors > 0)
    return Error(ErrorCode::kUsage, "--split-size and --split-tensors: give one of the two");
  std::vector<uint64_t> counts = {specs.size()};
  if (options.split_size > 0 || options.split_tensors > 0) {
    SMELT_ASSIGN_OR_RETURN(const GgufLayout whole, SerializeGgufHeader(metadata, specs, alignment));
    const bool fits = (options.split_size == 0 || whole.file_size <= options.split_size) &&
                      (options.split_tensors == 0 || specs.size() <= options.split_tensors);
    if (!fits) {
      SMELT_ASSIGN_OR_RETURN(counts,
                             TensorsOfFiles(metadata, specs, whole.bytes, alignment, options));
    }
  }
  uint64_t at = 0;
  for (uint64_t i = 0; i < counts.size(); ++i) {
    SMELT_RETURN_IF_ERROR(AddFile(KeysOfPart(metadata, i, counts.size(), specs.size()),
                                  std::span(specs).subspan(at, counts[i]), alignment,
                                  std::span(plan.tensors).subspan(at, counts[i]), plan));
    at += counts[i];
  }
  return absl::OkStatus();
}

std::vector<std::string> FileNames(const std::string& path, uint64_t count) {
  if (count == 1) return {path};
  const std::string_view prefix = std::string_view(path).substr(
      0, path.size() - (path.ends_with(kEnding) ? kEnding.size() : 0));
  std::vector<std::string> names;
  for (uint64_t i = 0; i < count; ++i) names.push_back(GgufPartName(prefix, i, count));
  return names;
}

}  // namespace smelt
