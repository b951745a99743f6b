// Checkpoints that real PyTorch versions wrote, and built ones of every layout, dtype and place.
#include "formats/torch/torch.h"

#include <gmock/gmock.h>

#include <bit>
#include <chrono>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "formats/safetensors.h"
#include "formats/weights_directory.h"
#include "lib/base/cat.h"
#include "lib/base/status.h"
#include "tests/formats/torch/checkpoint_builder.h"
#include "tests/formats/torch/container_values.h"
#include "tests/formats/torch/read_archive.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::Archive;
using testing::Bytes;
using testing::Call;
using testing::Dense;
using testing::Dict;
using ::testing::ElementsAre;
using testing::ExpectSameTensors;
using testing::Global;
using ::testing::HasSubstr;
using testing::Int;
using testing::Ints;
using testing::Legacy;
using testing::Member;
using testing::OrderedDict;
using testing::PickleOf;
using testing::ReadArchive;
using testing::StorageId;
using testing::Str;
using testing::TempDir;
using testing::Tensor;
using testing::TestdataPath;
using testing::Tuple;
using testing::Vector;
using testing::Zip;

Container Safetensors(const std::string& model) {
  return OpenWeights(TestdataPath("models/" + model)).value();
}

TEST(TorchTensors, MetadataThatChangesTheValuesIsRefused) {
  const auto checkpoint = [](const std::string& metadata) {
    return Archive(
        OrderedDict(Cat(Str("w"), Call("torch._utils", "_rebuild_tensor_v2",
                                       Cat(StorageId("FloatStorage", "0", 2), Int(0), Ints({2}),
                                           Ints({1}), "\x89", OrderedDict(""), metadata)))),
        {{"0", Bytes(0, 8)}});
  };
  SMELT_EXPECT_OK(ReadArchive(checkpoint("N")));
  SMELT_EXPECT_OK(ReadArchive(checkpoint(Dict(""))));
  const auto negated = ReadArchive(checkpoint(Dict(Cat(Str("neg"), "\x88"))));
  ASSERT_FALSE(negated.ok());
  EXPECT_THAT(std::string(negated.status().message()), HasSubstr("resolve_neg"));
}

TEST(TorchFixtures, TwoArchivesUnderAnIndex) {
  const auto got = OpenWeights(TestdataPath("models/llama-pt"));
  SMELT_ASSERT_OK(got);
  const Container expected = Safetensors("llama-q-base");
  EXPECT_EQ(got->tensors.size(), expected.tensors.size());
  EXPECT_EQ(got->files.size(), 2u);
  EXPECT_TRUE(got->warnings.empty());
  ExpectSameTensors(*got, expected);
  // Read where they lie: rows of a matrix that is one half of another.
  const RawTensor* up = got->Find("model.layers.0.mlp.up_proj.weight");
  EXPECT_THAT(up->strides, ElementsAre(256, 1));
  EXPECT_EQ(up->storage, got->Find("model.layers.0.mlp.gate_proj.weight")->storage);
}

TEST(TorchFixtures, TrainingCheckpointWithTheWeightsInside) {
  const auto got = OpenTorch(TestdataPath("models/llama-pth/model.pth"));
  SMELT_ASSERT_OK(got);
  const Container expected = Safetensors("llama-q-base");
  EXPECT_EQ(got->tensors.size(), expected.tensors.size());
  ExpectSameTensors(*got, expected);
  ASSERT_EQ(got->notes.size(), 1u);
  EXPECT_THAT(got->notes[0], HasSubstr("left aside: epoch, global_step"));
}

TEST(TorchFixtures, BeforePyTorch16) {
  const auto got = OpenWeights(TestdataPath("models/llama-pt-legacy"));
  SMELT_ASSERT_OK(got);
  ExpectSameTensors(*got, Safetensors("llama-spm"));
  EXPECT_EQ(got->Find("lm_head.weight")->storage, got->Find("model.embed_tokens.weight")->storage);
}

