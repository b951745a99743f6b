// Experts: what a batch costs in reads and decodings of their weights.
#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>

#include "infer/score.h"
#include "lib/base/status.h"
#include "lib/model/forwarding_source.h"
#include "tests/infer/random_models.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

/// Another source's rows, counted. They cannot be mapped, so that whatever the engine decodes
/// passes through here.
class CountingSource : public ForwardingSource {
 public:
  explicit CountingSource(const ModelSource& source) : ForwardingSource(source) {
    for (const TensorInfo& info : source.tensors()) counts_.emplace_back(info.shape.rows(), 0);
  }
  absl::Status ReadRows(size_t tensor, uint64_t first, uint64_t count, float* out) const override {
    {
      const std::lock_guard lock(mutex_);
      for (uint64_t row = first; row < first + count; ++row) ++counts_[tensor][row];
    }
    return base().ReadRows(tensor, first, count, out);
  }
  absl::StatusOr<MappedRows> MapRows(size_t) const override {
    return Error(ErrorCode::kUnsupported, "not mapped, to be counted");
  }

  /// How often each row of `tensor` was read.
  const std::vector<int>& counts(TensorRef tensor) const {
    return counts_[static_cast<size_t>(tensor)];
  }

 private:
  mutable std::mutex mutex_;
  mutable std::vector<std::vector<int>> counts_;
};

// 8 experts, 2 of them for each token: every expert has tokens in every batch of 256 positions, and
// its rows are decoded once for all of them, however many chunks the batch holds.
TEST(Experts, WeightsAreDecodedOncePerBatch) {
  const testing::RandomModel m = testing::MakeRandomModel("experts", TensorType::kF32, false);
  const std::vector<int32_t> ids = testing::RandomIds(5, 512, m.spec.vocabulary);
  for (const uint64_t batch : {uint64_t{512}, uint64_t{256}}) {
    const CountingSource source(*m.source);
    const SpecifiedModel counted{&source, m.spec};
    ScoreOptions options;
    options.context = 64;
    options.batch_tokens = batch;
    SMELT_ASSERT_OK(Score(counted, nullptr, {ids}, options, {}));
    const int batches = static_cast<int>(512 / batch);
    int mixtures = 0;
    for (const LayerSpec& layer : m.spec.layers) {
      const auto* experts = std::get_if<smelt::Experts>(&layer.ffn);
      if (experts == nullptr) continue;
      ++mixtures;
      for (const Linear* part : {&experts->gate, &experts->up, &experts->down}) {
        const std::vector<int>& counts = source.counts(part->weight);
        EXPECT_EQ(*std::min_element(counts.begin(), counts.end()), batches);
        EXPECT_EQ(*std::max_element(counts.begin(), counts.end()), batches);
      }
    }
    EXPECT_EQ(mixtures, 2);
  }
}

// A batch that needs one expert's worth of tokens leaves the others' weights alone.
TEST(Experts, WeightsOfIdleExpertsAreNotRead) {
  const testing::RandomModel m = testing::MakeRandomModel("experts", TensorType::kF32, false);
  const CountingSource source(*m.source);
  const SpecifiedModel counted{&source, m.spec};
  const std::vector<int32_t> ids = {7};
  SMELT_ASSERT_OK(ComputeLogits(counted, ids, Precision::kF32,
                                [](uint64_t, std::span<const float>) { return absl::OkStatus(); },
                                {}));
  for (const LayerSpec& layer : m.spec.layers) {
    const auto* experts = std::get_if<smelt::Experts>(&layer.ffn);
    if (experts == nullptr) continue;
    const std::vector<int>& counts = source.counts(experts->up.weight);
    const auto read = std::count(counts.begin(), counts.end(), 1);
    EXPECT_EQ(static_cast<uint64_t>(read), counts.size() / experts->count * experts->used);
    EXPECT_EQ(std::count(counts.begin(), counts.end(), 0) + read,
              static_cast<int64_t>(counts.size()));
  }
}

}  // namespace
}  // namespace smelt
