// A model with other metadata.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lib/model/model_source.h"

namespace smelt::testing {

/// A source under other metadata.
class Edited : public ModelSource {
 public:
  Edited(const ModelSource& source, Metadata metadata)
      : source_(source), metadata_(std::move(metadata)) {
    BuildIndex();
  }
  const Metadata& metadata() const override { return metadata_; }
  const std::vector<TensorInfo>& tensors() const override { return source_.tensors(); }
  const std::string& name() const override { return source_.name(); }
  std::string identity() const override { return source_.identity(); }
  absl::Status ReadRows(size_t t, uint64_t first, uint64_t n, float* out) const override {
    return source_.ReadRows(t, first, n, out);
  }
  absl::Status ReadRawRows(size_t t, uint64_t first, uint64_t n, std::byte* out) const override {
    return source_.ReadRawRows(t, first, n, out);
  }
  absl::StatusOr<MappedRows> MapRows(size_t t) const override { return source_.MapRows(t); }

 private:
  const ModelSource& source_;
  Metadata metadata_;
};

}  // namespace smelt::testing
