// Importance as a model's layers give it away, kept until it is written.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/importance.h"
#include "infer/tap.h"
#include "lib/base/fd.h"
#include "lib/model/model_source.h"

namespace smelt {

/// The tensors of one layer. Watches those that llama-imatrix does: all of layers ("blk."), and the
/// output matrix when it is asked for.
class ImportanceTap : public Tap {
 public:
  ImportanceTap(const ModelSource& source, bool output_matrix)
      : source_(source), output_matrix_(output_matrix) {}

  static bool Watches(std::string_view tensor, bool output_matrix) {
    return tensor.starts_with("blk.") || (output_matrix && tensor == "output.weight");
  }

  InputSquares* Squares(TensorRef tensor, uint64_t columns, uint64_t matrices) override;

  const std::string& NameOf(TensorRef tensor) const {
    return source_.tensors()[static_cast<size_t>(tensor)].name;
  }
  std::map<TensorRef, InputSquares>& found() { return found_; }
  const std::map<TensorRef, InputSquares>& found() const { return found_; }
  /// Sums of a tensor that was found, as they are stored. An input that is no number is an error.
  absl::StatusOr<std::vector<float>> Sums(TensorRef tensor) const;

 private:
  const ModelSource& source_;
  const bool output_matrix_;
  std::map<TensorRef, InputSquares> found_;
};

/// What was found of all layers so far, in a temporary file: experts make it as big as a layer.
class ImportanceSpool {
 public:
  static absl::StatusOr<ImportanceSpool> Make();

  /// Takes what the tap has found and leaves it empty.
  absl::Status Take(ImportanceTap& tap);
  /// Writes everything: see WriteImportance.
  absl::Status Write(const std::string& path, const ImportanceOrigin& origin, bool force) const;

 private:
  struct Place {
    std::vector<float> counts;
    uint64_t columns = 0, offset = 0;
  };
  Fd file_;
  uint64_t end_ = 0;
  std::map<std::string, Place> places_;
};

}  // namespace smelt
