#include "formats/statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>
#include <string_view>

#include "formats/gguf.h"
#include "formats/importance_gguf.h"
#include "lib/base/checked.h"
#include "lib/base/hash.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr std::string_view kMoment = "moment.";
constexpr std::string_view kGathering = "statistics.gathering", kModel = "statistics.model",
                           kAsked = "statistics.asked", kStageTensors = "statistics.stage_tensors",
                           kMomentTensors = "statistics.moment_tensors",
                           kMomentMatrices = "statistics.moment_matrices",
                           kMomentTokens = "statistics.moment_tokens",
                           kHashes = "statistics.hashes",
                           /// Fills what the header has left of the place that was kept for it.
    kPadding = "statistics.padding";
constexpr size_t kModelDigits = 64;

// Values that are read, hashed and written together, about.
constexpr uint64_t kPiece = 1 << 18;

uint64_t TriangleOf(uint64_t columns) { return columns * (columns + 1) / 2; }

/// Columns of a triangle of so many values; nullopt where it is none.
std::optional<uint64_t> ColumnsOf(uint64_t values) {
  if (values > uint64_t{1} << 62) return std::nullopt;
  uint64_t columns = static_cast<uint64_t>(std::sqrt(2 * static_cast<double>(values)));
  while (columns > 0 && TriangleOf(columns) > values) --columns;
  while (TriangleOf(columns) < values) ++columns;
  if (TriangleOf(columns) != values) return std::nullopt;
  return columns;
}

/// f(first, last, values): rows [first, last) of a triangle, so many values.
template <typename F>
absl::Status ForRows(uint64_t columns, const F& f) {
  for (uint64_t first = 0, last = 0; first < columns; first = last) {
    uint64_t values = 0;
    while (last < columns && values < kPiece) values += ++last;
    SMELT_RETURN_IF_ERROR(GoOn());
    SMELT_RETURN_IF_ERROR(f(first, last, values));
  }
  return absl::OkStatus();
}

/// A hash over what values are, and the values.
class Digest {
 public:
  explicit Digest(std::string_view what) : value_(XxHash64(std::as_bytes(std::span(what)))) {}
  void Add(std::span<const float> values) {
    const std::array<uint64_t, 2> both = {value_, XxHash64(std::as_bytes(values))};
    value_ = XxHash64(std::as_bytes(std::span(both)));
  }
  std::string Hex() const {
    char text[20];
    std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(value_));
    return text;
  }

 private:
  uint64_t value_;
};

std::string Say(const StatisticsOrigin& origin) {
  std::string text = Cat(origin.gathering, "\n", origin.texts.chunks, " ", origin.texts.chunk_size);
  for (const std::string& dataset : origin.texts.datasets) text += Cat("\n", dataset);
  for (const std::string& tensor : origin.asked) text += Cat("\n", tensor);
  return text;
}

std::string Say(const StatisticsOrigin& origin, size_t stage, const ImportanceEntry& entry) {
  return Cat(Say(origin), "\n", stage, " ", entry.name, " ", entry.columns, " ", entry.matrices());
}

std::string Say(const StatisticsOrigin& origin, size_t stage, const MomentEntry& entry) {
  std::string text = Cat(Say(origin), "\n", stage, " ", entry.columns, " ", entry.tokens);
  for (const auto& [tensor, index] : entry.matrices) text += Cat("\n", tensor, " ", index);
  return text;
}

