#include "formats/importance.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "formats/gguf.h"
#include "formats/importance_gguf.h"
#include "lib/base/checked.h"
#include "lib/base/hash.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr uint64_t kPiece = 1 << 16;  // values that are looked at together

absl::Status Bad(const Storage& storage, std::string_view what) {
  return Error(ErrorCode::kInvalidInput, Escape(storage.name()), ": ", what);
}

std::span<std::byte> BytesOf(std::span<float> values) { return std::as_writable_bytes(values); }

/// The numbers of one entry in a GGUF.
struct Pair {
  const GgufTensor *sums = nullptr, *counts = nullptr;
};

/// Reads a .dat from its start on; what is not there is an error.
class LegacyReader {
 public:
  explicit LegacyReader(const Storage& storage) : storage_(storage) {}

  uint64_t at() const { return at_; }
  uint64_t left() const { return storage_.size() - at_; }

  absl::StatusOr<int32_t> Int(std::string_view what) {
    int32_t value = 0;
    if (left() < sizeof(value)) return Ends(what);
    SMELT_RETURN_IF_ERROR(storage_.ReadAt(at_, std::as_writable_bytes(std::span(&value, 1))));
    at_ += sizeof(value);
    return value;
  }

  absl::StatusOr<std::string> Text(std::string_view what) {
    SMELT_ASSIGN_OR_RETURN(const int32_t length, Int(what));
    if (length < 0 || static_cast<uint64_t>(length) > left()) return Ends(what);
    std::string text(static_cast<size_t>(length), '\0');
    SMELT_RETURN_IF_ERROR(storage_.ReadAt(at_, std::as_writable_bytes(std::span(text))));
    at_ += text.size();
    return text;
  }

  /// Passes over `count` values; where they begin.
  absl::StatusOr<uint64_t> Values(uint64_t count) {
    const uint64_t first = at_;
    if (left() / sizeof(float) < count) return Ends("values");
    at_ += count * sizeof(float);
    return first;
  }

 private:
  absl::Status Ends(std::string_view what) const {
    return Bad(storage_, Cat("is no importance matrix: neither a GGUF nor a whole .dat (", what,
                             " at byte ", at_, " go beyond its end)"));
  }

  const Storage& storage_;
  uint64_t at_ = 0;
};

}  // namespace

bool IsImportance(float value) { return std::isfinite(value) && value >= 0; }

absl::StatusOr<ImportanceEntry> ImportanceEntryOf(const Storage& storage, const std::string& name,
                                                  const GgufTensor* sums,
                                                  const GgufTensor* counts) {
  const auto bad = [&](std::string_view what) {
    return Bad(storage, Cat("tensor ", Escape(name), what));
  };
  if (sums == nullptr) return bad(" has counts, but no sums (.in_sum2)");
  if (counts == nullptr) return bad(" has sums, but no counts (.counts)");
  if (sums->type != TensorType::kF32 || counts->type != TensorType::kF32)
    return bad(": sums and counts must be F32");
  ImportanceEntry entry{.name = name, .columns = sums->ne[0]};
  const uint64_t matrices = sums->elements() / entry.columns;
  if (counts->elements() != matrices) {
    return bad(Cat(" has sums of ", matrices, " matrices and counts of ", counts->elements()));
  }
  entry.counts.resize(matrices);
  SMELT_RETURN_IF_ERROR(counts->storage->ReadAt(counts->offset, BytesOf(entry.counts)));
  for (float& count : entry.counts) {
    if (!IsImportance(count))
      return bad(Cat(": the count ", static_cast<double>(count), " is no count"));
    count = std::round(count);
  }
  return entry;
}

