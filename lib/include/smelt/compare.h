// Two models tensor by tensor, and one by itself: what a conversion has kept.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "smelt/export.h"
#include "smelt/observer.h"

namespace smelt {

struct CompareOptions {
  std::string a, b;     ///< folder, GGUF or store name; `a` is what `b` is measured by
  std::string imatrix;  ///< importance-matrix file for weighted errors; empty: none
};

struct TensorDifference {
  std::string name;
  std::string type_a, type_b;              ///< empty where the model has no such tensor
  std::vector<uint64_t> shape_a, shape_b;  ///< ggml order
  bool comparable = false;                 ///< in both, of one shape, all values numbers
  std::string problem;                     ///< why it is not
  double relative_error = 0;               ///< |a - b| / |a|
  std::optional<double> weighted_error;    ///< the same, each column by its importance
  double cosine = 1;                       ///< of the angle between a and b
  double worst = 0;                        ///< largest |a - b| of a value
  uint64_t worst_row = 0, worst_column = 0;
};

struct Comparison {
  std::string a, b;
  double relative_error = 0;              ///< of all comparable tensors together
  uint64_t equal = 0;                     ///< tensors without any difference
  uint64_t problems = 0;                  ///< tensors that are not comparable
  std::vector<TensorDifference> tensors;  ///< in the order of `a`, then what only `b` has
};

/// Compares all values.
SMELT_EXPORT absl::StatusOr<Comparison> Compare(const CompareOptions& options,
                                                const Observer& observer = {});

struct TensorCheck {
  std::string name, type;
  std::vector<uint64_t> shape;  ///< ggml order
  std::string sha256;           ///< of its bytes as stored; empty where it is computed
  uint64_t bad_blocks = 0;      ///< blocks (or values) with a scale or value that is no number
  std::string problem;          ///< what is wrong; empty: nothing
};

struct ModelCheck {
  std::string model;
  std::vector<TensorCheck> tensors;
  std::optional<Comparison> against;
  uint64_t problems = 0;  ///< tensors with one, on their own or against the other model
  bool passed() const { return problems == 0; }
};

/// Reads all of a model: structure, scales, values. `against`, unless empty: the model that it was
/// made from; a tensor that is missing, of another shape, or no nearer to it than zeros would be is
/// a problem.
SMELT_EXPORT absl::StatusOr<ModelCheck> CheckModel(const std::string& model,
                                                   const std::string& against,
                                                   const Observer& observer = {});

}  // namespace smelt