absl::StatusOr<GgufLayout> LayOut(const StatisticsOrigin& origin,
                                  const std::vector<StatisticsStage>& stages,
                                  const std::vector<std::string>& hashes, size_t padding) {
  std::vector<GgufTensorSpec> specs;
  std::vector<std::string> moment_tensors;
  std::vector<uint32_t> stage_tensors, moment_matrices;
  std::vector<uint64_t> moment_tokens;
  for (const StatisticsStage& stage : stages) {
    const size_t before = specs.size();
    for (const ImportanceEntry& entry : stage.squares) AddImportanceSpecs(entry, specs);
    for (const MomentEntry& moment : stage.moments) {
      const uint32_t number = static_cast<uint32_t>(moment_tokens.size());
      specs.push_back(
          {Cat(kMoment, number), {TriangleOf(moment.columns), 1, 1, 1}, 1, TensorType::kF32});
      moment_tokens.push_back(moment.tokens);
      for (const auto& [tensor, index] : moment.matrices) {
        moment_tensors.push_back(tensor);
        moment_matrices.insert(moment_matrices.end(), {number, static_cast<uint32_t>(index)});
      }
    }
    stage_tensors.push_back(static_cast<uint32_t>(specs.size() - before));
  }
  Metadata metadata = ImportanceKeys(origin.texts);
  metadata.Set(kGathering, origin.gathering);
  metadata.Set(kModel, origin.model);
  metadata.Set(kAsked, origin.asked);
  metadata.Set(kStageTensors, std::move(stage_tensors));
  metadata.Set(kMomentTensors, std::move(moment_tensors));
  metadata.Set(kMomentMatrices, std::move(moment_matrices));
  metadata.Set(kMomentTokens, std::move(moment_tokens));
  metadata.Set(kHashes, hashes);
  metadata.Set(kPadding, std::string(padding, ' '));
  return SerializeGgufHeader(metadata, specs);
}

/// As many hashes as these stages will have.
std::vector<std::string> NoHashes(const std::vector<StatisticsStage>& stages) {
  size_t count = 0;
  for (const StatisticsStage& stage : stages) count += stage.squares.size() + stage.moments.size();
  return std::vector<std::string>(count, Digest("").Hex());
}

StatisticsOrigin WithAnyModel(StatisticsOrigin origin) {
  origin.model.assign(kModelDigits, '0');
  return origin;
}

/// Whether a file begins with these bytes.
bool BeginsWith(const std::string& path, std::span<const std::byte> bytes) {
  const absl::StatusOr<std::shared_ptr<Storage>> file = OpenFile(path);
  if (!file.ok() || (*file)->size() < bytes.size()) return false;
  std::vector<std::byte> there(bytes.size());
  return (*file)->ReadAt(0, there).ok() && std::ranges::equal(there, bytes);
}

}  // namespace

/// Makes stages of the tensors and lists of a file, none of which it trusts.
class StatisticsFile::Parser {
 public:
  Parser(StatisticsFile& out, const GgufFile& file) : out_(out), file_(file) {}

  absl::Status Run() {
    if (!file_.metadata.Has(kGathering)) {
      return Bad(
          "has no statistics that --statistics has written; name another file to have them "
          "gathered, or give an importance matrix with --imatrix");
    }
    SMELT_ASSIGN_OR_RETURN(out_.origin_.texts, ImportanceOriginOf(file_, *out_.storage_));
    SMELT_RETURN_IF_ERROR(ReadLists());
    for (const int64_t count : stage_tensors_) SMELT_RETURN_IF_ERROR(ReadStage(count));
    if (next_ != file_.tensors.size() || moments_ != moment_tokens_.size() ||
        matrix_ != moment_tensors_.size() || hash_ != hashes_.size())
      return Bad("has more of one list than of another");
    return absl::OkStatus();
  }

 private:
  absl::Status Bad(std::string_view what) const {
    return Error(ErrorCode::kInvalidInput, Escape(out_.name()), ": ", what);
  }