absl::StatusOr<ImportanceOrigin> ImportanceOriginOf(const GgufFile& file, const Storage& storage) {
  for (const char* key : {"imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"}) {
    if (!file.metadata.Has(key))
      return Bad(storage, Cat("is no importance matrix: it has no key ", key));
  }
  const auto number = [&](std::string_view key) -> absl::StatusOr<uint32_t> {
    const std::optional<uint64_t> value = file.metadata.Find(key)->AsUint();
    if (!value || *value > std::numeric_limits<int32_t>::max())
      return Bad(storage, Cat("key ", key, " is no number from 0 to 2147483647"));
    return static_cast<uint32_t>(*value);
  };
  ImportanceOrigin origin;
  const absl::StatusOr<const std::vector<std::string>*> datasets =
      file.metadata.Strings("imatrix.datasets");
  if (!datasets.ok()) return Prefixed(Cat(Escape(storage.name()), ": "), datasets.status());
  origin.datasets = **datasets;
  SMELT_ASSIGN_OR_RETURN(origin.chunks, number("imatrix.chunk_count"));
  SMELT_ASSIGN_OR_RETURN(origin.chunk_size, number("imatrix.chunk_size"));
  return origin;
}

absl::StatusOr<std::shared_ptr<const ImportanceFile>> ImportanceFile::Open(
    const std::string& path) {
  SMELT_ASSIGN_OR_RETURN(std::shared_ptr<const Storage> storage, OpenFile(path));
  return Read(std::move(storage));
}

absl::StatusOr<std::shared_ptr<const ImportanceFile>> ImportanceFile::Read(
    std::shared_ptr<const Storage> storage) {
  std::shared_ptr<ImportanceFile> file(new ImportanceFile(std::move(storage)));
  file->legacy_ = !LooksLikeGguf(*file->storage_);
  SMELT_RETURN_IF_ERROR(file->legacy_ ? file->ReadLegacyEntries() : file->ReadGgufEntries());
  if (file->entries_.empty()) return Bad(*file->storage_, "says nothing of any tensor");
  for (size_t i = 0; i < file->entries_.size(); ++i)
    file->index_.emplace(file->entries_[i].name, static_cast<int>(i));
  SMELT_RETURN_IF_ERROR(file->CheckValues());
  SMELT_RETURN_IF_ERROR(file->Hash());
  return std::shared_ptr<const ImportanceFile>(std::move(file));
}

absl::Status ImportanceFile::ReadGgufEntries() {
  SMELT_ASSIGN_OR_RETURN(const GgufFile file, ReadGguf(storage_));
  SMELT_ASSIGN_OR_RETURN(origin_, ImportanceOriginOf(file, *storage_));
  std::map<std::string, Pair> pairs;  // by name; other tensors than these say something else
  for (const GgufTensor& tensor : file.tensors) {
    const auto stem = [&](std::string_view ending) {
      return tensor.name.substr(0, tensor.name.size() - ending.size());
    };
    if (tensor.name.ends_with(kSumsEnding)) pairs[stem(kSumsEnding)].sums = &tensor;
    if (tensor.name.ends_with(kCountsEnding)) pairs[stem(kCountsEnding)].counts = &tensor;
  }
  for (const auto& [name, pair] : pairs) {
    SMELT_ASSIGN_OR_RETURN(ImportanceEntry entry,
                           ImportanceEntryOf(*storage_, name, pair.sums, pair.counts));
    entries_.push_back(std::move(entry));
    offsets_.push_back(pair.sums->offset);
  }
  return absl::OkStatus();
}

