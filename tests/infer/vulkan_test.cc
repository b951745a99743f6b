// The Vulkan backend against the plain forward pass, what transformers recorded, and the codecs. On
// Mesa's software device where the machine has no card; skipped, loudly, where it has no Vulkan.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <set>
#include <type_traits>

#include "infer/open_backend.h"
#include "infer/score.h"
#include "infer/session.h"
#include "lib/base/cat.h"
#include "lib/base/job_scope.h"
#include "lib/model/open.h"
#include "quant/codec.h"
#include "quant/encoder.h"
#include "tests/infer/random_models.h"
#include "tests/model/expected_gguf.h"
#include "tests/model/fixture_models.h"
#include "tests/model/golden_model.h"
#include "tests/quant/fixtures.h"
#include "tests/testing/testing.h"
#ifdef SMELT_HAS_VULKAN
#include "infer/vulkan/kernels.h"
#include "infer/vulkan/weights.h"
#endif

namespace smelt {
namespace {

using testing::MakeRandomModel;
using testing::RandomIds;
using testing::RandomModel;

const DeviceOptions kVulkan = {.device = "vulkan"};

#define SMELT_REQUIRE_VULKAN()                                        \
  if (const DeviceList list = ListDevices(); list.devices.size() < 2) \
  GTEST_SKIP() << "SKIPPED: there is no Vulkan device here: " << list.problem

using Logits = std::vector<std::vector<double>>;

double Difference(const Logits& a, const Logits& b) {
  if (a.size() != b.size()) return HUGE_VAL;
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t j = 0; j < a[i].size(); ++j) {
      const double d = std::abs(a[i][j] - b[i][j]);
      worst = std::max(worst, std::isnan(d) ? HUGE_VAL : d);
    }
  }
  return worst;
}

Logits DeviceLogits(const RandomModel& m, const std::vector<int32_t>& ids) {
  Logits rows;
  SMELT_EXPECT_OK(ComputeLogits(
      m.specified(), ids, Precision::kF32,
      [&](uint64_t, std::span<const float> row) {
        rows.emplace_back(row.begin(), row.end());
        return absl::OkStatus();
      },
      {}, kVulkan));
  return rows;
}

class VulkanEngine : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { SMELT_REQUIRE_VULKAN(); }
};

TEST_P(VulkanEngine, LogitsEqualThePlainForwardPass) {
  const RandomModel m = MakeRandomModel(GetParam());
  const std::vector<int32_t> ids = RandomIds(1, 70, m.spec.vocabulary);
  EXPECT_LT(Difference(DeviceLogits(m, ids), ReferenceLogits(m.spec, *m.source, ids)), 2e-4);
}

/// While it lives, what has no barrier between it is done in the reverse order.
class Reversed {
 public:
#ifdef SMELT_HAS_VULKAN
  Reversed() { vulkan::Device::reversed = true; }
  ~Reversed() { vulkan::Device::reversed = false; }
#endif
};

TEST_P(VulkanEngine, BlocksThatAreMultipliedGiveTheirProducts) {
  [[maybe_unused]] const Reversed reversed;
  const RandomModel m = MakeRandomModel(GetParam(), TensorType::kNVFP4);
  const std::vector<int32_t> ids = RandomIds(1, 20, m.spec.vocabulary);
  EXPECT_LT(Difference(DeviceLogits(m, ids), ReferenceLogits(m.spec, *m.source, ids)), 2e-4);
}