TEST(TorchFixtures, MetasSlices) {
  const std::string directory = TestdataPath("models/llama-meta");
  const auto form = FindWeights(directory);
  SMELT_ASSERT_OK(form);
  EXPECT_EQ(form->kind, WeightsKind::kConsolidatedTorch);
  const auto parts = OpenMetaParts(directory, *form);
  SMELT_ASSERT_OK(parts);
  ASSERT_EQ(parts->size(), 2u);
  EXPECT_THAT((*parts)[1].Find("layers.0.attention.wo.weight")->shape, ElementsAre(128, 64));
  EXPECT_THAT((*parts)[1].Find("layers.0.feed_forward.w1.weight")->shape, ElementsAre(160, 128));
  EXPECT_THAT(OpenWeights(directory, *form).status().message(), HasSubstr("2 slices"));
}

TEST(TorchFixtures, MetaInOnePart) {
  const std::string directory = TestdataPath("models/llama-meta3");
  const auto form = FindWeights(directory);
  SMELT_ASSERT_OK(form);
  const auto got = OpenWeights(directory, *form);
  SMELT_ASSERT_OK(got);
  EXPECT_THAT(got->Find("tok_embeddings.weight")->shape, ElementsAre(600, 64));
}

struct DtypeCase {
  const char* storage;
  RawType type;
};

TEST(Torch, StorageClassesGiveTheirElementTypes) {
  const DtypeCase cases[] = {
      {"DoubleStorage", RawType::kF64},       {"FloatStorage", RawType::kF32},
      {"HalfStorage", RawType::kF16},         {"BFloat16Storage", RawType::kBF16},
      {"LongStorage", RawType::kI64},         {"IntStorage", RawType::kI32},
      {"ShortStorage", RawType::kI16},        {"CharStorage", RawType::kI8},
      {"ByteStorage", RawType::kU8},          {"BoolStorage", RawType::kBool},
      {"ComplexFloatStorage", RawType::kC64},
  };
  for (const DtypeCase& c : cases) {
    const std::string data(3 * BitsOf(c.type) / 8, '\1');
    const std::string value = OrderedDict(Cat(Str("w"), Vector(c.storage, "0", 3)));
    const auto zip = ReadArchive(Archive(value, {{"0", data}}));
    SMELT_ASSERT_OK(zip);
    EXPECT_EQ(zip->tensors[0].dtype, c.type);
    EXPECT_EQ(Dense(zip->tensors[0]), data);
    const auto legacy = ReadArchive(Legacy(value, {{"0", 3, data}}));
    SMELT_ASSERT_OK(legacy);
    EXPECT_EQ(legacy->tensors[0].dtype, c.type);
    EXPECT_EQ(Dense(legacy->tensors[0]), data);
  }
}

TEST(Torch, UntypedStorageWithADtype) {
  const std::string tensor =
      Call("torch._utils", "_rebuild_tensor_v3",
           Cat(StorageId("UntypedStorage", "0", 6), Int(1), Ints({2}), Ints({1}), "\x89",
               Call("collections", "OrderedDict", ""), Global("torch", "uint16")));
  const auto got = ReadArchive(Archive(Dict(Cat(Str("w"), tensor)), {{"0", "abcdef"}}));
  SMELT_ASSERT_OK(got);
  EXPECT_EQ(got->tensors[0].dtype, RawType::kU16);
  EXPECT_EQ(Dense(got->tensors[0]), "cdef");
}

