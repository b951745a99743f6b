// Layers on a device against the plain forward pass.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "infer/score.h"
#include "infer/session.h"
#include "lib/base/cat.h"
#include "lib/model/open.h"
#include "tests/infer/random_models.h"
#include "tests/infer/vulkan/vulkan_testing.h"
#include "tests/model/expected_gguf.h"
#include "tests/model/fixture_models.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::Difference;
using testing::kVulkan;
using testing::Logits;
using testing::MakeRandomModel;
using testing::RandomIds;
using testing::RandomModel;

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

// What f16 does not hold is told, by the processor and by a device, and changes nothing.
TEST(VulkanCache, AValueBeyondF16IsASentence) {
  SMELT_REQUIRE_VULKAN();
  const std::vector<int32_t> ids = {5, 3, 8};
  for (const bool keys : {true, false}) {
    const RandomModel m = MakeRandomModel("biases");
    const Attention& attention = std::get<Attention>(m.spec.layers[0].mixer);
    m.source->Set(keys ? attention.k.bias : attention.v.bias, 3, -7e4f);
    for (const char* name : {"cpu", "vulkan"}) {
      DeviceOptions device{.device = name};
      std::vector<float> logits;
      const auto whole = Session::Create(m.specified(), Precision::kF32, device);
      SMELT_ASSERT_OK(whole);
      SMELT_EXPECT_OK((*whole)->Feed(ids, logits));
      device.cache_type = "f16";
      const auto session = Session::Create(m.specified(), Precision::kF32, device);
      SMELT_ASSERT_OK(session);
      for (int turn = 0; turn < 2; ++turn) {
        const absl::Status told = (*session)->Feed(ids, logits);
        EXPECT_EQ(CodeOf(told), ErrorCode::kUnsupported);
        EXPECT_THAT(std::string(told.message()), ::testing::HasSubstr("more than f16 holds"))
            << name << ", " << keys;
        SMELT_EXPECT_OK((*session)->CheckWhole());
      }
      const auto score = Score(m.specified(), nullptr, {RandomIds(1, 20, m.spec.vocabulary)},
                               {.context = 16, .device = device}, {});
      EXPECT_EQ(CodeOf(score.status()), ErrorCode::kUnsupported) << name;
    }
  }
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
  const auto model = testing::OpenLlama();
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

TEST(VulkanLayers, ACacheInF16LeavesRoomForMore) {
  SMELT_REQUIRE_VULKAN();
  const auto model = testing::OpenLlama();
  SMELT_ASSERT_OK(model);
  const auto layers = [&](uint64_t memory, const char* cache) {
    const auto session =
        Session::Create(*model->source, Precision::kF32,
                        {.device = "vulkan", .device_memory = memory, .cache_type = cache});
    SMELT_EXPECT_OK(session);
    return session.ok() ? (*session)->device_layers().value() : 0;
  };
  uint64_t more = 0;
  for (uint64_t memory = 1'000'000; memory <= 3'500'000; memory += 500'000) {
    const uint64_t whole = layers(memory, "f32"), halves = layers(memory, "f16");
    EXPECT_GE(halves, whole) << memory;
    more += halves - whole;
  }
  EXPECT_GT(more, 0u);
}

}  // namespace
}  // namespace smelt
