// What goes into the products of every shape of model, against the same by a plain forward pass.
#include "infer/tap.h"

#include <cmath>
#include <list>
#include <map>
#include <utility>

#include "infer/calibration.h"
#include "lib/base/parallel.h"
#include "tests/infer/random_models.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::MakeRandomModel;
using testing::RandomIds;
using testing::RandomModel;
using Ids = std::vector<int32_t>;
using Inputs = std::map<TensorRef, InputSquares>;
using References = std::map<TensorRef, testing::ReferenceInputs>;

/// Second moments: each once, however many matrices share it.
struct Grams {
  struct One {
    InputGram gram;
    std::vector<float> sums;
  };
  std::list<One> all;
  std::map<std::pair<TensorRef, uint64_t>, One*> of;
};

struct EveryTensor : Tap {
  Inputs inputs;
  Grams grams;
  absl::StatusOr<InputGram*> Gram(TensorRef tensor, uint64_t index, uint64_t columns,
                                  InputGram* same) override {
    Grams::One*& one = grams.of[{tensor, index}];
    for (Grams::One& other : grams.all)
      if (&other.gram == same) one = &other;
    if (one == nullptr) {
      one = &grams.all.emplace_back();
      one->sums.resize(columns * columns);
      one->gram = {.columns = columns, .sums = one->sums.data()};
    }
    EXPECT_EQ(one->gram.columns, columns);
    return &one->gram;
  }
  InputSquares* Squares(TensorRef tensor, uint64_t columns, uint64_t matrices) override {
    InputSquares& squares = inputs[tensor];
    squares.columns = columns;
    squares.sums.resize(columns * matrices);
    squares.counts.resize(matrices);
    return &squares;
  }
};

absl::StatusOr<EveryTensor> Watched(const RandomModel& m, const std::vector<Ids>& texts,
                                    const ScoreOptions& options,
                                    uint64_t in_memory = Calibration::kStreamsInMemory) {
  const Observer observer;
  const SpecifiedModel model = m.specified();
  absl::StatusOr<std::unique_ptr<Calibration>> calibration =
      Calibration::Open(model, texts, options, observer, in_memory);
  if (!calibration.ok()) return calibration.status();
  EveryTensor tap;
  absl::Status status = (*calibration)->Begin();
  for (size_t i = 0; i < m.spec.layers.size() && status.ok(); ++i)
    status = (*calibration)->Step(i, &tap);
  if (status.ok()) status = (*calibration)->Finish(&tap);
  if (!status.ok()) return status;
  return tap;
}

/// Chunks of 44 of two texts: panels with empty lanes, several chunks in a batch and several
/// batches.
const ScoreOptions kOptions{.context = 44, .batch_tokens = 100};
std::vector<Ids> Texts(const RandomModel& m) {
  return {RandomIds(3, 5 * 44 + 7, m.spec.vocabulary), RandomIds(4, 44, m.spec.vocabulary)};
}

References Reference(const RandomModel& m, const std::vector<Ids>& texts) {
  References inputs;
  for (const Ids& ids : texts) {
    const Chunks chunks = ChunksOf(ids.size(), kOptions);
    for (uint64_t c = 0; c < chunks.count; ++c) {
      const auto first = ids.begin() + static_cast<std::ptrdiff_t>(c * chunks.context);
      AddReferenceInputs(m.spec, *m.source,
                         {first, first + static_cast<std::ptrdiff_t>(chunks.context)}, inputs);
    }
  }
  return inputs;
}

TEST(Tap, SeesWhatAPlainForwardPassMultiplies) {
  for (const std::string& name : testing::RandomModelNames()) {
    SCOPED_TRACE(name);
    const RandomModel m = MakeRandomModel(name);
    const std::vector<Ids> texts = Texts(m);
    const auto watched = Watched(m, texts, kOptions);
    SMELT_ASSERT_OK(watched);
    References expected = Reference(m, texts);
    if (m.spec.inputs.present()) expected.erase(m.spec.inputs.projection.weight);
    ASSERT_EQ(watched->inputs.size(), expected.size());
    for (const auto& [tensor, want] : expected) {
      SCOPED_TRACE(tensor);
      ASSERT_TRUE(watched->inputs.contains(tensor));
      const InputSquares& got = watched->inputs.at(tensor);
      EXPECT_EQ(got.counts, want.counts);
      ASSERT_EQ(got.sums.size(), want.sums.size());
      double mean = 0;
      for (const double sum : want.sums) mean += sum / static_cast<double>(want.sums.size());
      for (size_t i = 0; i < want.sums.size(); ++i)
        ASSERT_NEAR(got.sums[i], want.sums[i], 1e-4 * want.sums[i] + 1e-5 * mean) << i;
    }
  }
}