TEST(Torch, ParametersOldTensorsAndTensorsByType) {
  const std::string data = "0123456789abcdef";
  const std::string parameter =
      Call("torch._utils", "_rebuild_parameter",
           Cat(Vector("FloatStorage", "0", 4), "\x88", Call("collections", "OrderedDict", "")));
  const std::string v1 = Call("torch._utils", "_rebuild_tensor",
                              Cat(StorageId("FloatStorage", "0", 4), Int(2), Ints({2}), Ints({1})));
  const std::string by_type = Call(
      "torch._tensor", "_rebuild_from_type_v2",
      Cat(Global("torch._utils", "_rebuild_tensor"), Global("torch.nn.parameter", "Parameter"),
          Tuple(Cat(StorageId("FloatStorage", "0", 4), Int(0), Ints({1}), Ints({1}))), Dict("")));
  const auto got = ReadArchive(
      Archive(Dict(Cat(Str("a"), parameter, Str("b"), v1, Str("c"), by_type)), {{"0", data}}));
  SMELT_ASSERT_OK(got);
  EXPECT_EQ(Dense(*got->Find("a")), data);
  EXPECT_EQ(Dense(*got->Find("b")), data.substr(8));
  EXPECT_EQ(Dense(*got->Find("c")), data.substr(0, 4));
}

TEST(Torch, ViewsStridesScalarsAndEmptyTensors) {
  const std::string data = "ABCDEFGHIJKL";
  const auto got = ReadArchive(
      Archive(Dict(Cat(Str("transposed"), Tensor("CharStorage", "0", 12, 0, {3, 4}, {1, 3}),  //
                       Str("view"), Tensor("CharStorage", "0", 12, 5, {2, 2}, {4, 1}),        //
                       Str("expanded"), Tensor("CharStorage", "0", 12, 3, {2, 3}, {0, 1}),    //
                       Str("scalar"), Tensor("CharStorage", "0", 12, 11, {}, {}),             //
                       Str("empty"), Tensor("CharStorage", "0", 12, 0, {0, 4}, {4, 1}))),
              {{"0", data}}));
  SMELT_ASSERT_OK(got);
  EXPECT_EQ(Dense(*got->Find("transposed")), "ADGJBEHKCFIL");
  EXPECT_EQ(Dense(*got->Find("view")), "FGJK");
  EXPECT_EQ(Dense(*got->Find("expanded")), "DEFDEF");
  EXPECT_EQ(Dense(*got->Find("scalar")), "L");
  EXPECT_EQ(got->Find("empty")->elements(), 0u);
}

TEST(Torch, StateDictsInWrappersAndNestedDicts) {
  const std::string w = Cat(Str("w"), Vector("CharStorage", "0", 2));
  const struct {
    std::string value, name;
  } cases[] = {
      {Dict(Cat(Str("state_dict"), Dict(w), Str("epoch"), Int(3))), "w"},
      {Dict(Cat(Str("model"), Dict(Cat(Str("module"), Dict(w))))), "w"},
      {Dict(Cat(Str("a"), Dict(Cat(Str("b"), Dict(w))))), "a.b.w"},
      {Dict(Cat(Str("module.w"), Vector("CharStorage", "0", 2))), "w"},
      {Dict(Cat(Str("_orig_mod.module.w"), Vector("CharStorage", "0", 2))), "w"},
      {Dict(Cat(Str("model.model.w"), Vector("CharStorage", "0", 2))), "model.w"},
      {Dict(Cat(Str("model.w"), Vector("CharStorage", "0", 2))), "model.w"},
  };
  for (const auto& c : cases) {
    const auto got = ReadArchive(Archive(c.value, {{"0", "ab"}}));
    SMELT_ASSERT_OK(got);
    ASSERT_EQ(got->tensors.size(), 1u);
    EXPECT_EQ(got->tensors[0].name, c.name);
  }
}