TEST_P(VulkanEngine, GenerationEqualsRecomputation) {
  [[maybe_unused]] const Reversed reversed;
  const RandomModel m = MakeRandomModel(GetParam());
  const std::vector<int32_t> ids = RandomIds(2, 50, m.spec.vocabulary);
  const Logits whole = ReferenceLogits(m.spec, *m.source, ids);
  auto session = Session::Create(m.specified(), Precision::kF32, kVulkan);
  SMELT_ASSERT_OK(session);
  std::vector<float> logits;
  SMELT_ASSERT_OK((*session)->Feed(std::span(ids).first(37), logits));
  const std::unique_ptr<SessionState> state = (*session)->Save();
  for (const size_t step : {1, 5, 13}) {
    SMELT_ASSERT_OK((*session)->Restore(*state));
    for (size_t at = 37; at < ids.size(); at += step)
      SMELT_ASSERT_OK(
          (*session)->Feed(std::span(ids).subspan(at, std::min(step, ids.size() - at)), logits));
    EXPECT_LT(Difference({{logits.begin(), logits.end()}}, {whole.back()}), 2e-4) << step;
  }
  // A state outlives the session that it was saved from; other devices have no use for it.
  session->reset();
  EXPECT_EQ(state->Copy()->positions(), 37u);
  for (const DeviceOptions& other : {DeviceOptions(), kVulkan}) {
    const auto another = Session::Create(m.specified(), Precision::kF32, other);
    SMELT_ASSERT_OK(another);
    EXPECT_EQ(CodeOf((*another)->Restore(*state)), ErrorCode::kUsage);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, VulkanEngine, ::testing::ValuesIn(testing::RandomModelNames()),
                         [](const auto& param) { return param.param; });

TEST(VulkanLayers, TheOthersRunOnTheProcessor) {
  SMELT_REQUIRE_VULKAN();
  for (const char* name : {"gqa", "shared_keys", "per_layer_inputs"}) {
    const RandomModel m = MakeRandomModel(name);
    const std::vector<int32_t> ids = RandomIds(2, 24, m.spec.vocabulary);
    const Logits whole = ReferenceLogits(m.spec, *m.source, ids);
    const uint64_t layers = m.spec.layers.size();
    for (const uint64_t on_device : std::set<uint64_t>{0, layers / 2, layers}) {
      DeviceOptions device = kVulkan;
      device.device_layers = on_device;
      auto session = Session::Create(m.specified(), Precision::kF32, device);
      SMELT_ASSERT_OK(session);
      if (std::string_view(name) == "gqa") {
        EXPECT_EQ((*session)->device_layers(), on_device);
      }
      std::vector<float> logits;
      SMELT_ASSERT_OK((*session)->Feed(std::span(ids).first(20), logits));
      const std::unique_ptr<SessionState> state = (*session)->Save();
      for (int turn = 0; turn < 2; ++turn) {
        for (size_t at = 20; at < ids.size(); ++at)
          SMELT_ASSERT_OK((*session)->Feed(std::span(ids).subspan(at, 1), logits));
        EXPECT_LT(Difference({{logits.begin(), logits.end()}}, {whole.back()}), 2e-4)
            << name << ", " << on_device;
        SMELT_ASSERT_OK((*session)->Restore(*state));
      }
    }
  }
}

TEST(VulkanCache, KeysAndValuesInHalfTheMemory) {
  SMELT_REQUIRE_VULKAN();
  for (const char* name : {"gqa", "latent_attention", "mqa_odd_sizes", "sinks"}) {
    const RandomModel m = MakeRandomModel(name);
    const std::vector<int32_t> ids = RandomIds(2, 24, m.spec.vocabulary);
    const Logits whole = ReferenceLogits(m.spec, *m.source, ids);
    DeviceOptions device = kVulkan;
    device.cache_type = "f16";
    const auto session = Session::Create(m.specified(), Precision::kF32, device);
    SMELT_ASSERT_OK(session);
    std::vector<float> logits;
    SMELT_ASSERT_OK((*session)->Feed(std::span(ids).first(20), logits));
    for (size_t at = 20; at < ids.size(); ++at)
      SMELT_ASSERT_OK((*session)->Feed(std::span(ids).subspan(at, 1), logits));
    const double difference = Difference({{logits.begin(), logits.end()}}, {whole.back()});
    EXPECT_LT(difference, 2e-2) << name;
    EXPECT_GT(difference, 1e-6) << name << ": nothing was rounded";
  }
  EXPECT_EQ(CodeOf(OpenBackend({.device = "vulkan", .cache_type = "q8"}).status()),
            ErrorCode::kUsage);
}

// Of a layer: norm; q, k and v; rotation; cache; attention; output; norm; then gate with up, and
// down; or router, choice, gate with up, down, sum, and of the shared expert gate with up, down,
// its own gate, and two to add it. Then the final norm and the head.
TEST(VulkanCounts, DispatchesOfAToken) {
  SMELT_REQUIRE_VULKAN();
  OpenOptions open;
  open.vocabulary = false;
  for (const auto& [name, expected] :
       {std::pair<const char*, uint64_t>{"llama", 2 * 9 + 2}, {"qwen2moe", 2 * 17 + 2}}) {
    const auto model = OpenModel(testing::TestdataPath(Cat("models/", name)), open);
    SMELT_ASSERT_OK(model);
    const auto session = Session::Create(*model->source, Precision::kF32, kVulkan);
    SMELT_ASSERT_OK(session);
    std::vector<float> logits;
    SMELT_ASSERT_OK((*session)->Feed(std::vector<int32_t>{1, 2, 3}, logits));
    const CommandCounts before = (*session)->counts();
    SMELT_ASSERT_OK((*session)->Feed(std::vector<int32_t>{4}, logits));
    const CommandCounts after = (*session)->counts();
    EXPECT_EQ(after.dispatches - before.dispatches, expected) << name;
    EXPECT_LE(after.barriers - before.barriers, expected + 4) << name;
    EXPECT_GE(after.submits - before.submits, 1u) << name;
    ::testing::Test::RecordProperty(Cat(name, "_barriers"),
                                    static_cast<int>(after.barriers - before.barriers));
  }
}

// So many as its memory has room for.
TEST(VulkanLayers, ASmallDeviceTakesSome) {
  SMELT_REQUIRE_VULKAN();
  OpenOptions open;
  open.vocabulary = false;
  const auto model = OpenModel(testing::ModelPath("llama"), open);
  SMELT_ASSERT_OK(model);
  uint64_t before = 0, all = 0;
  std::vector<float> expected, logits;
  for (const uint64_t memory : {1'000'000'000, 3'500'000, 1'000'000}) {
    DeviceOptions device = kVulkan;
    device.device_memory = memory;
    const auto session = Session::Create(*model->source, Precision::kF32, device);
    SMELT_ASSERT_OK(session);
    const uint64_t layers = (*session)->device_layers().value();
    if (before == 0) {
      all = layers;
      EXPECT_EQ(layers, (*session)->layers());
    } else {
      EXPECT_LT(layers, before) << memory;
    }
    before = layers;
    SMELT_ASSERT_OK((*session)->Feed(std::vector<int32_t>{1, 2, 3, 4, 5, 6}, logits));
    if (layers == all) expected = logits;
    for (size_t i = 0; i < logits.size(); ++i) ASSERT_NEAR(logits[i], expected[i], 2e-3) << memory;
  }
}

TEST(VulkanScore, EqualsTheProcessors) {
  SMELT_REQUIRE_VULKAN();
  const RandomModel a = MakeRandomModel("window"), b = MakeRandomModel("biases");
  const std::vector<int32_t> ids =
      RandomIds(7, 3 * 64 + 20, std::min(a.spec.vocabulary, b.spec.vocabulary));
  const SpecifiedModel reference = b.specified();
  ScoreOptions options{.context = 64, .batch_tokens = 128};
  const auto expected = Score(a.specified(), &reference, {ids}, options, {});
  options.device = kVulkan;
  const auto score = Score(a.specified(), &reference, {ids}, options, {});
  SMELT_ASSERT_OK(expected);
  SMELT_ASSERT_OK(score);
  EXPECT_NEAR(score->mean_nll, expected->mean_nll, 1e-5);
  EXPECT_NEAR(score->reference->mean_nll, expected->reference->mean_nll, 1e-5);
  EXPECT_NEAR(score->reference->kl_mean, expected->reference->kl_mean, 1e-5);
  EXPECT_NEAR(score->reference->kl_max, expected->reference->kl_max, 1e-4);
  EXPECT_EQ(score->reference->top1_agreement, expected->reference->top1_agreement);
  EXPECT_TRUE(score->finite && score->reference->finite);
  const auto same = Score(a.specified(), &reference, {ids}, options, {});
  SMELT_ASSERT_OK(same);
  EXPECT_EQ(same->mean_nll, score->mean_nll);
  EXPECT_EQ(same->reference->kl_mean, score->reference->kl_mean);
}

TEST(VulkanScore, AModelsDivergenceFromItselfIsNothing) {
  SMELT_REQUIRE_VULKAN();
  const RandomModel a = MakeRandomModel("gqa");
  const SpecifiedModel reference = a.specified();
  const auto score = Score(a.specified(), &reference, {RandomIds(7, 140, a.spec.vocabulary)},
                           {.context = 64, .device = kVulkan}, {});
  SMELT_ASSERT_OK(score);
  EXPECT_EQ(score->reference->kl_max, 0);
  EXPECT_EQ(score->reference->top1_agreement, 1);
}

TEST(VulkanDevices, NamesThatMeanNothingAreRefused) {
  for (const char* name : {"gpu", "vulkan:no such card", "cuda", "", "vulkan:99"}) {
    const auto backend = OpenBackend({.device = name});
    EXPECT_FALSE(backend.ok()) << name;
  }
  SMELT_EXPECT_OK(OpenBackend({.device = "auto"}));
}

// 2.8 MB of weights, and the same figures to the last bit.
TEST(VulkanDevices, AModelMayBeLargerThanTheDevicesMemory) {
  SMELT_REQUIRE_VULKAN();
  OpenOptions open;
  open.vocabulary = false;
  const auto model = OpenModel(testing::ModelPath("llama"), open);
  SMELT_ASSERT_OK(model);
  testing::GoldenModel recorded;
  ASSERT_TRUE(recorded.Find(testing::ModelPath("llama")));
  ScoreOptions options{.context = 64, .chunks = 4, .device = kVulkan};
  const auto whole = Score(*model->source, nullptr, {recorded.tokens()}, options, {});
  SMELT_ASSERT_OK(whole);
  for (const uint64_t memory : {4'000'000, 2'000'000, 1'500'000}) {
    options.device.device_memory = memory;
    const auto score = Score(*model->source, nullptr, {recorded.tokens()}, options, {});
    SMELT_ASSERT_OK(score);
    EXPECT_EQ(score->mean_nll, whole->mean_nll) << memory;
  }
}

TEST(VulkanDevices, AStackOfExpertsMayBeLargerThanTheDevicesMemory) {
  SMELT_REQUIRE_VULKAN();
  const RandomModel m = MakeRandomModel("experts_shared");
  ScoreOptions options{.context = 16, .chunks = 1, .device = kVulkan};
  const std::vector<int32_t> ids = RandomIds(7, 40, m.spec.vocabulary);
  const auto whole = Score(m.specified(), nullptr, {ids}, options, {});
  SMELT_ASSERT_OK(whole);
  options.device.device_memory = 150'000;
  const auto score = Score(m.specified(), nullptr, {ids}, options, {});
  SMELT_ASSERT_OK(score);
  EXPECT_EQ(score->mean_nll, whole->mean_nll);
}

TEST(VulkanDevices, ADeviceWithoutRoomIsASentence) {
  SMELT_REQUIRE_VULKAN();
  const RandomModel m = MakeRandomModel("gqa");
  const auto score =
      Score(m.specified(), nullptr, {RandomIds(7, 140, m.spec.vocabulary)},
            {.context = 64, .device = {.device = "vulkan", .device_memory = 65536}}, {});
  EXPECT_EQ(CodeOf(score.status()), ErrorCode::kOutOfMemory) << score.status();
}

double Largest(std::span<const float> values) {
  double largest = 0;
  for (const float v : values) largest = std::max(largest, std::abs(static_cast<double>(v)));
  return largest;
}

/// The greatest difference as a share of the greatest value.
double RelativeDifference(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return HUGE_VAL;
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    worst = std::max(worst, std::isnan(d) ? HUGE_VAL : d);
  }
  return worst / Largest(b);
}

constexpr uint32_t kRows = 70, kColumns = 256;

/// The product of a matrix with so many tokens, in the first features of each.
std::vector<float> Product(Backend& backend, const testing::MemoryModel& model, TensorRef tensor,
                           uint32_t tokens, Precision precision) {
  constexpr Slot kProduct = kInputs + 1;
  Graph graph;
  graph.slots = {{kColumns, 0}, {0, 0}, {kRows, 0}};
  graph.scratch_features = kRows;
  auto weight = backend.LoadWeight(model, tensor, WeightUse::kStream);
  SMELT_EXPECT_OK(weight);
  MatMulOp product{.in = kStream, .out = kProduct};
  product.matrix = {
      .weight = *std::move(weight), .rows = kRows, .columns = kColumns, .tensor = tensor};
  graph.ops.push_back(std::move(product));
  graph.ops.push_back(CopyOp{
      .in = kProduct, .out = kStream, .in_stride = kRows, .out_stride = kColumns, .count = kRows});
  const auto program = backend.Compile(std::move(graph), precision);
  SMELT_EXPECT_OK(program);
  const Sequence sequence{.tokens = tokens};
  const auto batch = backend.NewBatch({&sequence, 1}, tokens);
  SMELT_EXPECT_OK(batch);
  const auto x = backend.NewBuffer(**batch, kColumns);
  SMELT_EXPECT_OK(x);
  std::mt19937 random(tokens);
  std::normal_distribution<float> normal;
  std::vector<float> values(tokens * kColumns), rows;
  for (float& v : values) v = normal(random);
  SMELT_EXPECT_OK(backend.Write(**batch, 0, values, **x));
  const auto state = backend.NewState(1);
  SMELT_EXPECT_OK(backend.Run(**program, **batch, *state, **x));
  SMELT_EXPECT_OK(backend.Read(**batch, 0, **x, values));
  for (uint32_t t = 0; t < tokens; ++t)
    rows.insert(rows.end(), &values[t * kColumns], &values[t * kColumns] + kRows);
  return rows;
}

// Of one input, of some and of many, whose workgroups are not full.
TEST(VulkanRounded, ProductsAreTheProcessorsOfRoundedInputs) {
  SMELT_REQUIRE_VULKAN();
  const auto device = OpenBackend(kVulkan);
  SMELT_ASSERT_OK(device);
  const std::unique_ptr<Backend> processor = NewCpuBackend();
  testing::MemoryModel model(5);
  for (const TensorType type : DecodeTypes()) {
    if (FindCodec(type)->unpack_group() == 0 || !CanEncode(type)) continue;
    const TensorRef tensor = model.Add({kColumns, kRows}, 0.1, 0, type);
    for (const uint32_t tokens : {1, 3, 35}) {
      if (tokens == 3 && type != TensorType::kQ4_K) continue;
      SCOPED_TRACE(Cat(Info(type).name, ", ", tokens));
      const auto rounded = Product(**device, model, tensor, tokens, Precision::kQ8);
      const auto expected = Product(*processor, model, tensor, tokens, Precision::kQ8);
      const auto exact = Product(*processor, model, tensor, tokens, Precision::kF32);
      EXPECT_LT(RelativeDifference(rounded, expected), 1e-5);
      EXPECT_GT(RelativeDifference(rounded, exact), 1e-4) << "nothing was rounded";
      EXPECT_EQ(Product(**device, model, tensor, tokens, Precision::kQ8), rounded);
    }
  }
}

TEST(VulkanRounded, AnInputThatIsNoNumberMakesNoNumbers) {
  SMELT_REQUIRE_VULKAN();
  const RandomModel m = MakeRandomModel("gqa", TensorType::kQ8_0);
  const std::vector<int32_t> ids = RandomIds(2, 3, m.spec.vocabulary);
  m.source->Set(m.spec.embedding, static_cast<size_t>(ids[2]) * m.spec.width, INFINITY);
  auto session = Session::Create(m.specified(), Precision::kQ8, kVulkan);
  SMELT_ASSERT_OK(session);
  std::vector<float> logits;
  SMELT_ASSERT_OK((*session)->Feed(ids, logits));
  EXPECT_TRUE(std::ranges::all_of(logits, [](float v) { return std::isnan(v); }));
}

// A prompt, tokens alone and a few at once: parts of one dispatch, gates, chosen experts.
TEST(VulkanRounded, ModelsGiveTheProcessorsLogits) {
  SMELT_REQUIRE_VULKAN();
  for (const char* name :
       {"gqa", "biases", "experts_shared", "experts_clamped", "latent_attention", "mamba2"}) {
    SCOPED_TRACE(name);
    const RandomModel m = MakeRandomModel(name, TensorType::kQ8_0);
    const std::vector<int32_t> ids = RandomIds(2, 24, m.spec.vocabulary);
    const auto here = Session::Create(m.specified(), Precision::kQ8, {});
    const auto there = Session::Create(m.specified(), Precision::kQ8, kVulkan);
    const auto exact = Session::Create(m.specified(), Precision::kF32, {});
    SMELT_ASSERT_OK(here);
    SMELT_ASSERT_OK(there);
    SMELT_ASSERT_OK(exact);
    std::vector<float> expected, logits, unrounded;
    for (size_t at = 0, count = 19; at < ids.size(); at += count, count = at < 22 ? 1 : 2) {
      const auto some = std::span(ids).subspan(at, count);
      SMELT_ASSERT_OK((*here)->Feed(some, expected));
      SMELT_ASSERT_OK((*there)->Feed(some, logits));
      SMELT_ASSERT_OK((*exact)->Feed(some, unrounded));
      EXPECT_LT(RelativeDifference(logits, expected), 2e-3) << at;
    }
    EXPECT_GT(RelativeDifference(logits, unrounded), 1e-4) << "nothing was rounded";
  }
}

TEST(VulkanRounded, LossesAreTheProcessors) {
  SMELT_REQUIRE_VULKAN();
  const RandomModel m = MakeRandomModel("gqa", TensorType::kQ8_0);
  const SpecifiedModel reference = m.specified();
  const std::vector<int32_t> ids = RandomIds(7, 2 * 48, m.spec.vocabulary);
  ScoreOptions options{.context = 48, .precision = Precision::kQ8};
  const auto expected = Score(m.specified(), &reference, {ids}, options, {});
  options.device = kVulkan;
  const auto score = Score(m.specified(), &reference, {ids}, options, {});
  options.precision = Precision::kF32;
  const auto exact = Score(m.specified(), &reference, {ids}, options, {});
  SMELT_ASSERT_OK(expected);
  SMELT_ASSERT_OK(score);
  SMELT_ASSERT_OK(exact);
  EXPECT_NEAR(score->mean_nll, expected->mean_nll, 2e-4);
  EXPECT_NE(score->mean_nll, exact->mean_nll);
  EXPECT_EQ(score->reference->kl_max, 0);
}

#ifdef SMELT_HAS_VULKAN

/// One tensor of some rows, as its blocks are.
class OneTensor : public ModelSource {
 public:
  OneTensor(TensorType type, std::vector<std::byte> blocks, uint64_t rows, uint64_t columns)
      : blocks_(std::move(blocks)) {
    TensorInfo info;
    info.name = "blocks";
    info.shape.ne = {columns, rows, 1, 1};
    info.shape.dims = 2;
    info.type = type;
    tensors_.push_back(info);
  }
  const Metadata& metadata() const override { return metadata_; }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  const std::string& name() const override { return tensors_[0].name; }
  std::string identity() const override { return name(); }
  absl::Status ReadRows(size_t, uint64_t, uint64_t, float*) const override {
    return Error(ErrorCode::kUnsupported, "rows are mapped");
  }
  absl::Status ReadRawRows(size_t, uint64_t, uint64_t, std::byte*) const override {
    return Error(ErrorCode::kUnsupported, "rows are mapped");
  }
  absl::StatusOr<MappedRows> MapRows(size_t) const override {
    MappedRows rows;
    rows.base = blocks_.data();
    rows.stride = *RowBytes(tensors_[0].type, tensors_[0].shape.columns());
    return rows;
  }

 private:
  const std::vector<std::byte> blocks_;
  Metadata metadata_;
  std::vector<TensorInfo> tensors_;
};

TEST(VulkanFormats, DecodeBitForBit) {
  SMELT_REQUIRE_VULKAN();
  const auto physical = vulkan::FindPhysicalDevices();
  SMELT_ASSERT_OK(physical);
  const auto device = vulkan::Device::Open(physical->front(), 0);
  SMELT_ASSERT_OK(device);
  vulkan::Kernels kernels(**device);
  SMELT_ASSERT_OK(kernels.Open());
  for (const TensorType type : DecodeTypes()) {
    const std::vector<float> expected = DecodeValues(type);
    // As rows of one block, whose bytes need not be aligned.
    const uint64_t columns = Info(type).quantized ? Info(type).block_elements : 36;
    const uint64_t rows = expected.size() / columns;
    const OneTensor source(type, DecodeBlocks(type), rows, columns);
    const auto weight = vulkan::DeviceWeight::Load(source, 0, WeightUse::kStream);
    SMELT_ASSERT_OK(weight);
    const auto to = (*device)->Allocate(rows * columns * sizeof(float));
    SMELT_ASSERT_OK(to);
    SMELT_ASSERT_OK(kernels.Decode(*weight, to->address()));
    std::vector<float> values(rows * columns);
    SMELT_ASSERT_OK((*device)->Read(*to, 0, std::as_writable_bytes(std::span(values))));
    size_t different = 0, first = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      if (std::memcmp(&values[i], &expected[i], sizeof(float)) == 0) continue;
      if (std::isnan(values[i]) && std::isnan(expected[i])) continue;
      if (different++ == 0) first = i;
    }
    EXPECT_EQ(different, 0u) << Info(type).name << ", value " << first << ": " << values[first]
                             << " for " << expected[first];
  }
}

