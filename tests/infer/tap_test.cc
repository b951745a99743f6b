// What goes into the products of every shape of model, against the same by a plain forward pass.
#include "infer/tap.h"

#include <cmath>
#include <map>

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

struct EveryTensor : Tap {
  Inputs inputs;
  InputSquares* Squares(TensorRef tensor, uint64_t columns, uint64_t matrices) override {
    InputSquares& squares = inputs[tensor];
    squares.columns = columns;
    squares.sums.resize(columns * matrices);
    squares.counts.resize(matrices);
    return &squares;
  }
};

absl::StatusOr<Inputs> Watched(const RandomModel& m, const std::vector<Ids>& texts,
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
  return std::move(tap.inputs);
}

/// Chunks of 44 of two texts: panels with empty lanes, several chunks in a batch and several
/// batches.
const ScoreOptions kOptions{.context = 44, .batch_tokens = 100};
std::vector<Ids> Texts(const RandomModel& m) {
  return {RandomIds(3, 5 * 44 + 7, m.spec.vocabulary), RandomIds(4, 44, m.spec.vocabulary)};
}

Inputs Reference(const RandomModel& m, const std::vector<Ids>& texts) {
  Inputs inputs;
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
    Inputs expected = Reference(m, texts);
    if (m.spec.inputs.present()) expected.erase(m.spec.inputs.projection.weight);
    ASSERT_EQ(watched->size(), expected.size());
    for (const auto& [tensor, want] : expected) {
      SCOPED_TRACE(tensor);
      ASSERT_TRUE(watched->contains(tensor));
      const InputSquares& got = watched->at(tensor);
      EXPECT_EQ(got.counts, want.counts);
      ASSERT_EQ(got.sums.size(), want.sums.size());
      double mean = 0;
      for (const double sum : want.sums) mean += sum / static_cast<double>(want.sums.size());
      for (size_t i = 0; i < want.sums.size(); ++i)
        ASSERT_NEAR(got.sums[i], want.sums[i], 1e-4 * want.sums[i] + 1e-5 * mean) << i;
    }
  }
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
      for (const auto& [tensor, squares] : *one) {
        EXPECT_EQ(many->at(tensor).sums, squares.sums) << tensor << " with " << threads;
        EXPECT_EQ(many->at(tensor).counts, squares.counts);
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
    for (const auto& [tensor, squares] : *in_memory)
      EXPECT_EQ(in_file->at(tensor).sums, squares.sums) << tensor;
  }
}

}  // namespace
}  // namespace smelt