TEST(Torch, DeflatedMembersWithBothDescriptorsAndZip64) {
  const std::string value = Dict(Cat(Str("w"), Vector("FloatStorage", "0", 5000)));
  std::string data;
  for (int i = 0; i < 5000; ++i) data += Bytes(std::bit_cast<uint32_t>(0.5f * i), 4);
  for (const bool deflate : {false, true}) {
    for (const int form : {0, 1, 2, 3}) {
      Member storage{.name = "x/data/0", .data = data, .deflate = deflate};
      storage.descriptor = form == 1;
      storage.wide_descriptor = form == 2;
      storage.zip64 = form == 3;
      const std::string bytes =
          Zip({{.name = "x/data.pkl", .data = PickleOf(value), .deflate = deflate}, storage},
              {.end64 = form == 3});
      const auto got = ReadArchive(bytes);
      SMELT_ASSERT_OK(got);
      EXPECT_TRUE(Dense(got->tensors[0]) == data);
      EXPECT_NE(got->tensors[0].storage->identity(), "");
      SMELT_EXPECT_OK(got->tensors[0].storage->Map());
    }
  }
}

TEST(Torch, LegacyStorageViews) {
  const std::string id = Cat(Tuple(Cat(Str("storage"), Global("torch", "CharStorage"), Str("7"),
                                       Str("cpu"), Int(6), Tuple(Cat(Str("8"), Int(2), Int(3))))),
                             "Q");
  const std::string tensor =
      Call("torch._utils", "_rebuild_tensor", Cat(id, Int(1), Ints({2}), Ints({1})));
  const auto got = ReadArchive(Legacy(Dict(Cat(Str("w"), tensor)), {{"7", 6, "abcdef"}}));
  SMELT_ASSERT_OK(got);
  EXPECT_EQ(Dense(got->tensors[0]), "de");
}

TEST(Torch, TheFuzzersSeedsAreRead) {
  size_t count = 0;
  for (const char* folder : {"fuzz/torch_zip", "fuzz/torch_legacy"}) {
    for (const auto& entry : std::filesystem::directory_iterator(TestdataPath(folder))) {
      const auto got = OpenTorch(entry.path().string());
      EXPECT_EQ(got.status().ToString(), "OK") << entry.path();
      ++count;
    }
  }
  EXPECT_GE(count, 9u);
}