// What is read back from a device: dense, of chosen and shared experts, of matrices for heads.
TEST(Tap, SeesTheSameOnADevice) {
  if (ListDevices().devices.size() < 2) GTEST_SKIP() << "SKIPPED: there is no Vulkan device here";
  for (const char* name :
       {"gqa", "experts_shared", "experts_latent", "latent_attention_temperature"}) {
    SCOPED_TRACE(name);
    const RandomModel m = MakeRandomModel(name);
    const std::vector<Ids> texts = {RandomIds(3, 2 * 20, m.spec.vocabulary)};
    ScoreOptions options{.context = 20};
    const auto expected = Watched(m, texts, options);
    options.device.device = "vulkan";
    const auto watched = Watched(m, texts, options);
    SMELT_ASSERT_OK(expected);
    SMELT_ASSERT_OK(watched);
    ASSERT_EQ(watched->inputs.size(), expected->inputs.size());
    for (const auto& [tensor, want] : expected->inputs) {
      SCOPED_TRACE(tensor);
      ASSERT_TRUE(watched->inputs.contains(tensor));
      const InputSquares& got = watched->inputs.at(tensor);
      EXPECT_EQ(got.counts, want.counts);
      double mean = 0;
      for (const double sum : want.sums) mean += sum / static_cast<double>(want.sums.size());
      for (size_t i = 0; i < want.sums.size(); ++i)
        ASSERT_NEAR(got.sums[i], want.sums[i], 1e-4 * want.sums[i] + 1e-5 * mean) << i;
    }
    ASSERT_EQ(watched->grams.of.size(), expected->grams.of.size());
    for (const auto& [matrix, want] : expected->grams.of) {
      const Grams::One& got = *watched->grams.of.at(matrix);
      const uint64_t n = want->gram.columns;
      EXPECT_EQ(got.gram.tokens, want->gram.tokens);
      double mean = 0;
      for (uint64_t i = 0; i < n; ++i)
        mean += static_cast<double>(want->sums[i * n + i]) / static_cast<double>(n);
      for (uint64_t i = 0; i < n; ++i)
        for (uint64_t j = 0; j <= i; ++j)
          ASSERT_NEAR(got.sums[i * n + j], want->sums[i * n + j], 2e-4 * mean) << i << ' ' << j;
    }
  }
}

TEST(Tap, SeesSecondMoments) {
  size_t matrices = 0, moments = 0;
  for (const std::string& name : testing::RandomModelNames()) {
    SCOPED_TRACE(name);
    const RandomModel m = MakeRandomModel(name);
    const std::vector<Ids> texts = Texts(m);
    const auto watched = Watched(m, texts, kOptions);
    SMELT_ASSERT_OK(watched);
    References expected = Reference(m, texts);
    for (const auto& [matrix, one] : watched->grams.of) {
      SCOPED_TRACE(matrix.first);
      const testing::ReferenceInputs& want = expected.at(matrix.first);
      const uint64_t n = one->gram.columns;
      EXPECT_EQ(one->gram.tokens, want.counts[matrix.second]);
      const double* const products = want.products.data() + matrix.second * n * n;
      double mean = 0;
      for (uint64_t i = 0; i < n; ++i) mean += products[i * n + i] / static_cast<double>(n);
      for (uint64_t i = 0; i < n; ++i)
        for (uint64_t j = 0; j <= i; ++j)
          ASSERT_NEAR(one->sums[i * n + j], products[i * n + j], 2e-4 * mean) << i << ' ' << j;
    }
    matrices += watched->grams.of.size();
    moments += watched->grams.all.size();
  }
  EXPECT_GT(matrices, moments) << "some share their inputs";
}

TEST(Tap, SumsAreTheSameForAnyNumberOfThreads) {
  const int before = Threads();
  for (const std::string& name : testing::RandomModelNames()) {
    SCOPED_TRACE(name);
    const RandomModel m = MakeRandomModel(name);
    SetThreads(1);
    const auto one = Watched(m, Texts(m), kOptions);
    SMELT_ASSERT_OK(one);
    for (const int threads : {2, 5}) {
      SetThreads(threads);
      const auto many = Watched(m, Texts(m), kOptions);
      SMELT_ASSERT_OK(many);
      for (const auto& [tensor, squares] : one->inputs) {
        EXPECT_EQ(many->inputs.at(tensor).sums, squares.sums) << tensor << " with " << threads;
        EXPECT_EQ(many->inputs.at(tensor).counts, squares.counts);
      }
    }
  }
  SetThreads(before);
}

TEST(Tap, StreamsInAFileAreTheSame) {
  for (const std::string& name : testing::RandomModelNames()) {
    SCOPED_TRACE(name);
    const RandomModel m = MakeRandomModel(name);
    const auto in_memory = Watched(m, Texts(m), kOptions),
               in_file = Watched(m, Texts(m), kOptions, 0);
    SMELT_ASSERT_OK(in_memory);
    SMELT_ASSERT_OK(in_file);
    for (const auto& [tensor, squares] : in_memory->inputs)
      EXPECT_EQ(in_file->inputs.at(tensor).sums, squares.sums) << tensor;
  }
}

}  // namespace
}  // namespace smelt
