#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "formats/gguf.h"
#include "formats/importance.h"
#include "formats/importance_gguf.h"
#include "lib/base/atomic_file.h"
#include "lib/base/checked.h"
#include "lib/base/guard.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

/// A file of known size, written from its start on.
class Writer {
 public:
  explicit Writer(AtomicFile& file) : file_(file) {}

  absl::Status Bytes(std::span<const std::byte> bytes) {
    SMELT_RETURN_IF_ERROR(file_.WriteAt(at_, bytes));
    at_ += bytes.size();
    return absl::OkStatus();
  }
  absl::Status Values(std::span<const float> values) { return Bytes(std::as_bytes(values)); }
  absl::Status Int(uint64_t value) {
    const int32_t number = static_cast<int32_t>(value);
    return Bytes(std::as_bytes(std::span(&number, 1)));
  }
  absl::Status Text(std::string_view text) {
    SMELT_RETURN_IF_ERROR(Int(text.size()));
    return Bytes(std::as_bytes(std::span(text)));
  }
  /// Zeros up to a place in the file.
  absl::Status PadTo(uint64_t place) {
    return Bytes(std::vector<std::byte>(static_cast<size_t>(place - at_)));
  }

 private:
  AtomicFile& file_;
  uint64_t at_ = 0;
};

/// Opens, fills and commits a file of `size` bytes; nothing of it stays after an error.
absl::Status WriteAll(const std::string& path, uint64_t size, bool force,
                      const std::function<absl::Status(Writer&)>& fill) {
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<AtomicFile> file,
                         AtomicFile::Open(path, size, force));
  const absl::Status status = Guarded([&] {
    Writer writer(*file);
    SMELT_RETURN_IF_ERROR(fill(writer));
    return file->Commit();
  });
  if (!status.ok()) file->Discard();
  return status;
}

/// A tensor of `columns` values for each of `matrices`, with as many extents as ggml writes.
GgufTensorSpec Spec(const std::string& name, uint64_t columns, uint64_t matrices) {
  return {name, {columns, matrices, 1, 1}, matrices > 1 ? 2 : 1, TensorType::kF32};
}

absl::Status WriteGguf(const std::string& path, const ImportanceOrigin& origin,
                       const std::vector<ImportanceEntry>& entries, const ImportanceSums& sums,
                       bool force) {
  std::vector<GgufTensorSpec> specs;
  for (const ImportanceEntry& entry : entries) AddImportanceSpecs(entry, specs);
  SMELT_ASSIGN_OR_RETURN(const GgufLayout layout,
                         SerializeGgufHeader(ImportanceKeys(origin), specs));
  return WriteAll(path, layout.file_size, force, [&](Writer& writer) -> absl::Status {
    SMELT_RETURN_IF_ERROR(writer.Bytes(layout.header));
    std::vector<float> values;
    for (size_t i = 0; i < entries.size(); ++i) {
      SMELT_RETURN_IF_ERROR(GoOn());
      values.resize(entries[i].values());
      SMELT_RETURN_IF_ERROR(sums(i, values));
      SMELT_RETURN_IF_ERROR(writer.PadTo(layout.offsets[2 * i]));
      SMELT_RETURN_IF_ERROR(writer.Values(values));
      SMELT_RETURN_IF_ERROR(writer.PadTo(layout.offsets[2 * i + 1]));
      SMELT_RETURN_IF_ERROR(writer.Values(entries[i].counts));
    }
    return writer.PadTo(layout.file_size);
  });
}

/// Chunks that the matrix with the most inputs saw.
std::optional<int32_t> Calls(const ImportanceEntry& entry, uint32_t chunk_size) {
  const double most = *std::ranges::max_element(entry.counts);
  return CheckedInteger<int32_t>(std::ceil(most / std::max<double>(chunk_size, 1)));
}

/// Sums of the entry's matrices to means times the number of calls.
void ToMeans(const ImportanceEntry& entry, int32_t calls, std::span<float> values) {
  for (uint64_t m = 0; m < entry.matrices(); ++m) {
    const float count = entry.counts[m];
    for (float& value : values.subspan(m * entry.columns, entry.columns))
      value = (count > 0 ? value / count : 1.0f) * static_cast<float>(calls);
  }
}

absl::Status WriteLegacy(const std::string& path, const ImportanceOrigin& origin,
                         const std::vector<ImportanceEntry>& entries, const ImportanceSums& sums,
                         bool force) {
  const std::string dataset = origin.datasets.empty() ? "" : origin.datasets[0];
  uint64_t size = 3 * sizeof(int32_t) + dataset.size();
  for (const ImportanceEntry& entry : entries) {
    if (entry.values() > std::numeric_limits<int32_t>::max()) {
      return Error(ErrorCode::kUnsupported, "tensor ", Escape(entry.name), " has ", entry.values(),
                   " values, more than a .dat can hold; write a .gguf");
    }
    if (!Calls(entry, origin.chunk_size)) {
      return Error(ErrorCode::kUnsupported, "tensor ", Escape(entry.name),
                   " saw more inputs than a .dat can count; write a .gguf");
    }
    size += 3 * sizeof(int32_t) + entry.name.size() + entry.values() * sizeof(float);
  }
  return WriteAll(path, size, force, [&](Writer& writer) -> absl::Status {
    SMELT_RETURN_IF_ERROR(writer.Int(entries.size()));
    std::vector<float> values;
    for (size_t i = 0; i < entries.size(); ++i) {
      SMELT_RETURN_IF_ERROR(GoOn());
      const int32_t calls = *Calls(entries[i], origin.chunk_size);
      values.resize(entries[i].values());
      SMELT_RETURN_IF_ERROR(sums(i, values));
      ToMeans(entries[i], calls, values);
      SMELT_RETURN_IF_ERROR(writer.Text(entries[i].name));
      SMELT_RETURN_IF_ERROR(writer.Int(static_cast<uint64_t>(calls)));
      SMELT_RETURN_IF_ERROR(writer.Int(values.size()));
      SMELT_RETURN_IF_ERROR(writer.Values(values));
    }
    SMELT_RETURN_IF_ERROR(writer.Int(origin.chunks));
    return writer.Text(dataset);
  });
}

}  // namespace

Metadata ImportanceKeys(const ImportanceOrigin& origin) {
  Metadata metadata;
  metadata.Set("general.type", "imatrix");
  metadata.Set("imatrix.datasets", origin.datasets);
  metadata.Set("imatrix.chunk_count", origin.chunks);
  metadata.Set("imatrix.chunk_size", origin.chunk_size);
  return metadata;
}

void AddImportanceSpecs(const ImportanceEntry& entry, std::vector<GgufTensorSpec>& specs) {
  specs.push_back(Spec(Cat(entry.name, kSumsEnding), entry.columns, entry.matrices()));
  specs.push_back(Spec(Cat(entry.name, kCountsEnding), 1, entry.matrices()));
}

absl::Status WriteImportance(const std::string& path, const ImportanceOrigin& origin,
                             const std::vector<ImportanceEntry>& entries,
                             const ImportanceSums& sums, bool force) {
  return path.ends_with(".dat") ? WriteLegacy(path, origin, entries, sums, force)
                                : WriteGguf(path, origin, entries, sums, force);
}

}  // namespace smelt