/// Vulkan's functions, of which the one that is called `fail_at`th (from 1 on) fails.
struct Faults {
  static inline uint64_t calls = 0, fail_at = 0;
  static inline VkResult error = VK_SUCCESS;
};
template <auto& kFunction, typename Pointer>
struct Injected;
template <auto& kFunction, typename... Args>
struct Injected<kFunction, VkResult(VKAPI_PTR*)(Args...)> {
  static inline VkResult(VKAPI_PTR* real)(Args...) = nullptr;
  static VkResult VKAPI_PTR Call(Args... args) {
    return ++Faults::calls == Faults::fail_at ? Faults::error : real(args...);
  }
};
template <auto& kFunction>
void Inject() {
  using Fake = Injected<kFunction, std::remove_reference_t<decltype(kFunction)>>;
  if (kFunction == Fake::Call) return;
  Fake::real = kFunction;
  kFunction = Fake::Call;
}

TEST(VulkanFaults, EveryCallThatFailsIsASentence) {
  SMELT_REQUIRE_VULKAN();
  Inject<vkCreateDevice>();
  Inject<vkCreateCommandPool>();
  Inject<vkAllocateCommandBuffers>();
  Inject<vkCreateFence>();
  Inject<vkCreatePipelineLayout>();
  Inject<vkCreatePipelineCache>();
  Inject<vkCreateBuffer>();
  Inject<vkAllocateMemory>();
  Inject<vkBindBufferMemory>();
  Inject<vkMapMemory>();
  Inject<vkCreateShaderModule>();
  Inject<vkCreateComputePipelines>();
  Inject<vkBeginCommandBuffer>();
  Inject<vkEndCommandBuffer>();
  Inject<vkQueueSubmit>();
  Inject<vkWaitForFences>();
  Inject<vkResetFences>();
  const RandomModel m = MakeRandomModel("gqa");
  const std::vector<int32_t> ids = RandomIds(7, 40, m.spec.vocabulary);
  const ScoreOptions options{.context = 16, .chunks = 1, .device = kVulkan};
  const auto run = [&](uint64_t fail_at, VkResult error) {
    Faults::calls = 0;
    Faults::fail_at = fail_at;
    Faults::error = error;
    absl::StatusOr<ScoreResult> score = Score(m.specified(), nullptr, {ids}, options, {});
    Faults::fail_at = 0;
    return score;
  };
  const auto whole = run(0, VK_SUCCESS);
  SMELT_ASSERT_OK(whole);
  const uint64_t calls = Faults::calls;
  EXPECT_GT(calls, 20u);
  for (uint64_t call = 1; call <= calls; ++call) {
    const bool memory = call % 2 == 0;
    const auto score = run(call, memory ? VK_ERROR_OUT_OF_DEVICE_MEMORY : VK_ERROR_DEVICE_LOST);
    // A block that could not be had may be had in a smaller size.
    if (score.ok()) {
      EXPECT_EQ(score->mean_nll, whole->mean_nll) << call;
      continue;
    }
    EXPECT_EQ(CodeOf(score.status()), memory ? ErrorCode::kOutOfMemory : ErrorCode::kIo)
        << call << ": " << score.status();
  }
  SMELT_EXPECT_OK(run(0, VK_SUCCESS));
}