TEST(Torch, SayingWhatItIsInstead) {
  const struct {
    std::string bytes, mentions;
  } cases[] = {
      {"", "empty"},
      {"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"},
      {std::string(257, '\0') + "ustar\0", "0.1.10"},
      {"PK\3\4 and then nothing of the kind, cut off by a download", "truncated"},
      {"\x93NUMPY", "no PyTorch checkpoint"},
      {PickleOf("]"), "magic number"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(ReadArchive(c.bytes).status().message(), HasSubstr(c.mentions));
  }
}

// Values that are named without end, and what was quadratic about each.
TEST(Torch, SharedValuesCostNoMoreThanTheyAre) {
  constexpr int kMany = 100000, kNames = 30000;
  const std::string w = Cat(Str("w"), Vector("CharStorage", "0", 2));
  const auto memo = [](int i) { return Cat("r", Bytes(static_cast<uint64_t>(i), 4)); };
  const auto get = [](int i) { return Cat("j", Bytes(static_cast<uint64_t>(i), 4)); };
  const std::string nones(kMany, 'N');
  std::string lists, dicts, keys, chain, memos, unwound;
  for (int i = 0; i < kNames; ++i) {
    lists += Cat(Str(Cat(i)), get(0));
    dicts += Cat(Str(Cat(i)), "}(", Str(""), get(0), "u");  // another dict each, of the same one
    keys += Cat(get(0), "N");
    chain += Cat("}(", Str("a"));
    unwound += "u";
    // Numbers that fall into one bucket of a table of 2^k or of a prime size near the count.
    memos += Cat("Np", static_cast<uint64_t>(i + 1) * 62233 * 65536, "\n0");
  }
  std::string big_dict = "}(";
  for (int i = 0; i < kMany; ++i) big_dict += "NN";
  const std::pair<std::string, std::string> values[] = {
      {"a list", Cat("](", nones, "e", memo(0), "0", Dict(w + lists))},
      {"a tuple", Cat("(", nones, "t", memo(0), "0", Dict(w + lists))},
      {"a dict", Cat(big_dict, "u", memo(0), "0", Dict(w + lists))},
      {"a dict in dicts", Cat(big_dict, "u", memo(0), "0", Dict(w + dicts))},
      {"a long key", Cat(Str(std::string(1 << 20, 'k')), memo(0), "0", Dict(w + keys))},
      {"dicts in dicts", Dict(Cat(w, Str("d"), chain, "N", unwound))},
      {"scattered memo numbers", Cat(memos, Dict(w))},
  };
  for (const auto& [what, value] : values) {
    SCOPED_TRACE(what);
    const auto start = std::chrono::steady_clock::now();
    const auto got = ReadArchive(Archive(value, {{"0", "ab"}}));
    SMELT_ASSERT_OK(got);
    EXPECT_EQ(got->tensors.size(), 1u);
    // A walk per name takes minutes.
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  }
}

TEST(Torch, RefusedTensors) {
  const std::string w = Vector("CharStorage", "0", 2);
  const struct {
    std::string value, mentions;
  } cases[] = {
      {Dict(Cat(Str("w"), w, Str("w"), w)), "two tensors are called"},
      {Dict(Cat(Str("w"), Vector("QInt8Storage", "0", 2))), "QInt8Storage"},
      {Dict(Cat(Str("w"), Vector("CharStorage", "0", 1))), "fewer than"},
      {Dict(Cat(Str("w"), Vector("FloatStorage", "0", 2))), "should have 2 elements of 4"},
      {Dict(Cat(Str("w"), Tensor("CharStorage", "0", 2, 0, {3}, {1}))), "past the end"},
      {Dict(Cat(Str("w"), w, Str("l"), "](", w, "e")), "a list of tensors"},
      {w, "a state dict"},
      {Dict(Cat(Str(std::string(2000, 'n')), w)), "more than 1024 bytes"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(ReadArchive(Archive(c.value, {{"0", "ab"}})).status().message(),
                HasSubstr(c.mentions));
  }
}

TEST(Torch, ASparseArchiveOfTwentyGigabytes) {
  const TempDir dir;
  const uint64_t size = 20ull << 30;
  // One stored member with zip64 sizes; the hole is its data.
  const std::string pickle =
      PickleOf(Dict(Cat(Str("w"), Vector("HalfStorage", "0", static_cast<int64_t>(size / 2)))));
  const std::string head = Zip({{.name = "a/data.pkl", .data = pickle}});
  const size_t members = 30 + 10 + pickle.size();
  const std::string name = "a/data/0";
  const std::string wide = Cat(Bytes(1, 2), Bytes(16, 2), Bytes(size, 8), Bytes(size, 8));
  const std::string local = Cat("PK\3\4", Bytes(45, 2), Bytes(0, 8), Bytes(0, 4), Bytes(~0ull, 8),
                                Bytes(name.size(), 2), Bytes(wide.size(), 2), name, wide);
  const std::string first_entry = head.substr(members, 46 + 10);
  const std::string entry = Cat("PK\1\2", Bytes(45, 2), Bytes(45, 2), Bytes(0, 8), Bytes(0, 4),
                                Bytes(~0ull, 8), Bytes(name.size(), 2), Bytes(wide.size(), 2),
                                Bytes(0, 10), Bytes(members, 4), name, wide);
  const uint64_t directory = members + local.size() + size;
  const uint64_t directory_size = first_entry.size() + entry.size();
  const std::string tail =
      Cat(first_entry, entry, "PK\6\6", Bytes(44, 8), Bytes(45, 2), Bytes(45, 2), Bytes(0, 8),
          Bytes(2, 8), Bytes(2, 8), Bytes(directory_size, 8), Bytes(directory, 8), "PK\6\7",
          Bytes(0, 4), Bytes(directory + directory_size, 8), Bytes(1, 4), "PK\5\6", Bytes(0, 4),
          Bytes(2, 2), Bytes(2, 2), Bytes(directory_size, 4), Bytes(~0ull, 4), Bytes(0, 2));
  const std::string path = dir / "big.pt";
  testing::WriteFile(path, head.substr(0, members) + local);
  ASSERT_EQ(truncate(path.c_str(), static_cast<off_t>(directory)), 0);
  FILE* file = fopen(path.c_str(), "ab");
  fwrite(tail.data(), 1, tail.size(), file);
  fclose(file);
  const auto got = OpenTorch(path);
  SMELT_ASSERT_OK(got);
  EXPECT_EQ(got->tensors[0].elements(), size / 2);
  std::string last(2, 'x');
  SMELT_EXPECT_OK(
      got->tensors[0].storage->ReadAt(size - 2, std::as_writable_bytes(std::span(last))));
  EXPECT_EQ(last, std::string(2, '\0'));
}

TEST(Weights, FormsInTheOrderOfPreference) {
  const struct {
    std::vector<std::string> files;
    WeightsKind kind;
    std::string first;
    size_t notes;
  } cases[] = {
      {{"model.safetensors", "pytorch_model.bin"},
       WeightsKind::kSafetensors,
       "model.safetensors",
       1},
      {{"model.safetensors.index.json", "consolidated.safetensors", "params.json"},
       WeightsKind::kSafetensors,
       "model.safetensors.index.json",
       1},
      {{"pytorch_model.bin", "consolidated.00.pth", "params.json", "training_args.bin"},
       WeightsKind::kTorch,
       "pytorch_model.bin",
       1},
      {{"model.safetensors", "pytorch_model.bin.index.json", "consolidated.safetensors",
        "consolidated.00.pth", "model.pth", "params.json"},
       WeightsKind::kSafetensors,
       "model.safetensors",
       4},
      {{"model.safetensors", "model.pth"}, WeightsKind::kSafetensors, "model.safetensors", 1},
      {{"pytorch_model.bin", "model.pth"}, WeightsKind::kTorch, "pytorch_model.bin", 1},
      {{"model.safetensors", "a.pt", "b.pt"}, WeightsKind::kSafetensors, "model.safetensors", 2},
      {{"consolidated.safetensors", "consolidated.00.pth", "params.json"},
       WeightsKind::kConsolidatedSafetensors,
       "consolidated.safetensors",
       1},
      {{"model.pth", "optimizer.pt", "rng_state_0.pth"}, WeightsKind::kTorch, "model.pth", 0},
      {{"consolidated.safetensors", "params.json"},
       WeightsKind::kConsolidatedSafetensors,
       "consolidated.safetensors",
       0},
      {{"consolidated.00.pth", "consolidated.01.pth", "params.json"},
       WeightsKind::kConsolidatedTorch,
       "consolidated.00.pth",
       0},
  };
  for (const auto& c : cases) {
    const TempDir dir;
    for (const std::string& file : c.files) testing::WriteFile(dir / file, "");
    const auto form = FindWeights(dir.path());
    SMELT_ASSERT_OK(form);
    EXPECT_EQ(form->kind, c.kind);
    EXPECT_EQ(form->files[0], c.first);
    EXPECT_EQ(form->notes.size(), c.notes);
  }
}

TEST(Weights, WhatCannotBeDecidedIsSaid) {
  const struct {
    std::vector<std::string> files;
    std::string mentions;
  } cases[] = {
      {{}, "no weights"},
      {{"a.pt", "b.pt"}, "2 files of weights (a.pt, b.pt)"},
      {{"consolidated.00.pth", "consolidated.02.pth", "params.json"}, "consolidated.01.pth"},
  };
  for (const auto& c : cases) {
    const TempDir dir;
    for (const std::string& file : c.files) testing::WriteFile(dir / file, "");
    EXPECT_THAT(FindWeights(dir.path()).status().message(), HasSubstr(c.mentions));
  }
}

}  // namespace
}  // namespace smelt
