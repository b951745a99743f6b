#include "smelt/store.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "formats/gguf.h"
#include "formats/ollama/manifest.h"
#include "formats/ollama/name.h"
#include "formats/ollama/store.h"
#include "formats/ollama/store_writer.h"
#include "lib/base/status.h"
#include "smelt/bundle.h"
#include "smelt/convert.h"
#include "smelt/import.h"
#include "smelt/inspect.h"
#include "tests/testing/conversions.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::ReadFile;
using testing::TempDir;
using testing::TestdataPath;
using ::testing::UnorderedElementsAre;
using testing::WriteFile;

constexpr char kModelfile[] =
    "FROM tiny-q8_0.gguf\nTEMPLATE {{ .Prompt }}\nSYSTEM \"\"\"Two\nlines\"\"\"\n"
    "PARAMETER stop \" \"\nPARAMETER temperature 0.5\nLICENSE MIT\nMESSAGE user hi\n";

/// A store with the model "one", and the files that it was made from.
class Store : public ::testing::Test {
 protected:
  Store() {
    for (const char* name : {"tiny-q8_0.gguf", "tiny-f16.gguf"}) {
      fs::copy_file(TestdataPath(std::string("ollama/gguf/") + name), dir_ / name);
      chmod((dir_ / name).c_str(), 0600);  // copied into the store, never linked
    }
    Make("one", kModelfile);
  }

  void Make(const std::string& name, const std::string& modelfile) {
    WriteFile(dir_ / "Modelfile", modelfile);
    ImportOptions options;
    options.name = name;
    options.store = store();
    options.modelfile = dir_ / "Modelfile";
    SMELT_EXPECT_OK(Import(options));
  }

  std::string store() const { return dir_ / "store"; }
  std::string blob(const std::string& name) const {
    return ollama::ResolveStoreName(name, store()).value();
  }
  size_t blobs() const {
    return static_cast<size_t>(
        std::distance(fs::directory_iterator(store() + "/blobs"), fs::directory_iterator()));
  }
  /// Two hours pass.
  void Age() {
    for (const auto& entry : fs::directory_iterator(store() + "/blobs"))
      fs::last_write_time(entry, fs::file_time_type::clock::now() - std::chrono::hours(2));
  }

  TempDir dir_;
};

// The second step of Ollama's own case: what is copied has the same ID (testdata/ollama/24_cp_rm
// had the figures: 26161 bytes for this model with a system prompt "x").
TEST_F(Store, ListsWhatIsThere) {
  Make("x", "FROM tiny-q8_0.gguf\nSYSTEM x\n");
  SMELT_ASSERT_OK(CopyStored("x", "two/Copy:T", store()));
  SMELT_ASSERT_OK(RemoveStored({"x"}, store()));
  const auto listing = ListStore(store());
  SMELT_ASSERT_OK(listing);
  std::vector<std::string> names;
  for (const StoreModel& model : listing->models) names.push_back(model.name);
  ASSERT_THAT(names, UnorderedElementsAre("one:latest", "two/Copy:T"));
  const StoreModel& copy = listing->models[names[0] == "two/Copy:T" ? 0 : 1];
  EXPECT_EQ(copy.bytes, 26161u);
  EXPECT_EQ(copy.id.size(), 64u);
  EXPECT_EQ(copy.family, "llama");
  EXPECT_EQ(copy.parameters, "19K");
  EXPECT_EQ(copy.file_type, "Q8_0");
  EXPECT_THAT(listing->problems, IsEmpty());
}

TEST_F(Store, TheModelfileMakesTheModelAgain) {
  const auto shown = ShowStored("ONE", store());
  SMELT_ASSERT_OK(shown);
  EXPECT_EQ(shown->system, "Two\nlines");
  EXPECT_THAT(shown->licenses, ElementsAre("MIT"));
  Make("again", shown->modelfile);
  const std::string manifests = store() + "/manifests/registry.ollama.ai/library/";
  EXPECT_EQ(ReadFile(manifests + "again/latest"), ReadFile(manifests + "one/latest"));
}

// Whoever saves it elsewhere still names the store's files.
TEST_F(Store, TheModelfileNamesFilesFromTheRoot) {
  const std::string relative = fs::proximate(store());
  ASSERT_NE(relative, store());
  const auto shown = ShowStored("one", relative);
  SMELT_ASSERT_OK(shown);
  EXPECT_THAT(shown->modelfile, HasSubstr("\nFROM " + blob("one") + "\n"));
}