/// The functions of Vulkan that a test replaced are as they were when it goes; so is what is known
/// of the devices.
template <auto& kFunction>
class Replaced {
 public:
  explicit Replaced(std::remove_reference_t<decltype(kFunction)> with) : before_(kFunction) {
    real = kFunction;
    kFunction = with;
    DeviceTrials::Forget();
  }
  ~Replaced() {
    kFunction = before_;
    DeviceTrials::Forget();
  }
  static inline std::remove_reference_t<decltype(kFunction)> real = nullptr;

 private:
  const std::remove_reference_t<decltype(kFunction)> before_;
};

/// Lets a free choice take software devices, as if they were cards.
class SoftwareCounts {
 public:
  SoftwareCounts() { DeviceTrials::software = true; }
  ~SoftwareCounts() { DeviceTrials::software = false; }
};

/// What a free choice is, and the notes that come with it.
struct FreeChoice {
  std::string device;
  std::vector<std::string> notes;
};
FreeChoice ChooseFreely(Precision precision = Precision::kF32) {
  FreeChoice choice;
  Observer observer;
  observer.note = [&](NoteKind, const std::string& note) { choice.notes.push_back(note); };
  const auto chosen = ChooseDevice(AnyDevice(), precision, observer);
  SMELT_EXPECT_OK(chosen);
  if (chosen.ok()) choice.device = chosen->device;
  return choice;
}