  absl::Status ReadLists() {
    const auto named = [&](const absl::Status& status) {
      return Prefixed(Cat(Escape(out_.name()), ": "), status);
    };
    for (const auto& [key, to] :
         {std::pair(kGathering, &out_.origin_.gathering), std::pair(kModel, &out_.origin_.model)}) {
      absl::StatusOr<std::string> text = file_.metadata.String(key);
      if (!text.ok()) return named(text.status());
      *to = *std::move(text);
    }
    for (const auto& [key, to] :
         {std::pair(kAsked, &out_.origin_.asked), std::pair(kMomentTensors, &moment_tensors_),
          std::pair(kHashes, &hashes_)}) {
      const absl::StatusOr<const std::vector<std::string>*> list = file_.metadata.Strings(key);
      if (!list.ok()) return named(list.status());
      *to = **list;
    }
    for (const auto& [key, to] :
         {std::pair(kStageTensors, &stage_tensors_), std::pair(kMomentMatrices, &moment_matrices_),
          std::pair(kMomentTokens, &moment_tokens_)}) {
      const MetadataValue* const value = file_.metadata.Find(key);
      if (value == nullptr || !value->is_array()) return Bad(Cat("key ", key, " is no list"));
      for (size_t i = 0; i < value->size(); ++i) {
        const std::optional<int64_t> number = value->IntAt(i);
        if (!number || *number < 0) return Bad(Cat("key ", key, " is no list of counts"));
        to->push_back(*number);
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadStage(int64_t tensors) {
    if (static_cast<uint64_t>(tensors) > file_.tensors.size() - next_)
      return Bad("has fewer tensors than its layers have");
    const size_t end = next_ + static_cast<size_t>(tensors);
    out_.stages_.emplace_back();
    out_.squares_.emplace_back();
    out_.moments_.emplace_back();
    while (next_ < end)
      SMELT_RETURN_IF_ERROR(file_.tensors[next_].name.starts_with(kMoment) ? ReadMoment()
                                                                           : ReadSquares(end));
    return absl::OkStatus();
  }

  absl::StatusOr<Place> PlaceOf(const GgufTensor& tensor) {
    if (hash_ == hashes_.size()) return Bad("has fewer hashes than tensors");
    return Place{.offset = tensor.offset, .hash = hashes_[hash_++]};
  }

  absl::Status ReadSquares(size_t end) {
    const GgufTensor& sums = file_.tensors[next_++];
    if (!sums.name.ends_with(kSumsEnding) || next_ == end)
      return Bad(Cat("tensor ", Escape(sums.name), " is not known here"));
    const GgufTensor& counts = file_.tensors[next_++];
    const std::string name = sums.name.substr(0, sums.name.size() - kSumsEnding.size());
    if (counts.name != Cat(name, kCountsEnding))
      return Bad(Cat("tensor ", Escape(counts.name), " is not known here"));
    SMELT_ASSIGN_OR_RETURN(ImportanceEntry entry,
                           ImportanceEntryOf(*out_.storage_, name, &sums, &counts));
    SMELT_ASSIGN_OR_RETURN(out_.squares_.back().emplace_back(), PlaceOf(sums));
    out_.stages_.back().squares.push_back(std::move(entry));
    return absl::OkStatus();
  }

  absl::Status ReadMoment() {
    const GgufTensor& tensor = file_.tensors[next_++];
    const std::optional<uint64_t> columns = ColumnsOf(tensor.elements());
    if (tensor.type != TensorType::kF32 || !columns)
      return Bad(Cat("tensor ", Escape(tensor.name), " is no triangle of F32"));
    if (moments_ == moment_tokens_.size()) return Bad("has more moments than counts of tokens");
    MomentEntry entry{.matrices = {},
                      .columns = *columns,
                      .tokens = static_cast<uint64_t>(moment_tokens_[moments_])};
    for (; matrix_ < moment_tensors_.size() && 2 * matrix_ + 1 < moment_matrices_.size() &&
           moment_matrices_[2 * matrix_] == static_cast<int64_t>(moments_);
         ++matrix_) {
      entry.matrices.emplace_back(moment_tensors_[matrix_],
                                  static_cast<uint64_t>(moment_matrices_[2 * matrix_ + 1]));
    }
    ++moments_;
    if (entry.matrices.empty())
      return Bad(Cat("tensor ", Escape(tensor.name), " is the moment of no matrix"));
    SMELT_ASSIGN_OR_RETURN(out_.moments_.back().emplace_back(), PlaceOf(tensor));
    out_.stages_.back().moments.push_back(std::move(entry));
    return absl::OkStatus();
  }

  StatisticsFile& out_;
  const GgufFile& file_;
  std::vector<std::string> moment_tensors_, hashes_;
  std::vector<int64_t> stage_tensors_, moment_matrices_, moment_tokens_;
  size_t next_ = 0, moments_ = 0, matrix_ = 0, hash_ = 0;  ///< of the lists
};

absl::StatusOr<std::shared_ptr<const StatisticsFile>> StatisticsFile::Open(
    const std::string& path) {
  SMELT_ASSIGN_OR_RETURN(std::shared_ptr<const Storage> storage, OpenFile(path));
  return Read(std::move(storage));
}

absl::StatusOr<std::shared_ptr<const StatisticsFile>> StatisticsFile::Read(
    std::shared_ptr<const Storage> storage) {
  std::shared_ptr<StatisticsFile> out(new StatisticsFile(std::move(storage)));
  SMELT_ASSIGN_OR_RETURN(const GgufFile file, ReadGguf(out->storage_));
  SMELT_RETURN_IF_ERROR(Parser(*out, file).Run());
  return std::shared_ptr<const StatisticsFile>(std::move(out));
}

absl::Status StatisticsFile::CheckHash(const std::string& hash, const Place& place,
                                       const std::string& what) const {
  if (hash == place.hash) return absl::OkStatus();
  return Error(ErrorCode::kInvalidInput, Escape(name()), ": what it has of ", Escape(what, 100),
               " is not what was written: the file is damaged; name another one to have the "
               "statistics gathered anew");
}

absl::Status StatisticsFile::ReadSums(size_t stage, size_t entry, std::span<float> out) const {
  const ImportanceEntry& e = stages_[stage].squares[entry];
  const Place& place = squares_[stage][entry];
  SMELT_RETURN_IF_ERROR(storage_->ReadAt(place.offset, std::as_writable_bytes(out)));
  Digest digest(Say(origin_, stage, e));
  digest.Add(out);
  digest.Add(e.counts);
  SMELT_RETURN_IF_ERROR(CheckHash(digest.Hex(), place, e.name));
  if (std::ranges::all_of(out, IsImportance)) return absl::OkStatus();
  return Error(ErrorCode::kInvalidInput, Escape(name()), ": tensor ", Escape(e.name),
               " has a value that is no sum of squares");
}

absl::Status StatisticsFile::ReadMoment(size_t stage, size_t moment, float* out) const {
  const MomentEntry& e = stages_[stage].moments[moment];
  const Place& place = moments_[stage][moment];
  Digest digest(Say(origin_, stage, e));
  std::vector<float> values;
  uint64_t at = place.offset;
  SMELT_RETURN_IF_ERROR(
      ForRows(e.columns, [&](uint64_t first, uint64_t last, uint64_t count) -> absl::Status {
        values.resize(count);
        SMELT_RETURN_IF_ERROR(storage_->ReadAt(at, std::as_writable_bytes(std::span(values))));
        at += count * sizeof(float);
        digest.Add(values);
        const float* from = values.data();
        for (uint64_t row = first; row < last; from += ++row)
          std::copy_n(from, row + 1, out + row * e.columns);
        return absl::OkStatus();
      }));
  return CheckHash(digest.Hex(), place, Cat("the inputs of ", e.matrices[0].first));
}

absl::StatusOr<uint64_t> StatisticsWriter::Bytes(const StatisticsOrigin& origin,
                                                 const std::vector<StatisticsStage>& stages) {
  SMELT_ASSIGN_OR_RETURN(const GgufLayout layout,
                         LayOut(WithAnyModel(origin), stages, NoHashes(stages), 0));
  return layout.file_size;
}

absl::StatusOr<std::unique_ptr<StatisticsWriter>> StatisticsWriter::Open(
    const std::string& path, const StatisticsOrigin& origin,
    const std::vector<StatisticsStage>& most) {
  SMELT_ASSIGN_OR_RETURN(const GgufLayout layout,
                         LayOut(WithAnyModel(origin), most, NoHashes(most), 0));
  std::unique_ptr<StatisticsWriter> out(new StatisticsWriter(origin));
  const bool ours = BeginsWith(path + ".part", layout.header);
  SMELT_ASSIGN_OR_RETURN(out->file_, AtomicFile::Open(path, layout.file_size, false,
                                                      ours ? AtomicFile::Existing::kReplace
                                                           : AtomicFile::Existing::kRefuse));
  out->header_bytes_ = layout.header.size();
  SMELT_RETURN_IF_ERROR(out->Write(layout.header));  // by it a later run knows it
  return out;
}

StatisticsWriter::~StatisticsWriter() {
  if (file_ != nullptr) file_->Discard();
}

absl::Status StatisticsWriter::Write(std::span<const std::byte> bytes) {
  SMELT_RETURN_IF_ERROR(file_->WriteAt(at_, bytes));
  at_ += bytes.size();
  return absl::OkStatus();
}

absl::Status StatisticsWriter::Align() {
  constexpr std::array<std::byte, kGgufDefaultAlignment> kZeros = {};
  const uint64_t over = at_ % kGgufDefaultAlignment;
  if (over == 0) return absl::OkStatus();
  return Write(std::span(kZeros).first(kGgufDefaultAlignment - over));
}

void StatisticsWriter::AddStage() { stages_.emplace_back(); }

absl::Status StatisticsWriter::AddSquares(const ImportanceEntry& entry,
                                          std::span<const float> sums) {
  Digest digest(Say(origin_, stages_.size() - 1, entry));
  digest.Add(sums);
  digest.Add(entry.counts);
  stages_.back().squares.push_back(entry);
  hashes_.push_back(digest.Hex());
  SMELT_RETURN_IF_ERROR(Write(std::as_bytes(sums)));
  SMELT_RETURN_IF_ERROR(Align());
  SMELT_RETURN_IF_ERROR(Write(std::as_bytes(std::span(entry.counts))));
  return Align();
}

absl::Status StatisticsWriter::AddMoment(const MomentEntry& entry, const float* sums) {
  Digest digest(Say(origin_, stages_.size() - 1, entry));
  std::vector<float> values;
  SMELT_RETURN_IF_ERROR(
      ForRows(entry.columns, [&](uint64_t first, uint64_t last, uint64_t count) -> absl::Status {
        values.clear();
        values.reserve(count);
        for (uint64_t row = first; row < last; ++row) {
          const float* const from = sums + row * entry.columns;
          values.insert(values.end(), from, from + row + 1);
        }
        digest.Add(values);
        return Write(std::as_bytes(std::span(values)));
      }));
  stages_.back().moments.push_back(entry);
  hashes_.push_back(digest.Hex());
  return Align();
}

absl::Status StatisticsWriter::Finish(const std::string& model) {
  origin_.model = model;
  SMELT_ASSIGN_OR_RETURN(GgufLayout layout, LayOut(origin_, stages_, hashes_, 0));
  if (layout.header.size() > header_bytes_)
    return Error(ErrorCode::kInternal, Escape(file_->path()), ": more was gathered than expected");
  SMELT_ASSIGN_OR_RETURN(layout,
                         LayOut(origin_, stages_, hashes_, header_bytes_ - layout.header.size()));
  if (layout.header.size() != header_bytes_ || layout.file_size != at_)
    return Error(ErrorCode::kInternal, Escape(file_->path()),
                 ": is not laid out as it was written");
  SMELT_RETURN_IF_ERROR(file_->WriteAt(0, layout.header));
  SMELT_RETURN_IF_ERROR(file_->Shrink(at_));
  return file_->Commit();
}

}  // namespace smelt
