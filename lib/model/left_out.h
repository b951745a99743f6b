// Tensors that a conversion leaves out, for the note that says how much that is.
#pragma once

#include <cstdint>
#include <string>

#include "formats/container.h"

namespace smelt {

class LeftOut {
 public:
  void Add(const RawTensor& tensor);
  bool any() const { return tensors_ != 0; }
  /// "model.visual.merger.norm.weight and 311 more (0.62 B parameters, 1.24 GB)": the first in
  /// alphabetical order; bytes as they are stored.
  std::string ToText() const;

 private:
  std::string first_;
  uint64_t tensors_ = 0, parameters_ = 0, bytes_ = 0;
};

}  // namespace smelt
