#include "lib/jobs/statistics_tap.h"

#include "lib/base/status.h"
#include "lib/base/temporary_file.h"

namespace smelt {

void ReleaseGram::operator()(float* memory) const {
  mapped != 0 ? UnmapTemporaryFile(memory, mapped) : delete[] memory;
}

absl::StatusOr<std::unique_ptr<SharedGram>> SharedGram::Make(uint64_t columns, bool in_file) {
  auto out = std::make_unique<SharedGram>();
  out->gram.columns = columns;
  if (in_file) {
    SMELT_ASSIGN_OR_RETURN(void* const memory,
                           MapTemporaryFile(out->bytes(), "what is gathered of a layer's inputs"));
    out->sums_ = {static_cast<float*>(memory), ReleaseGram{out->bytes()}};
  } else {
    out->sums_ = {new float[columns * columns](), ReleaseGram{}};
  }
  out->gram.sums = out->sums_.get();
  return out;
}

absl::StatusOr<InputGram*> StatisticsTap::Gram(TensorRef tensor, uint64_t index, uint64_t columns,
                                               InputGram* same) {
  if (!wanted_[static_cast<size_t>(tensor)]) return nullptr;
  SharedGram*& known = of_matrix_[{tensor, index}];
  if (known == nullptr && same != nullptr) {
    for (const std::unique_ptr<SharedGram>& shared : grams_)
      if (&shared->gram == same) known = shared.get();
    known->matrices.push_back({tensor, index});
  }
  if (known == nullptr) {
    const uint64_t bytes = columns * columns * sizeof(float);
    const bool in_file = in_memory_ + bytes > kInMemory;
    SMELT_ASSIGN_OR_RETURN(grams_.emplace_back(), SharedGram::Make(columns, in_file));
    if (!in_file) in_memory_ += bytes;
    known = grams_.back().get();
    known->matrices.push_back({tensor, index});
  }
  return &known->gram;
}

void StatisticsTap::Clear() {
  found().clear();
  grams_.clear();
  of_matrix_.clear();
  in_memory_ = 0;
}

}  // namespace smelt
