// Folders of weights as people have them: parts without an index, stale and redundant indexes,
// stubs, other names; what is read of them, and what the refusals name.
#include "formats/weights_directory.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "formats/weight_sets.h"
#include "formats/what_is_there.h"
#include "lib/base/status.h"
#include "tests/formats/small_weights.h"
#include "tests/formats/torch/checkpoint_builder.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::SmallIndex;
using testing::SmallSafetensors;
using testing::SmallTensor;
using testing::TempDir;
using ::testing::UnorderedElementsAre;

std::string St(const std::vector<SmallTensor>& tensors) { return SmallSafetensors(tensors); }
std::string Pt(const std::vector<std::string>& names) {
  std::string dict;
  std::vector<std::pair<std::string, std::string>> storages;
  for (size_t i = 0; i < names.size(); ++i) {
    dict += testing::Str(names[i]) + testing::Vector("CharStorage", Cat(i), 2);
    storages.emplace_back(Cat(i), "ab");
  }
  return testing::Archive(testing::OrderedDict(dict), storages);
}

constexpr char kIndex[] = "model.safetensors.index.json";
constexpr char kLfs[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";

using Files = std::vector<std::pair<std::string, std::string>>;

absl::StatusOr<Container> Open(const TempDir& dir, const Files& files) {
  for (const auto& [name, content] : files) {
    std::filesystem::create_directories(std::filesystem::path(dir / name).parent_path());
    testing::WriteFile(dir / name, content);
  }
  return OpenWeights(dir.path());
}

std::vector<std::string> Names(const Container& container) {
  std::vector<std::string> names;
  for (const RawTensor& tensor : container.tensors) names.push_back(tensor.name);
  return names;
}

TEST(WeightSets, NamesOfParts) {
  const struct {
    std::vector<std::string> names;
    size_t sets, of_first;
    std::string missing;
  } cases[] = {
      {{"m-00001-of-00002.bin", "m-00002-of-00002.bin"}, 1, 2, ""},
      {{"m-00000-of-00002.bin", "m-00001-of-00002.bin"}, 1, 2, ""},
      {{"m_1_of_3.pt", "m_2_of_3.pt", "m_3_of_3.pt"}, 1, 3, ""},
      {{"m-00001-of-00003.bin", "m-00003-of-00003.bin"}, 1, 2, "part 2 of 3, m-00002-of-00003.bin"},
      {{"m-00002-of-00004.bin"}, 1, 1, "part 1 of 4, m-00001-of-00004.bin (and 2 more)"},
      {{"m-1-of-10.bin", "m-10-of-10.bin"}, 1, 2, "part 2 of 10, m-2-of-10.bin (and 7 more)"},
      {{"m-1-of-1.bin"}, 1, 1, ""},
      {{"m-1-of-2.bin", "m-2-of-2.bin", "m-3-of-2.bin"}, 1, 3, "a place for m-3-of-2.bin"},
      {{"a-1-of-2.bin", "a-2-of-2.bin", "b-1-of-2.bin", "b-2-of-2.bin"}, 2, 2, ""},
      {{"m-1-of-2.bin", "m-1-of-3.bin"}, 2, 1, "part 2 of 2"},
      {{"hf_model_0001_0.pt", "hf_model_0002_0.pt", "hf_model_0003_0.pt"}, 1, 3, ""},
      {{"model_world_size_2_rank_0.pt", "model_world_size_2_rank_1.pt"}, 1, 2, ""},
      {{"model_world_size_3_rank_0.pt", "model_world_size_3_rank_2.pt"}, 1, 2, "part 2 of 3"},
      {{"model-7b.pt", "model-13b.pt"}, 2, 1, ""},
      {{"x1_y1.pt", "x2_y2.pt"}, 2, 1, ""},
      {{"model.pt"}, 1, 1, ""},
      {{"m-99999999999999999999-of-2.bin"}, 1, 1, ""},
      {{"m-1-of-0.bin"}, 1, 1, "a place for"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.names[0]);
    const std::vector<WeightSet> sets = FindWeightSets(c.names);
    ASSERT_EQ(sets.size(), c.sets);
    EXPECT_EQ(sets[0].files.size(), c.of_first);
    EXPECT_THAT(sets[0].missing, c.missing.empty() ? std::string() : sets[0].missing);
    EXPECT_THAT(sets[0].missing, HasSubstr(c.missing));
  }
}

TEST(WeightSets, LeftoversOfTrainingAreNoWeights) {
  for (const char* name :
       {"training_args.bin", "optimizer.pt", "optimizer_0.pt", "scheduler.pt", "rng_state_3.pth",
        "optim_world_size_2_rank_0.pt", "extra_state_world_size_2_rank_1.pt", "recipe_state.pt",
        "adapter_model.bin", "adapter_0.pt", "._model.safetensors", "mp_rank_00_model_states.pt",
        "zero_pp_rank_0_mp_rank_00_optim_states.pt", "random_states_0.pkl"}) {
    EXPECT_TRUE(IsNoWeights(name)) << name;
  }
  for (const char* name : {"model.safetensors", "pytorch_model.bin", "llama.pt", "meta_model_0.pt",
                           "model_world_size_2_rank_0.pt", "pytorch_model_fsdp.bin"}) {
    EXPECT_FALSE(IsNoWeights(name)) << name;
  }
}

struct ReadCase {
  std::string what;
  Files files;
  std::vector<std::string> tensors;
  std::string note;  ///< part of a note; empty: none
};

TEST(WeightsDirectory, WhatIsUnambiguousIsRead) {
  const ReadCase cases[] = {
      {"parts without an index",
       {{"model-00001-of-00002.safetensors", St({{"a"}})},
        {"model-00002-of-00002.safetensors", St({{"b"}})}},
       {"a", "b"},
       "2 parts"},
      {"PyTorch parts without an index, and leftovers",
       {{"pytorch_model-00001-of-00003.bin", Pt({"a"})},
        {"pytorch_model-00002-of-00003.bin", Pt({"b"})},
        {"pytorch_model-00003-of-00003.bin", Pt({"c"})},
        {"training_args.bin", "x"},
        {"optimizer.pt", "x"}},
       {"a", "b", "c"},
       "without an index"},
      {"torchtune's names",
       {{"hf_model_0001_0.pt", Pt({"a"})}, {"hf_model_0002_0.pt", Pt({"b"})}},
       {"a", "b"},
       "without an index"},
      {"ranks that hold different tensors",
       {{"model_world_size_2_rank_0.pt", Pt({"a"})},
        {"model_world_size_2_rank_1.pt", Pt({"b"})},
        {"optim_world_size_2_rank_0.pt", "x"},
        {"extra_state_world_size_2_rank_1.pt", "x"}},
       {"a", "b"},
       "without an index"},
      {"another file's name", {{"llama.safetensors", St({{"a"}})}}, {"a"}, ""},
      {"and in upper case", {{"MODEL.SAFETENSORS", St({{"a"}})}}, {"a"}, ""},
      {"safetensors under the name of a checkpoint",
       {{"pytorch_model.bin", St({{"a"}})}},
       {"a"},
       ""},
      {"an index of safetensors that lists a checkpoint",
       {{kIndex, SmallIndex({{"a", "pytorch_model-1-of-1.bin"}})},
        {"pytorch_model-1-of-1.bin", Pt({"a"})}},
       {"a"},
       ""},
      {"an index that lists only the whole file",
       {{"model.safetensors", St({{"a"}})}, {kIndex, SmallIndex({{"a", "model.safetensors"}})}},
       {"a"},
       ""},
      {"a redundant index whose shards are there",
       {{"model.safetensors", St({{"a"}, {"b"}})},
        {"s1.safetensors", St({{"a"}})},
        {"s2.safetensors", St({{"b"}})},
        {kIndex, SmallIndex({{"a", "s1.safetensors"}, {"b", "s2.safetensors"}})}},
       {"a", "b"},
       "reading model.safetensors"},
      {"a redundant index whose shards are gone",
       {{"model.safetensors", St({{"a"}, {"b"}})},
        {kIndex, SmallIndex({{"a", "s1.safetensors"}, {"b", "s2.safetensors"}})}},
       {"a", "b"},
       "left aside"},
      {"a stub beside indexed shards",
       {{"model.safetensors", St({{"a"}})},
        {"s1.safetensors", St({{"a"}})},
        {"s2.safetensors", St({{"b"}})},
        {kIndex, SmallIndex({{"a", "s1.safetensors"}, {"b", "s2.safetensors"}})}},
       {"a", "b"},
       "holds only 1 of its 2 tensors"},
      {"a stub without tensors beside parts without an index",
       {{"model.safetensors", St({})},
        {"model-1-of-2.safetensors", St({{"a"}})},
        {"model-2-of-2.safetensors", St({{"b"}})}},
       {"a", "b"},
       "holds only 0"},
      {"a pointer beside indexed shards",
       {{"model.safetensors", kLfs},
        {"s1.safetensors", St({{"a"}})},
        {kIndex, SmallIndex({{"a", "s1.safetensors"}})}},
       {"a"},
       "pointer"},
      {"a stale index beside the parts of another save",
       {{kIndex, SmallIndex({{"a", "model-00001-of-00030.safetensors"},
                             {"b", "model-00002-of-00030.safetensors"}})},
        {"model-00001-of-00002.safetensors", St({{"a"}})},
        {"model-00002-of-00002.safetensors", St({{"b"}})}},
       {"a", "b"},
       "of which none is there"},
      {"a stale index beside one file of another name",
       {{kIndex, SmallIndex({{"a", "model-00001-of-00030.safetensors"}})},
        {"m.safetensors", St({{"a"}})}},
       {"a"},
       "reading m.safetensors"},
      {"an index of another name",
       {{"llama.safetensors.index.json", SmallIndex({{"a", "l1.safetensors"}, {"b", "x"}})},
        {"l1.safetensors", St({{"a"}})},
        {"x", St({{"b"}})}},
       {"a", "b"},
       ""},
      {"a head that the index lists and no shard has",
       {{kIndex, SmallIndex({{"a", "s1.safetensors"}, {"lm_head.weight", "s1.safetensors"}})},
        {"s1.safetensors", St({{"a"}})}},
       {"a"},
       "lists lm_head.weight, which no shard holds"},
      {"a head that a shard has and the index does not list",
       {{kIndex, SmallIndex({{"a", "s1.safetensors"}})},
        {"s1.safetensors", St({{"a"}, {"lm_head.weight"}})}},
       {"a", "lm_head.weight"},
       "does not list lm_head.weight"},
      {"whole PyTorch weights beside a file that may be anything",
       {{"logits.safetensors", St({{"a"}})}, {"pytorch_model.bin", Pt({"p"})}},
       {"p"},
       "logits.safetensors is left aside"},
      {"whole PyTorch weights beside safetensors of which a part is missing",
       {{"model-1-of-2.safetensors", St({{"a"}})}, {"pytorch_model.bin", Pt({"p"})}},
       {"p"},
       "left aside"},
      {"files that hold different tensors",
       {{"a.safetensors", St({{"a"}})},
        {"b.safetensors", St({{"b"}})},
        {"c.safetensors", St({{"c"}})}},
       {"a", "b", "c"},
       "a.safetensors, b.safetensors, c.safetensors, which hold different tensors"},
      {"a shard that the index omits",
       {{kIndex, SmallIndex({{"a", "m-1-of-2.safetensors"}})},
        {"m-1-of-2.safetensors", St({{"a"}})},
        {"m-2-of-2.safetensors", St({{"b"}})}},
       {"a", "b"},
       "does not list the shard m-2-of-2.safetensors, which holds b: it is read"},
      {"a shard that the index omits and that another repeats",
       {{kIndex, SmallIndex({{"a", "m-2-of-3.safetensors"}})},
        {"m-2-of-3.safetensors", St({{"a"}})},
        {"m-3-of-3.safetensors", St({{"a"}, {"b"}})}},
       {"a"},
       "m-3-of-3.safetensors, which holds a as m-2-of-3.safetensors does: it is left aside"},
      {"complete parts and a stray file",
       {{"model-1-of-2.safetensors", St({{"a"}})},
        {"model-2-of-2.safetensors", St({{"b"}})},
        {"vae.safetensors", St({{"v"}})}},
       {"a", "b"},
       "vae.safetensors is left aside"},
  };
  for (const ReadCase& c : cases) {
    SCOPED_TRACE(c.what);
    const TempDir dir;
    for (const auto& [name, content] : c.files) testing::WriteFile(dir / name, content);
    const auto form = FindWeights(dir.path());
    SMELT_ASSERT_OK(form);
    const auto got = OpenWeights(dir.path(), *form);
    SMELT_ASSERT_OK(got);
    EXPECT_EQ(Names(*got), c.tensors);
    EXPECT_TRUE(got->warnings.empty());
    std::vector<std::string> notes = got->notes;
    notes.insert(notes.end(), form->notes.begin(), form->notes.end());
    if (c.note.empty()) {
      EXPECT_THAT(notes, ElementsAre());
    } else {
      EXPECT_THAT(notes, Contains(HasSubstr(c.note)));
    }
  }
}

struct RefusedCase {
  std::string what;
  Files files;
  std::vector<std::string> mentions;
};

TEST(WeightsDirectory, WhatIsNotIsRefusedByName) {
  const RefusedCase cases[] = {
      {"a part is missing",
       {{"pytorch_model-00001-of-00003.bin", Pt({"a"})},
        {"pytorch_model-00003-of-00003.bin", Pt({"c"})}},
       {"part 2 of 3, pytorch_model-00002-of-00003.bin", "download"}},
      {"ranks that hold their rows of every tensor",
       {{"model_world_size_2_rank_0.pt", Pt({"a"})}, {"model_world_size_2_rank_1.pt", Pt({"a"})}},
       {"rank_0.pt", "both hold tensor a", "rows", "merge-weights"}},
      {"epochs, not parts",
       {{"epoch_1.pt", Pt({"a"})}, {"epoch_2.pt", Pt({"a"})}},
       {"epoch_1.pt", "epoch_2.pt", "no parts of one model"}},
      {"two files of other names",
       {{"a.safetensors", St({{"a"}, {"b"}})}, {"b.safetensors", St({{"b"}, {"c"}})}},
       {"2 files of weights (a.safetensors, b.safetensors)", "model.safetensors",
        "folder of its own"}},
      {"two complete sets",
       {{"a-1-of-2.safetensors", St({{"a"}})},
        {"a-2-of-2.safetensors", St({{"b"}})},
        {"b-1-of-2.safetensors", St({{"a"}})},
        {"b-2-of-2.safetensors", St({{"b"}})}},
       {"4 files of weights", "a-1-of-2.safetensors"}},
      {"a piece of a file that was cut by bytes",
       {{"model.safetensors.part-aa", "x"}, {"model.safetensors.part-ab", "x"}},
       {"pieces", "cat model.safetensors.part-aa model.safetensors.part-ab > model.safetensors"}},
      {"a download that is not finished",
       {{"model.safetensors.crdownload", "x"}},
       {"model.safetensors.crdownload", "not finished"}},
      {"a hub client's",
       {{".cache/huggingface/download/model.safetensors.0123.incomplete", "x"}},
       {"0123.incomplete", "not finished"}},
      {"a part whose download is not finished",
       {{"m-1-of-2.safetensors", St({{"a"}})}, {"m-2-of-2.safetensors.part", "x"}},
       {"m-2-of-2.safetensors", "m-2-of-2.safetensors.part is a download that is not finished"}},
      {"a shard with aria2's control file beside it",
       {{"m-1-of-1.safetensors", St({{"a"}})}, {"m-1-of-1.safetensors.aria2", "x"}},
       {"m-1-of-1.safetensors.aria2", "not finished"}},
      {"a server's answer",
       {{"model.safetensors", "{\"error\": \"Repository not found\"}"}},
       {"model.safetensors", "error text (\"Repository not found\")"}},
      {"a stray file of another type beside shards",
       {{"model.safetensors", St({{"a", 2}, {"b"}})},
        {"s1.safetensors", St({{"a"}, {"b"}})},
        {kIndex, SmallIndex({{"a", "s1.safetensors"}, {"b", "s1.safetensors"}})}},
       {"model.safetensors and model.safetensors.index.json", "tensor a as U8 2 and U8 4"}},
      {"two halves in two forms",
       {{"model.safetensors", St({{"a"}})},
        {"s1.safetensors", St({{"b"}})},
        {kIndex, SmallIndex({{"b", "s1.safetensors"}})}},
       {"model.safetensors and model.safetensors.index.json hold different tensors"}},
      {"a stale index beside other tensors",
       {{kIndex, SmallIndex({{"z", "model-00001-of-00030.safetensors"}})},
        {"model-00001-of-00002.safetensors", St({{"a"}})},
        {"model-00002-of-00002.safetensors", St({{"b"}})}},
       {"model-00001-of-00030.safetensors", "model-00001-of-00002.safetensors", "other tensors"}},
      {"an index and nothing else",
       {{kIndex, SmallIndex({{"a", "s1.safetensors"}, {"b", "s2.safetensors"}})}},
       {"lists 2 files", "s1.safetensors", "download them"}},
      {"one of the shards of an index is missing, whatever lies beside it",
       {{kIndex, SmallIndex({{"a", "m-1-of-3.safetensors"}, {"b", "m-3-of-3.safetensors"}})},
        {"m-1-of-3.safetensors", St({{"a"}})},
        {"x-1-of-2.safetensors", St({{"a"}})},
        {"x-2-of-2.safetensors", St({{"b"}})}},
       {"m-3-of-3.safetensors", "no such file"}},
      {"a stub beside shards of which one is missing",
       {{"model.safetensors", St({{"a"}})},
        {kIndex, SmallIndex({{"a", "s1.safetensors"}, {"b", "s2.safetensors"}})},
        {"s1.safetensors", St({{"a"}})}},
       {"s2.safetensors", "no such file"}},
      {"a tensor of a layer that the index does not list",
       {{kIndex, SmallIndex({{"a", "s1.safetensors"}})},
        {"s1.safetensors", St({{"a"}, {"layers.0.output.weight"}})}},
       {"layers.0.output.weight", "does not list"}},
      {"a pointer among the parts",
       {{"model-1-of-2.safetensors", St({{"a"}})}, {"model-2-of-2.safetensors", kLfs}},
       {"model-2-of-2.safetensors", "pointer"}},
      {"DeepSpeed's shards",
       {{"global_step5/mp_rank_00_model_states.pt", "x"},
        {"zero_to_fp32.py", "#"},
        {"training_args.bin", "x"},
        {"rng_state_0.pth", "x"}},
       {"DeepSpeed", "zero_to_fp32.py"}},
      {"their folder itself", {{"mp_rank_00_model_states.pt", "x"}}, {"DeepSpeed"}},
      {"FSDP's shards",
       {{"pytorch_model_fsdp_0/__0_0.distcp", "x"}, {"optimizer_0/__0_0.distcp", "x"}},
       {"FSDP", "merge-weights", "dcp_to_torch", "model_fsdp_0/__0_0.distcp"}},
      {"their folder itself", {{"__0_0.distcp", "x"}, {".metadata", "x"}}, {"FSDP", "__0_0"}},
      {"another format", {{"tf_model.h5", "x"}}, {"TensorFlow", "tf_model.h5"}},
      {"nothing that is known", {{"notes.txt", "x"}, {"a.xyz", "x"}}, {"notes.txt", "a.xyz"}},
      {"nothing", {}, {"no weights", "empty"}},
  };
  for (const RefusedCase& c : cases) {
    SCOPED_TRACE(c.what);
    const TempDir dir;
    const auto got = Open(dir, c.files);
    ASSERT_FALSE(got.ok());
    std::string sentence(got.status().message());
    EXPECT_LT(sentence.size(), 380u) << sentence;
    for (const std::string& mention : c.mentions) EXPECT_THAT(sentence, HasSubstr(mention));
    for (const char* advice : {"remove", "delete", "rename"}) {
      EXPECT_THAT(sentence, Not(HasSubstr(advice)));
    }
  }
}

// A trainer's shards are named where somebody points at them, too.
TEST(OtherForms, FoldersAndFilesAreNamed) {
  const TempDir dir;
  for (const auto& [file, what] :
       {std::pair("a/global_step5/zero_pp_rank_0_mp_rank_00_optim_states.pt", "DeepSpeed"),
        std::pair("b/pytorch_model_fsdp_0/__0_0.distcp", "FSDP"),
        std::pair("c/mp_rank_00_model_states.pt", "DeepSpeed")}) {
    const std::filesystem::path path(dir / file);
    std::filesystem::create_directories(path.parent_path());
    testing::WriteFile(path, "x");
    EXPECT_THAT(RefuseOtherForms(path).message(), HasSubstr(what));
    EXPECT_THAT(RefuseOtherForms(path.parent_path()).message(), HasSubstr(what));
  }
  testing::WriteFile(dir / "model.bin", "x");
  SMELT_EXPECT_OK(RefuseOtherForms(dir / "model.bin"));
}

TEST(WeightsDirectory, BrokenLinksAreNamed) {
  const TempDir dir;
  testing::WriteFile(dir / "model-1-of-2.safetensors", St({{"a"}}));
  std::filesystem::create_symlink("../blobs/gone", dir / "model-2-of-2.safetensors");
  EXPECT_THAT(OpenWeights(dir.path()).status().message(),
              AllOf(HasSubstr("model-2-of-2.safetensors"), HasSubstr("symbolic link")));
}

}  // namespace
}  // namespace smelt