TEST(VulkanChoice, ADeviceThatPassesItsCheckIsTakenAndSoftwareIsNot) {
  SMELT_REQUIRE_VULKAN();
  const DeviceList list = ListDevices();
  const auto card = std::ranges::find_if(
      list.devices, [](const DeviceInfo& d) { return d.id != "cpu" && !d.software; });
  if (card == list.devices.end()) {
    const FreeChoice choice = ChooseFreely();
    EXPECT_EQ(choice.device, "cpu");
    EXPECT_THAT(choice.notes, ::testing::IsEmpty());
  }
  const SoftwareCounts counts;
  const FreeChoice choice = ChooseFreely();
  EXPECT_EQ(choice.device, "vulkan:0");
  EXPECT_THAT(choice.notes, ::testing::IsEmpty());
  EXPECT_FALSE(list.devices[1].checked);
  const DeviceInfo checked = ListDevices(true).devices[1];
  EXPECT_TRUE(checked.checked);
  EXPECT_EQ(checked.problem, "");
}

/// A device with a flaw is passed over with one note, refused where it was named, and used where
/// the check is not wanted.
void ExpectPassedOver(const std::string& reason) {
  const SoftwareCounts counts;
  const FreeChoice choice = ChooseFreely();
  EXPECT_EQ(choice.device, "cpu");
  ASSERT_THAT(choice.notes, ::testing::SizeIs(1));
  EXPECT_THAT(choice.notes[0],
              ::testing::AllOf(::testing::StartsWith("vulkan:0 ("), ::testing::HasSubstr(reason),
                               ::testing::HasSubstr("--device vulkan:0 --no-device-check")));
  const auto named = ChooseDevice({.device = "vulkan:0"});
  EXPECT_FALSE(named.ok());
  EXPECT_THAT(std::string(named.status().message()),
              ::testing::AllOf(::testing::HasSubstr(reason), ::testing::HasSubstr("--device cpu"),
                               ::testing::HasSubstr("--no-device-check")));
  const auto forced = ChooseDevice({.device = "vulkan:0", .check = false});
  SMELT_ASSERT_OK(forced);
  EXPECT_EQ(forced->device, "vulkan:0");
  const DeviceInfo listed = ListDevices(true).devices[1];
  EXPECT_TRUE(listed.checked);
  EXPECT_THAT(listed.problem, ::testing::HasSubstr(reason));
}