// Of two that are no parts of each other the last one counts, for Ollama and everywhere here.
TEST_F(Store, OfTwoModelLayersTheLastCounts) {
  {
    auto writer = ollama::StoreWriter::Open(store());
    SMELT_ASSERT_OK(writer);
    ollama::Manifest manifest;
    for (const char* file : {"tiny-q8_0.gguf", "tiny-f16.gguf"}) {
      const auto added = writer->AddFile(dir_ / file, nullptr);
      SMELT_ASSERT_OK(added);
      manifest.layers.push_back({std::string(ollama::kModelLayer), added->digest, added->size, ""});
    }
    SMELT_ASSERT_OK(writer->PutManifest(ollama::ParseName("both").value(), manifest));
  }
  Make("of", "FROM both\n");
  EXPECT_EQ(blob("of"), blob("both"));
  EXPECT_EQ(ReadFile(blob("of")), ReadFile(dir_ / "tiny-f16.gguf"));
}

TEST_F(Store, RemovingKeepsWhatOthersNeed) {
  Make("two", "FROM tiny-q8_0.gguf\n");
  const std::string weights = blob("one");
  EXPECT_EQ(CodeOf(RemoveStored({"one", "absent"}, store())), ErrorCode::kNotFound);
  SMELT_EXPECT_OK(ShowStored("one", store()));  // all or none
  SMELT_ASSERT_OK(RemoveStored({"one"}, store()));
  EXPECT_TRUE(fs::exists(weights));
  EXPECT_EQ(blobs(), 2u);
  SMELT_ASSERT_OK(RemoveStored({"two"}, store()));
  EXPECT_EQ(blobs(), 0u);
  EXPECT_FALSE(fs::exists(store() + "/manifests/registry.ollama.ai"));
}

TEST_F(Store, PruningLeavesWhatIsNeededOrYoung) {
  const size_t before = blobs();
  const std::string orphan = store() + "/blobs/sha256-" + std::string(64, 'a');
  WriteFile(orphan, "old");
  WriteFile(orphan + "-partial-3", "half");
  auto pruned = PruneStore(store());
  SMELT_ASSERT_OK(pruned);
  EXPECT_THAT(pruned->files, IsEmpty());
  Age();
  pruned = PruneStore(store(), true);
  SMELT_ASSERT_OK(pruned);
  EXPECT_THAT(pruned->files, ElementsAre(orphan, orphan + "-partial-3"));
  EXPECT_EQ(pruned->bytes, 7u);
  EXPECT_TRUE(fs::exists(orphan));
  SMELT_ASSERT_OK(PruneStore(store()));
  EXPECT_EQ(blobs(), before);
}

TEST_F(Store, NothingIsPrunedBesideABadManifest) {
  WriteFile(store() + "/manifests/registry.ollama.ai/library/one/.DS_Store", "x");
  EXPECT_EQ(CodeOf(PruneStore(store()).status()), ErrorCode::kInvalidInput);
  fs::remove(store() + "/manifests/registry.ollama.ai/library/one/.DS_Store");
  WriteFile(store() + "/manifests/registry.ollama.ai/library/one/half", "{\"layers\":");
  EXPECT_THAT(std::string(PruneStore(store()).status().message()), HasSubstr("one/half"));
}

TEST_F(Store, VerifyingFindsEveryDamage) {
  Make("two", "FROM tiny-f16.gguf\nSYSTEM Two.\n");
  VerifyOptions options;
  options.store = store();
  auto result = VerifyStore(options);
  SMELT_ASSERT_OK(result);
  EXPECT_TRUE(result->sound());
  EXPECT_EQ(result->models, 2u);
  EXPECT_EQ(result->blobs, blobs());

  const std::string damaged = blob("one"), missing = blob("two");
  std::string bytes = ReadFile(damaged);
  bytes[9000] ^= 1;
  WriteFile(damaged, bytes);
  fs::remove(missing);
  WriteFile(store() + "/blobs/sha256-" + std::string(64, 'b'), "nobody's");
  result = VerifyStore(options);
  SMELT_ASSERT_OK(result);
  EXPECT_FALSE(result->sound());
  EXPECT_EQ(result->orphans.size(), 1u);
  std::vector<std::string> paths;
  for (const StoreProblem& problem : result->problems) paths.push_back(problem.path);
  EXPECT_THAT(paths, UnorderedElementsAre(damaged, missing));

  options.repair_from = {dir_ / "tiny-f16.gguf"};
  options.quarantine = true;
  result = VerifyStore(options);
  SMELT_ASSERT_OK(result);
  EXPECT_FALSE(result->sound());
  EXPECT_EQ(ReadFile(missing), ReadFile(dir_ / "tiny-f16.gguf"));
  EXPECT_FALSE(fs::exists(damaged));
  EXPECT_TRUE(fs::exists(store() + "/smelt-quarantine/" + fs::path(damaged).filename().string()));

  options.repair_from = {dir_ / "tiny-q8_0.gguf"};
  result = VerifyStore(options);
  SMELT_ASSERT_OK(result);
  EXPECT_TRUE(result->sound());
  EXPECT_EQ(blob("one"), damaged);
}

