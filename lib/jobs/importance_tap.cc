#include "lib/jobs/importance_tap.h"

#include <algorithm>
#include <cerrno>
#include <cmath>

#include "lib/base/status.h"
#include "lib/base/system_error.h"
#include "lib/base/temporary_file.h"

namespace smelt {
namespace {

constexpr std::string_view kWhat = "the importance matrix";

}  // namespace

InputSquares* ImportanceTap::Squares(TensorRef tensor, uint64_t columns, uint64_t matrices) {
  if (!Watches(NameOf(tensor), output_matrix_)) return nullptr;
  InputSquares& squares = found_[tensor];
  if (squares.columns == 0) {
    squares.columns = columns;
    squares.sums.resize(columns * matrices);
    squares.counts.resize(matrices);
  }
  return &squares;
}

absl::StatusOr<std::vector<float>> ImportanceTap::Sums(TensorRef tensor) const {
  const InputSquares& squares = found_.at(tensor);
  std::vector<float> sums(squares.sums.size());
  for (size_t i = 0; i < sums.size(); ++i) {
    sums[i] = static_cast<float>(squares.sums[i]);
    if (std::isfinite(sums[i])) continue;
    return Error(ErrorCode::kInvalidInput, "the inputs of ", Escape(NameOf(tensor)),
                 " are not finite (column ", i % squares.columns,
                 "): the model is broken, or computes beyond what f32 holds");
  }
  return sums;
}

absl::StatusOr<ImportanceSpool> ImportanceSpool::Make() {
  ImportanceSpool spool;
  SMELT_ASSIGN_OR_RETURN(spool.file_, OpenTemporaryFile(kWhat));
  return spool;
}

absl::Status ImportanceSpool::Take(ImportanceTap& tap) {
  for (const auto& [tensor, squares] : tap.found()) {
    const std::string& name = tap.NameOf(tensor);
    SMELT_ASSIGN_OR_RETURN(const std::vector<float> sums, tap.Sums(tensor));
    Place& place = places_[name];
    place.columns = squares.columns;
    place.counts.assign(squares.counts.begin(), squares.counts.end());
    place.offset = end_;
    const int error = WriteAll(file_.get(), std::as_bytes(std::span(sums))).error;
    if (error != 0) {
      return SystemError(kWhat, "cannot be kept in a temporary file", error,
                         "; set TMPDIR to a folder with space");
    }
    end_ += sums.size() * sizeof(float);
  }
  tap.found().clear();
  return absl::OkStatus();
}

absl::Status ImportanceSpool::Write(const std::string& path, const ImportanceOrigin& origin,
                                    bool force) const {
  std::vector<ImportanceEntry> entries;
  std::vector<uint64_t> offsets;
  for (const auto& [name, place] : places_) {
    entries.push_back({.name = name, .columns = place.columns, .counts = place.counts});
    offsets.push_back(place.offset);
  }
  const auto sums = [&](size_t entry, std::span<float> out) {
    const Transfer read = ReadAt(file_.get(), offsets[entry], std::as_writable_bytes(out));
    if (read.bytes == out.size_bytes()) return absl::OkStatus();
    return SystemError(kWhat, "reading its temporary file failed",
                       read.error != 0 ? read.error : EIO);
  };
  return WriteImportance(path, origin, entries, sums, force);
}

}  // namespace smelt