TEST(VulkanChoice, ADeviceThatComputesSomethingElseIsPassedOver) {
  SMELT_REQUIRE_VULKAN();
  using Dispatches = Replaced<vkCmdDispatch>;
  // The last workgroup of each dispatch is lost.
  const Dispatches replaced([](VkCommandBuffer commands, uint32_t x, uint32_t y, uint32_t z) {
    if (x > 1) --x;
    Dispatches::real(commands, x, y, z);
  });
  ExpectPassedOver("its results are not the processor's");
}

TEST(VulkanChoice, ADeviceThatFailsIsPassedOver) {
  SMELT_REQUIRE_VULKAN();
  {
    const Replaced<vkCreateDevice> replaced(
        [](VkPhysicalDevice, const VkDeviceCreateInfo*, const VkAllocationCallbacks*, VkDevice*) {
          return VK_ERROR_INITIALIZATION_FAILED;
        });
    ExpectPassedOver("vkCreateDevice");
  }
  const Replaced<vkQueueSubmit> replaced(
      [](VkQueue, uint32_t, const VkSubmitInfo*, VkFence) { return VK_ERROR_DEVICE_LOST; });
  ExpectPassedOver("was lost");
}

TEST(VulkanChoice, ADeviceThatDoesNotComeBackIsPassedOver) {
  SMELT_REQUIRE_VULKAN();
  static uint64_t waited;
  using Waits = Replaced<vkWaitForFences>;
  const Waits replaced([](VkDevice device, uint32_t count, const VkFence* fences, VkBool32 all,
                          uint64_t nanoseconds) {
    waited = nanoseconds;
    const VkResult done = Waits::real(device, count, fences, all, UINT64_MAX);
    return done == VK_SUCCESS ? VK_TIMEOUT : done;
  });
  ExpectPassedOver("seconds");
  const auto physical = vulkan::FindPhysicalDevices();
  SMELT_ASSERT_OK(physical);
  const auto device = vulkan::Device::Open(physical->front(), 0, 7);
  SMELT_ASSERT_OK(device);
  const auto memory = (*device)->Allocate(4);
  SMELT_ASSERT_OK(memory);
  SMELT_ASSERT_OK((*device)->Clear(*memory));
  EXPECT_EQ(CodeOf((*device)->Wait()), ErrorCode::kIo);
  EXPECT_EQ(waited, 7'000'000'000u);
}

TEST(VulkanChoice, ADeviceThatLacksSomethingIsPassedOver) {
  SMELT_REQUIRE_VULKAN();
  using Features = Replaced<vkGetPhysicalDeviceFeatures2>;
  const Features replaced([](VkPhysicalDevice device, VkPhysicalDeviceFeatures2* features) {
    Features::real(device, features);
    static_cast<VkPhysicalDeviceVulkan12Features*>(features->pNext)->bufferDeviceAddress = VK_FALSE;
  });
  const SoftwareCounts counts;
  const FreeChoice choice = ChooseFreely();
  EXPECT_EQ(choice.device, "cpu");
  EXPECT_THAT(choice.notes, ::testing::ElementsAre(::testing::AllOf(
                                ::testing::HasSubstr("lacks buffer device addresses"),
                                ::testing::Not(::testing::HasSubstr("--no-device-check")))));
  EXPECT_EQ(CodeOf(ChooseDevice(kVulkan).status()), ErrorCode::kUnsupported);
}

TEST(VulkanChoice, ADeviceWithoutIntegerProductsIsNotTakenForRoundedActivations) {
  SMELT_REQUIRE_VULKAN();
  using Features = Replaced<vkGetPhysicalDeviceFeatures2>;
  const Features replaced([](VkPhysicalDevice device, VkPhysicalDeviceFeatures2* features) {
    Features::real(device, features);
    for (auto* next = static_cast<VkBaseOutStructure*>(features->pNext); next != nullptr;
         next = next->pNext) {
      if (next->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES) {
        reinterpret_cast<VkPhysicalDeviceShaderIntegerDotProductFeatures*>(next)
            ->shaderIntegerDotProduct = VK_FALSE;
      }
    }
  });
  const SoftwareCounts counts;
  EXPECT_EQ(ChooseFreely().device, "vulkan:0");
  const FreeChoice choice = ChooseFreely(Precision::kQ8);
  EXPECT_EQ(choice.device, "cpu");
  EXPECT_THAT(choice.notes,
              ::testing::ElementsAre(::testing::HasSubstr("lacks integer dot products")));
  EXPECT_EQ(CodeOf(ChooseDevice(kVulkan, Precision::kQ8).status()), ErrorCode::kUnsupported);
  const RandomModel m = MakeRandomModel("gqa");
  EXPECT_EQ(CodeOf(Session::Create(m.specified(), Precision::kQ8, kVulkan).status()),
            ErrorCode::kUnsupported);
}

TEST(VulkanChoice, ACheckThatIsInterruptedDecidesNothing) {
  SMELT_REQUIRE_VULKAN();
  DeviceTrials::Forget();
  {
    Observer observer;
    observer.cancelled = [] { return true; };
    const JobScope job(observer);
    EXPECT_EQ(CodeOf(ChooseDevice(kVulkan).status()), ErrorCode::kCancelled);
  }
  SMELT_EXPECT_OK(ChooseDevice(kVulkan));
}

TEST(VulkanChoice, WhatOthersHaveOfTheMemoryIsNotTaken) {
  SMELT_REQUIRE_VULKAN();
  using Extensions = Replaced<vkEnumerateDeviceExtensionProperties>;
  using Memories = Replaced<vkGetPhysicalDeviceMemoryProperties2>;
  const Extensions extensions(
      [](VkPhysicalDevice, const char*, uint32_t* count, VkExtensionProperties* properties) {
        *count = 1;
        if (properties != nullptr)
          std::strcpy(properties->extensionName, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
        return VK_SUCCESS;
      });
  const Memories memories([](VkPhysicalDevice device, VkPhysicalDeviceMemoryProperties2* memory) {
    auto* budget = static_cast<VkPhysicalDeviceMemoryBudgetPropertiesEXT*>(memory->pNext);
    memory->pNext = nullptr;
    Memories::real(device, memory);
    for (VkDeviceSize& bytes : budget->heapBudget) bytes = 300'000'000;
    for (VkDeviceSize& bytes : budget->heapUsage) bytes = 100'000'000;
  });
  const auto physical = vulkan::FindPhysicalDevices();
  SMELT_ASSERT_OK(physical);
  EXPECT_EQ(physical->front().available, 200'000'000u);
  const auto device = vulkan::Device::Open(physical->front(), 0);
  SMELT_ASSERT_OK(device);
  EXPECT_EQ((*device)->arena().limit(), 200'000'000u);
}

#endif

class VulkanGolden : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    SMELT_REQUIRE_VULKAN();
    const std::string folder = testing::ModelPath(GetParam());
    if (folder.empty()) SMELT_REQUIRE_SHARED();
    OpenOptions options;
    options.vocabulary = false;
    auto opened = OpenModel(folder, options);
    SMELT_ASSERT_OK(opened);
    source_ = std::move(opened->source);
    recorded_.set_device(kVulkan);
    ASSERT_TRUE(recorded_.Find(folder));
  }

  std::unique_ptr<ModelSource> source_;
  testing::GoldenModel recorded_;
};