// Ollama looks at whatever lies where manifests do.
TEST_F(Store, VerifyingNamesWhatIsNoManifest) {
  const std::string library = store() + "/manifests/registry.ollama.ai/library/";
  fs::create_symlink("/nowhere", library + "one/gone");
  WriteFile(library + "one/.tmp", "x");
  VerifyOptions options;
  options.store = store();
  const auto result = VerifyStore(options);
  SMELT_ASSERT_OK(result);
  EXPECT_FALSE(result->sound());
  std::vector<std::string> found;
  for (const StoreProblem& problem : result->problems) {
    EXPECT_EQ(problem.kind, StoreProblem::Kind::kBadManifest);
    EXPECT_THAT(problem.names, IsEmpty());
    found.push_back(problem.what.substr(problem.what.rfind('/') + 1));
  }
  EXPECT_THAT(found,
              UnorderedElementsAre("gone: a link that leads nowhere: with it Ollama lists no model "
                                   "at all; move it away",
                                   ".tmp: no manifest, among manifests: with it Ollama prunes "
                                   "nothing; move it away"));
  options.names = {"one"};
  EXPECT_TRUE(VerifyStore(options)->sound());
}

// Ollama reads "sha256-..." too, but its pruning does not: what is written has the other form.
TEST_F(Store, DigestsAreWrittenAsOllamaComparesThem) {
  const std::string library = store() + "/manifests/registry.ollama.ai/library/";
  std::string manifest = ReadFile(library + "one/latest");
  for (size_t at; (at = manifest.find("\"sha256:")) != manifest.npos;) manifest[at + 7] = '-';
  WriteFile(library + "one/latest", manifest);
  Make("two", "FROM one\nSYSTEM x\n");
  EXPECT_THAT(ReadFile(library + "two/latest"), Not(HasSubstr("sha256-")));
}

TEST_F(Store, ADamagedModelIsNotCalledAbsent) {
  const std::string weights = blob("one");
  fs::remove(weights);
  ImportOptions options;
  options.source = "one";
  options.name = "two";
  options.store = store();
  const absl::Status status = Import(options).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("missing from the Ollama store"));
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("nor a model")));

  const auto manifest = ollama::LoadManifest(store(), ollama::SplitName("one").WithDefaults());
  SMELT_ASSERT_OK(manifest);
  for (const ollama::Layer& layer : manifest->layers) {
    if (layer.media_type == ollama::kParamsLayer)
      WriteFile(ollama::BlobFile(store(), layer.digest), "{");
  }
  EXPECT_THAT(std::string(ShowStored("one", store()).status().message()),
              HasSubstr("/blobs/sha256-"));
}

// A copy that is asked for shares nothing with the user's file, also where a link was made before.
TEST_F(Store, ACopyTakesTheLinksPlace) {
  const std::string file = dir_ / "tiny-f16.gguf";
  chmod(file.c_str(), 0644);
  ImportOptions options;
  options.source = file;
  options.name = "linked";
  options.store = store();
  const auto linked = Import(options);
  SMELT_ASSERT_OK(linked);
  if (linked->how != "hard link") GTEST_SKIP() << "no hard links here: " << linked->how;
  struct stat info;
  options.copy = true;
  const auto copied = Import(options);
  SMELT_ASSERT_OK(copied);
  EXPECT_EQ(copied->how, "copy");
  ASSERT_EQ(stat(copied->blob.c_str(), &info), 0);
  EXPECT_EQ(info.st_nlink, 1u);
  EXPECT_EQ(Import(options)->how, "present");
}

TEST_F(Store, WhatIsNoStoreIsSaid) {
  EXPECT_EQ(CodeOf(ListStore(dir_ / "absent").status()), ErrorCode::kNotFound);
  EXPECT_EQ(CodeOf(ListStore(dir_ / "Modelfile").status()), ErrorCode::kUsage);
  EXPECT_FALSE(fs::exists(dir_ / "absent"));
  const absl::Status above = ListStore(dir_ / "").status();  // the folder that the store is in
  EXPECT_EQ(CodeOf(above), ErrorCode::kNotFound);
  EXPECT_THAT(std::string(above.message()), HasSubstr("is no Ollama store"));
  fs::create_directory(dir_ / "empty");
  SMELT_EXPECT_OK(ListStore(dir_ / "empty"));
  EXPECT_EQ(CodeOf(ShowStored("absent", store()).status()), ErrorCode::kNotFound);
  EXPECT_EQ(CodeOf(CopyStored("one", "../x", store())), ErrorCode::kUsage);
}

