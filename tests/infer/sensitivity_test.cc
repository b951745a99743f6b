// What single weights do to a model's predictions, compared with running the changed model by
// itself.
#include "infer/sensitivity.h"

#include <gmock/gmock.h>

#include <cmath>

#include "lib/base/status.h"
#include "lib/model/forwarding_source.h"
#include "tests/infer/random_models.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::MakeRandomModel;
using testing::RandomIds;
using testing::RandomModel;

/// Another model with one tensor scaled.
class Scaled : public ForwardingSource {
 public:
  Scaled(const ModelSource& source, size_t tensor, float factor)
      : ForwardingSource(source), tensor_(tensor), factor_(factor) {}
  absl::Status ReadRows(size_t tensor, uint64_t first, uint64_t count, float* out) const override {
    SMELT_RETURN_IF_ERROR(base().ReadRows(tensor, first, count, out));
    const uint64_t n = count * tensors()[tensor].shape.columns();
    for (uint64_t i = 0; tensor == tensor_ && i < n; ++i) out[i] *= factor_;
    return absl::OkStatus();
  }
  absl::StatusOr<MappedRows> MapRows(size_t tensor) const override {
    if (tensor == tensor_) return Error(ErrorCode::kUnsupported, "computed");
    return base().MapRows(tensor);
  }

 private:
  const size_t tensor_;
  const float factor_;
};

/// Mean KL divergence of m's predictions to the variant's, by the plain forward pass of logits.
double Plain(const RandomModel& m, const ModelSource& variant,
             const std::vector<std::vector<int32_t>>& texts, uint64_t skip) {
  double sum = 0;
  size_t count = 0;
  for (const std::vector<int32_t>& ids : texts) {
    std::vector<std::vector<float>> a, b;
    const auto collect = [](std::vector<std::vector<float>>& rows) {
      return [&rows](uint64_t, std::span<const float> logits) {
        rows.emplace_back(logits.begin(), logits.end());
        return absl::OkStatus();
      };
    };
    SMELT_EXPECT_OK(ComputeLogits(m.specified(), ids, Precision::kF32, collect(a), {}));
    SMELT_EXPECT_OK(
        ComputeLogits(SpecifiedModel{&variant, m.spec}, ids, Precision::kF32, collect(b), {}));
    for (size_t i = skip; i + 1 < ids.size(); ++i) {
      double of_a = 0, of_b = 0, gap = 0;
      for (size_t j = 0; j < a[i].size(); ++j) {
        const double x = std::exp(static_cast<double>(a[i][j]));
        of_a += x;
        of_b += std::exp(static_cast<double>(b[i][j]));
        gap += x * (static_cast<double>(a[i][j]) - static_cast<double>(b[i][j]));
      }
      sum += gap / of_a - std::log(of_a) + std::log(of_b);
      ++count;
    }
  }
  return sum / static_cast<double>(count);
}

TEST(Sensitivity, IsWhatTheChangedModelLoses) {
  for (const std::string& name : testing::RandomModelNames()) {
    SCOPED_TRACE(name);
    const RandomModel m = MakeRandomModel(name);
    const std::vector<std::vector<int32_t>> texts = {RandomIds(1, 24, m.spec.vocabulary),
                                                     RandomIds(2, 24, m.spec.vocabulary)};
    const ScoreOptions options{.context = 24};
    const bool tied = m.spec.output.weight == m.spec.embedding;
    const size_t embedding = static_cast<size_t>(m.spec.embedding);
    const Scaled scaled_embedding(*m.source, embedding, 1.2f);
    const Scaled scaled_output(*m.source, static_cast<size_t>(m.spec.output.weight), 1.1f);
    // Every other matrix in its layer; where several layers share one, there is no such layer.
    std::vector<std::vector<std::unique_ptr<Scaled>>> of_layer(m.spec.layers.size());
    std::vector<const ModelSource*> order = {&scaled_embedding};
    const auto sensitivity = Sensitivity::Open(m.specified(), texts, options, 3, 8);
    SMELT_ASSERT_OK(sensitivity);
    const ModelSource* const first = &scaled_embedding;
    SMELT_ASSERT_OK((*sensitivity)->Begin({&first, 1}));
    for (size_t layer = 0; layer < of_layer.size(); ++layer) {
      const std::string prefix = "blk." + std::to_string(layer) + ".";
      std::vector<const ModelSource*> variants;
      for (size_t i = 0; i < m.source->tensors().size(); ++i) {
        const TensorInfo& info = m.source->tensors()[i];
        if (!info.name.starts_with(prefix) || info.shape.dims < 2) continue;
        of_layer[layer].push_back(std::make_unique<Scaled>(*m.source, i, 1.3f));
        variants.push_back(of_layer[layer].back().get());
      }
      order.insert(order.end(), variants.begin(), variants.end());
      SMELT_ASSERT_OK((*sensitivity)->Step(layer, variants, nullptr));
    }
    const ModelSource* const last = &scaled_output;
    if (!tied) order.push_back(last);
    const auto losses =
        (*sensitivity)
            ->Finish(tied ? Variants() : Variants(&last, 1),
                     tied ? std::optional(Sensitivity::Tied{0, first}) : std::nullopt);
    SMELT_ASSERT_OK(losses);
    ASSERT_EQ(losses->size(), order.size());
    for (size_t i = 0; i < order.size(); ++i) {
      const double plain = Plain(m, *order[i], texts, 3);
      EXPECT_NEAR((*losses)[i], plain, 1e-4 * plain + 1e-6) << i;
    }
  }
}

}  // namespace
}  // namespace smelt
