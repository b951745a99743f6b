// Rows of a tensor with what adapters do to them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/model/recipe_matrix.h"

namespace smelt {

/// scale * left right, of rows x columns: `left` is (rows, rank), `right` (rank, columns).
struct LowRank {
  RecipeMatrix left, right;
  float scale = 1;
  uint64_t first_row = 0;  ///< of the tensor, that the product's first row is added to
  bool part = false;       ///< of some of the tensor's rows, those of an expert; else of all

  uint64_t rank() const { return left.columns(); }
};

/// Rows of a tensor that take the place of its own: row of the tensor, row of `values`.
struct ReplacedRows {
  std::map<uint64_t, uint64_t> from;
  RecipeMatrix values;
};

/// DoRA: how long rows, or all columns, are made: one number a line, which `lengths` has in a row.
struct Lengths {
  RecipeMatrix values;
  bool of_columns = false;
};

/// What one adapter does to a tensor, in this order.
struct TensorChange {
  std::optional<ReplacedRows> replaced;
  std::vector<LowRank> products;
  std::optional<Lengths> lengths;

  /// Whether it is for a tensor of this name and of rows x columns; else what to say.
  absl::Status Check(const std::string& name, uint64_t rows, uint64_t columns) const;
};

/// A tensor with changes, one after the other. The lengths that DoRA divides by are those of the
/// unchanged tensor with that adapter alone, as PEFT merges several. Copies share what was
/// computed. Thread-safe.
class MergedRows {
 public:
  using Reader = std::function<absl::Status(uint64_t first, uint64_t count, float* out)>;

  /// `name`: of the tensor, for messages.
  MergedRows(std::string name, uint64_t rows, uint64_t columns, Reader base)
      : name_(std::move(name)), rows_(rows), columns_(columns), base_(std::move(base)) {}

  absl::Status Add(TensorChange change);
  /// Rows [first, +count).
  absl::Status Read(uint64_t first, uint64_t count, float* out) const;

 private:
  struct Step;
  absl::Status ReadAlone(const Step& step, uint64_t first, uint64_t count, float* out) const;
  absl::Status AddTo(const TensorChange& change, uint64_t first, uint64_t count, float* out) const;
  absl::Status SetLengths(Step& step, uint64_t first, uint64_t count, const float* alone,
                          float* out) const;
  absl::Status FindColumnFactors(Step& step) const;
  absl::StatusOr<std::vector<float>> ColumnFactors(const Step& step) const;

  std::string name_;
  uint64_t rows_, columns_;
  Reader base_;
  std::vector<std::shared_ptr<Step>> steps_;
};

}  // namespace smelt
