#include "smelt/inspect.h"

#include <gmock/gmock.h>

#include <map>
#include <string>

#include "formats/gguf.h"
#include "formats/safetensors_writer.h"
#include "lib/base/status.h"
#include "smelt/import.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TempDir;
using testing::TestdataPath;

const InspectResult::Key* FindKey(const InspectResult& result, std::string_view key) {
  for (const InspectResult::Key& entry : result.metadata) {
    if (entry.key == key) return &entry;
  }
  return nullptr;
}

TEST(Inspect, Gguf) {
  const TempDir dir;
  Metadata metadata;
  metadata.Set("a", 0.1f);
  metadata.Set("b", std::vector<int32_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  metadata.Set("c", "x\"y");
  metadata.Set("d", std::numeric_limits<double>::quiet_NaN());
  metadata.Set("e", MetadataValue::BoolArray({1, 0}));
  const std::vector<GgufTensorSpec> specs = {{"w", {256, 2, 1, 1}, 2, TensorType::kQ4_K},
                                             {"v", {3, 1, 1, 1}, 1, TensorType::kF32}};
  const auto layout = SerializeGgufHeader(metadata, specs);
  SMELT_ASSERT_OK(layout);
  std::string content(reinterpret_cast<const char*>(layout->header.data()), layout->header.size());
  content.resize(layout->file_size);
  testing::WriteFile(dir / "m.gguf", content);

  const auto got = Inspect({.path = dir / "m.gguf"});
  SMELT_ASSERT_OK(got);
  EXPECT_EQ(got->format, "gguf");
  EXPECT_EQ(FindKey(*got, "a")->json, "0.1");
  EXPECT_EQ(FindKey(*got, "b")->type, "i32[10]");
  EXPECT_EQ(FindKey(*got, "b")->json, "[1,2,3,4,5,6,7,8]");
  EXPECT_EQ(FindKey(*got, "c")->json, "\"x\\\"y\"");
  EXPECT_EQ(FindKey(*got, "d")->json.front(), '"');
  EXPECT_EQ(FindKey(*got, "e")->json, "[true,false]");
  ASSERT_EQ(got->tensors.size(), 2u);
  EXPECT_THAT(got->tensors[0].shape, ElementsAre(256, 2));
  EXPECT_EQ(got->tensors[0].bytes, 288u);
  ASSERT_EQ(got->totals.size(), 2u);
  EXPECT_EQ(got->totals[0].type, "Q4_K");  // the biggest first
  EXPECT_EQ(got->parameters, 515u);
  EXPECT_EQ(got->bytes, 300u);
  EXPECT_DOUBLE_EQ(got->bits_per_weight, 8.0 * 300 / 515);
}

TEST(Inspect, SafetensorsFileAndFolder) {
  const auto file = Inspect({.path = TestdataPath("bad/base/weights/model.safetensors")});
  SMELT_ASSERT_OK(file);
  EXPECT_EQ(file->format, "safetensors");
  EXPECT_EQ(file->totals.size(), 1u);
  EXPECT_EQ(file->totals[0].type, "BF16");
  EXPECT_DOUBLE_EQ(file->bits_per_weight, 16);
  const auto folder = Inspect({.path = TestdataPath("bad/base/weights")});
  SMELT_ASSERT_OK(folder);
  EXPECT_EQ(folder->tensors.size(), file->tensors.size());
}

TEST(Inspect, TorchArchive) {
  const auto zip = Inspect({.path = TestdataPath("bad/pt/pt-valid/pytorch_model.bin")});
  SMELT_ASSERT_OK(zip);
  EXPECT_EQ(zip->format, "pytorch");
  const auto same = Inspect({.path = TestdataPath("bad/base/weights")});
  SMELT_ASSERT_OK(same);
  EXPECT_EQ(zip->tensors.size(), same->tensors.size());
  EXPECT_EQ(zip->parameters, same->parameters);
}

TEST(Inspect, StoragesOfATorchArchive) {
  for (const std::string form : {"", ".legacy"}) {
    const auto got = Inspect({.path = TestdataPath("torch/torch-2.6.0/shared" + form + ".pt")});
    SMELT_ASSERT_OK(got);
    ASSERT_EQ(got->tensors.size(), 7u);
    EXPECT_TRUE(got->refused.empty());
    ASSERT_EQ(got->storages.size(), 2u);  // tied weights, and one flat buffer
    EXPECT_EQ(got->storages[0].tensors, 3u);
    EXPECT_EQ(got->storages[0].bytes, 80u);
    EXPECT_EQ(got->storages[1].tensors, 4u);
    EXPECT_EQ(got->storages[1].bytes, 400u);
    const InspectStorage &tied = got->storages[0], &flat = got->storages[1];
    EXPECT_TRUE(!form.empty() || tied.name == "shared/data/0") << tied.name;
    const std::map<std::string, InspectTensor> expected = {
        {"embed.weight", {.storage = tied.name}},
        {"head.weight", {.storage = tied.name}},
        {"head_t.weight", {.storage = tied.name, .strides = {1, 4}}},
        {"q", {.storage = flat.name}},
        {"k", {.storage = flat.name, .offset = 4 * 36}},
        {"v", {.storage = flat.name, .offset = 4 * 64}},
        {"all", {.storage = flat.name}},
    };
    for (const InspectTensor& tensor : got->tensors) {
      const InspectTensor& place = expected.at(tensor.name);
      EXPECT_EQ(tensor.storage, place.storage) << tensor.name;
      EXPECT_EQ(tensor.offset, place.offset) << tensor.name;
      EXPECT_EQ(tensor.strides, place.strides) << tensor.name;
    }
  }
}

/// What is shown of a refused file, and that it is refused all the same.
InspectResult Refused(const std::string& path, const std::string& mentions) {
  InspectResult shown;
  InspectOptions options{.path = path};
  options.on_refused = [&](const InspectResult& result) { shown = result; };
  const auto got = Inspect(options);
  EXPECT_THAT(std::string(got.status().message()), HasSubstr(mentions));
  return shown;
}

TEST(Inspect, WhatARefusedTorchArchiveWanted) {
  const InspectResult evil =
      Refused(TestdataPath("bad/pt/pt-os-system/pytorch_model.bin"), "refuses os.system");
  ASSERT_EQ(evil.refused.size(), 1u);
  EXPECT_EQ(evil.refused[0].name, "os.system");
  EXPECT_EQ(evil.refused[0].operation, "GLOBAL");
  const std::string sentence = "pickle byte " + std::to_string(evil.refused[0].offset) + " ";
  Refused(TestdataPath("bad/pt/pt-os-system/pytorch_model.bin"), sentence);
  for (const std::string form : {"", ".legacy"}) {
    // The weights beside the refused object are plain data.
    const InspectResult training =
        Refused(TestdataPath("torch/torch-2.6.0/namespace" + form + ".pt"), "argparse.Namespace");
    ASSERT_EQ(training.tensors.size(), 1u);
    EXPECT_EQ(training.tensors[0].name, "w");
    ASSERT_EQ(training.refused.size(), 1u);
    EXPECT_EQ(training.refused[0].name, "argparse.Namespace");
    EXPECT_EQ(Refused(TestdataPath("torch/torch-2.6.0/whole_module" + form + ".pt"), "Linear")
                  .refused[0]
                  .name,
              "torch.nn.modules.linear.Linear");
  }
}

TEST(Inspect, NameOfAStore) {
  const TempDir dir;
  SMELT_ASSERT_OK(Import(
      {.source = TestdataPath("ollama/gguf/tiny-q8_0.gguf"), .name = "tiny", .store = dir.path()}));
  setenv("OLLAMA_MODELS", dir.path().c_str(), 1);
  const auto got = Inspect({.path = "tiny"});
  unsetenv("OLLAMA_MODELS");
  SMELT_ASSERT_OK(got);
  EXPECT_EQ(got->path, "tiny");
  EXPECT_EQ(got->format, "gguf");
  EXPECT_EQ(got->parameters, 18528u);
}

TEST(Inspect, NeitherPathNorName) {
  const auto got = Inspect({.path = "no/such/thing"});
  EXPECT_EQ(CodeOf(got.status()), ErrorCode::kNotFound);
  EXPECT_THAT(std::string(got.status().message()), HasSubstr("no/such/thing"));
}

}  // namespace
}  // namespace smelt