absl::Status ImportanceFile::ReadLegacyEntries() {
  LegacyReader reader(*storage_);
  SMELT_ASSIGN_OR_RETURN(const int32_t count, reader.Int("its numbers"));
  constexpr uint64_t kLeast = 3 * sizeof(int32_t) + sizeof(float);  // bytes of an entry
  if (count < 0 || static_cast<uint64_t>(count) > reader.left() / kLeast) {
    return Bad(*storage_,
               "is no importance matrix: neither a GGUF nor a .dat with as many entries "
               "as it says");
  }
  std::map<std::string, std::pair<ImportanceEntry, uint64_t>> found;
  for (int32_t i = 0; i < count; ++i) {
    SMELT_ASSIGN_OR_RETURN(const std::string name, reader.Text("names"));
    SMELT_ASSIGN_OR_RETURN(const int32_t calls, reader.Int("counts"));
    SMELT_ASSIGN_OR_RETURN(const int32_t values, reader.Int("counts"));
    if (name.empty() || calls < 0 || values < 1) {
      return Bad(*storage_, Cat("entry ", i, " (", Escape(name, 60), ") has ", values,
                                " values of ", calls, " calls"));
    }
    SMELT_ASSIGN_OR_RETURN(const uint64_t offset, reader.Values(static_cast<uint64_t>(values)));
    ImportanceEntry entry{.name = name,
                          .columns = static_cast<uint64_t>(values),
                          .counts = {static_cast<float>(calls)}};
    if (!found.emplace(name, std::pair(std::move(entry), offset)).second)
      return Bad(*storage_, Cat("tensor ", Escape(name), " is there twice"));
  }
  for (auto& [name, entry] : found) {
    entries_.push_back(std::move(entry.first));
    offsets_.push_back(entry.second);
  }
  if (reader.left() == 0) return absl::OkStatus();
  SMELT_ASSIGN_OR_RETURN(const int32_t chunks, reader.Int("the number of chunks"));
  if (chunks < 0) return Bad(*storage_, Cat("was made of ", chunks, " chunks"));
  origin_.chunks = static_cast<uint32_t>(chunks);
  if (reader.left() > 0) {
    SMELT_ASSIGN_OR_RETURN(std::string dataset, reader.Text("the text's name"));
    if (!dataset.empty()) origin_.datasets.push_back(std::move(dataset));
  }
  if (reader.left() == 0) return absl::OkStatus();
  return Bad(*storage_, Cat("has ", reader.left(), " bytes behind its end"));
}

absl::Status ImportanceFile::CheckValues() const {
  std::vector<float> values;
  for (size_t i = 0; i < entries_.size(); ++i) {
    SMELT_RETURN_IF_ERROR(GoOn());
    for (uint64_t first = 0; first < entries_[i].values(); first += kPiece) {
      values.resize(std::min(kPiece, entries_[i].values() - first));
      SMELT_RETURN_IF_ERROR(ReadSums(i, first, values));
    }
  }
  return absl::OkStatus();
}

absl::Status ImportanceFile::Hash() {
  Sha256 hash;
  std::vector<std::byte> bytes;
  for (uint64_t at = 0; at < storage_->size(); at += bytes.size()) {
    SMELT_RETURN_IF_ERROR(GoOn());
    bytes.resize(std::min<uint64_t>(kPiece * sizeof(float), storage_->size() - at));
    SMELT_RETURN_IF_ERROR(storage_->ReadAt(at, bytes));
    hash.Update(bytes);
  }
  sha256_ = hash.FinishHex();
  return absl::OkStatus();
}

int ImportanceFile::Find(std::string_view tensor) const {
  const auto found = index_.find(tensor);
  return found == index_.end() ? -1 : found->second;
}

bool ImportanceFile::Fits(size_t entry, uint64_t columns, uint64_t matrices) const {
  const ImportanceEntry& e = entries_[entry];
  if (e.matrices() == 1) return CheckedMul(columns, matrices) == e.columns;
  return e.columns == columns && e.matrices() == matrices;
}

absl::Status ImportanceFile::ReadSums(size_t entry, uint64_t first, std::span<float> out) const {
  SMELT_RETURN_IF_ERROR(storage_->ReadAt(offsets_[entry] + first * sizeof(float), BytesOf(out)));
  const auto bad = std::ranges::find_if_not(out, IsImportance);
  if (bad == out.end()) return absl::OkStatus();
  const uint64_t at = first + static_cast<uint64_t>(bad - out.begin());
  return Bad(*storage_, Cat("tensor ", Escape(entries_[entry].name), ": value ", at, " (",
                            static_cast<double>(*bad),
                            ") is no sum of squares: the matrix is damaged, or the model that it "
                            "was made of; make it anew"));
}

absl::Status ImportanceFile::ReadImportance(size_t entry, uint64_t matrix,
                                            std::span<float> out) const {
  const ImportanceEntry& e = entries_[entry];
  SMELT_RETURN_IF_ERROR(ReadSums(entry, matrix * out.size(), out));
  const float count = e.counts[e.matrices() == 1 ? 0 : matrix];
  if (count > 0) {
    for (float& value : out) value /= count;
  } else if (!legacy_) {
    std::ranges::fill(out, 0.0f);
  }
  return absl::OkStatus();
}

}  // namespace smelt