/// A store as Ollama 0.34 writes it: one model layer for each part of a split file, its cache of
/// keys, its folder of links, a model for its MLX engine.
TEST(NewStore, SplitModelsAndOthersAreRead) {
  const TempDir dir;
  ConvertOptions conversion =
      testing::UncheckedConversion(TestdataPath("models/llama"), dir / "m.gguf", "f16");
  conversion.split_tensors = 5;
  const auto converted = Convert(conversion);
  SMELT_ASSERT_OK(converted);
  ASSERT_GT(converted->files.size(), 2u);
  const std::string store = dir / "store";
  {
    auto writer = ollama::StoreWriter::Open(store);
    SMELT_ASSERT_OK(writer);
    ollama::Manifest manifest, tensors;
    for (const OutputFile& file : converted->files) {
      const auto blob = writer->AddFile(file.path, nullptr, /*copy=*/true);
      SMELT_ASSERT_OK(blob);
      manifest.layers.push_back(
          {std::string(ollama::kModelLayer), blob->digest, blob->size, "m.gguf"});
    }
    const auto config = writer->AddText("{\"model_format\":\"safetensors\"}\n");
    const auto tensor = writer->AddText("weights");
    SMELT_ASSERT_OK(config);
    SMELT_ASSERT_OK(tensor);
    tensors.config = {std::string(ollama::kConfigType), config->digest, config->size, ""};
    tensors.layers = {{std::string(ollama::kTensorLayer), tensor->digest, tensor->size, ""}};
    SMELT_ASSERT_OK(writer->PutManifest(ollama::ParseName("split").value(), manifest));
    SMELT_ASSERT_OK(writer->PutManifest(ollama::ParseName("mlx").value(), tensors));
  }
  const std::string first = ollama::ResolveStoreName("split", store).value();
  const std::string cache = store + "/metadata/" + fs::path(first).filename().string() + ".json";
  fs::create_directory(store + "/metadata");
  WriteFile(cache, "{}");
  fs::create_directory(store + "/blobs/.ollama-split-0123456789ab-1");

  const auto whole = OpenGguf(first);
  SMELT_ASSERT_OK(whole);
  EXPECT_EQ(whole->files.size(), converted->files.size());
  EXPECT_EQ(whole->tensors.size(), converted->tensors);
  InspectOptions inspect;
  inspect.path = first;
  SMELT_EXPECT_OK(Inspect(inspect));
  const absl::Status mlx = ollama::ResolveStoreName("mlx", store).status();
  EXPECT_THAT(std::string(mlx.message()), HasSubstr("MLX"));

  const auto listing = ListStore(store);
  SMELT_ASSERT_OK(listing);
  EXPECT_THAT(listing->problems, IsEmpty());
  ASSERT_EQ(listing->models.size(), 2u);
  EXPECT_EQ(listing->models[listing->models[0].name == "mlx:latest" ? 0 : 1].format, "safetensors");
  VerifyOptions verify;
  verify.store = store;
  EXPECT_TRUE(VerifyStore(verify)->sound());
  EXPECT_THAT(VerifyStore(verify)->orphans, IsEmpty());

  // An import joins the parts; a bundle keeps them.
  ImportOptions options;
  options.source = "split";
  options.name = "joined";
  options.store = store;
  options.conversion.validate = Validate::kOff;
  const auto joined = Import(options);
  SMELT_ASSERT_OK(joined);
  EXPECT_EQ(OpenGguf(joined->blob)->tensors.size(), converted->tensors);
  SMELT_ASSERT_OK(ExportStored({.names = {"split"}, .store = store, .output = dir / "b.tar.zst"}));
  SMELT_ASSERT_OK(ImportBundle({.bundle = dir / "b.tar.zst", .name = {}, .store = dir / "other"}));
  EXPECT_EQ(OpenGguf(ollama::ResolveStoreName("split", dir / "other").value())->tensors.size(),
            converted->tensors);

  // Of a part that is missing the part is named; removing the model takes Ollama's cache along.
  SMELT_ASSERT_OK(RemoveStored({"split"}, store));
  EXPECT_FALSE(fs::exists(cache));
  EXPECT_FALSE(fs::exists(first));
}

}  // namespace
}  // namespace smelt