TEST_P(VulkanGolden, Logits) { recorded_.ExpectLogits(*source_); }

class VulkanGreedy : public VulkanGolden {};
TEST_P(VulkanGreedy, Continuation) { recorded_.ExpectGreedyTexts(*source_); }

class VulkanPerplexity : public VulkanGolden {};
TEST_P(VulkanPerplexity, TwoChunksEqualTheProcessors) {
  ScoreOptions options{.context = 256, .chunks = 2};
  const auto expected = Score(*source_, nullptr, {recorded_.tokens()}, options, {});
  options.device = kVulkan;
  const auto score = Score(*source_, nullptr, {recorded_.tokens()}, options, {});
  SMELT_ASSERT_OK(expected);
  SMELT_ASSERT_OK(score);
  EXPECT_NEAR(score->perplexity, expected->perplexity, 5e-4 * expected->perplexity);
}

INSTANTIATE_TEST_SUITE_P(Attention, VulkanGolden, ::testing::ValuesIn(testing::kAttentionModels),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(Of2026, VulkanGolden, ::testing::ValuesIn(testing::kModelsOf2026),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(Hybrid, VulkanGolden, ::testing::ValuesIn(testing::kHybridModels),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(StateSpace, VulkanGolden, ::testing::ValuesIn(testing::kStateSpaceModels),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(Quantized, VulkanGolden, ::testing::ValuesIn(testing::kQuantizedModels),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(Recorded, VulkanGolden, ::testing::ValuesIn(testing::kRecordedModels),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(Families, VulkanGreedy,
                         ::testing::Values("llama", "qwen2moe", "gemma2", "phi3", "gptneox",
                                           "mamba", "mamba2", "jamba", "internlm2", "mistral4",
                                           "qwen3_5"),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(Families, VulkanPerplexity,
                         ::testing::Values("llama", "qwen2moe", "gemma2", "mamba2"),
                         testing::TestName);

}  // namespace
}  // namespace smelt
