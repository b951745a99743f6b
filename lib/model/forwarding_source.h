// A model that differs from another one in a few places.
#pragma once

#include <string>
#include <vector>

#include "lib/model/model_source.h"

namespace smelt {

/// Another source as it is; what derives from it overrides what is different.
class ForwardingSource : public ModelSource {
 public:
  /// `base` outlives this.
  explicit ForwardingSource(const ModelSource& base) : base_(base) { BuildIndex(); }

  const Metadata& metadata() const override { return base_.metadata(); }
  const std::vector<TensorInfo>& tensors() const override { return base_.tensors(); }
  const std::string& name() const override { return base_.name(); }
  std::string identity() const override { return base_.identity(); }
  absl::Status ReadRows(size_t tensor, uint64_t first, uint64_t count, float* out) const override {
    return base_.ReadRows(tensor, first, count, out);
  }
  absl::Status ReadRawRows(size_t tensor, uint64_t first, uint64_t count,
                           std::byte* out) const override {
    return base_.ReadRawRows(tensor, first, count, out);
  }
  absl::StatusOr<MappedRows> MapRows(size_t tensor) const override { return base_.MapRows(tensor); }
  void DropPages(size_t tensor) const override { base_.DropPages(tensor); }

 protected:
  const ModelSource& base() const { return base_; }

 private:
  const ModelSource& base_;
};

}  // namespace smelt
