#include "smelt/import.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "formats/gguf.h"
#include "formats/ollama/store.h"
#include "lib/base/hash.h"
#include "lib/base/status.h"
#include "smelt/convert.h"
#include "smelt/evaluate.h"
#include "smelt/inspect.h"
#include "smelt/store.h"
#include "tests/testing/conversions.h"
#include "tests/testing/said.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TempDir;
using testing::TestdataPath;

/// A private copy of a small model: imports may link, tests may damage.
std::string Copy(const TempDir& dir, const std::string& name) {
  const std::string to = dir / name;
  fs::copy_file(TestdataPath("ollama/gguf/" + name), to, fs::copy_options::overwrite_existing);
  chmod(to.c_str(), 0644);
  return to;
}

absl::StatusOr<ImportResult> ImportTo(const TempDir& dir, const std::string& file,
                                      const std::string& name) {
  return Import({.source = file, .name = name, .store = dir / "store"});
}

TEST(Import, ModelIsFoundUnderItsName) {
  const TempDir dir;
  const auto result = ImportTo(dir, Copy(dir, "tiny-f16.gguf"), "team/tiny:v1");
  SMELT_ASSERT_OK(result);
  EXPECT_EQ(result->name, "team/tiny:v1");
  EXPECT_EQ(result->bytes, 43104u);
  EXPECT_EQ(result->digest,
            "sha256:11a81ac9297d9fbb40c2ef45bfc6ed22b4adac6dd35657510fa3097bcf23ea1f");
  const auto path = ollama::ResolveStoreName("team/tiny:v1", dir / "store");
  SMELT_ASSERT_OK(path);
  EXPECT_EQ(*path, result->blob);
}

TEST(Import, AFolderWithOneGguf) {
  const TempDir dir;
  fs::create_directories(dir / "m");
  fs::copy_file(TestdataPath("ollama/gguf/tiny-f16.gguf"), dir / "m/a.gguf");
  SMELT_EXPECT_OK(ImportTo(dir, dir / "m", "tiny"));
  fs::copy_file(TestdataPath("ollama/gguf/tiny-f16.gguf"), dir / "m/b.gguf");
  EXPECT_THAT(ImportTo(dir, dir / "m", "tiny").status().message(), HasSubstr("2 GGUF files"));
}

TEST(Import, AnotherSpellingReplacesTheModelAndItsUnusedBlobsGo) {
  const TempDir dir;
  const auto first = ImportTo(dir, Copy(dir, "tiny-f16.gguf"), "Tiny");
  SMELT_ASSERT_OK(first);
  const auto second = ImportTo(dir, Copy(dir, "tiny-q8_0.gguf"), "tiny");
  SMELT_ASSERT_OK(second);
  EXPECT_EQ(second->name, "Tiny:latest");
  EXPECT_EQ(second->manifest, first->manifest);
  EXPECT_FALSE(fs::exists(first->blob));
  EXPECT_TRUE(fs::exists(second->blob));
  EXPECT_EQ(std::distance(fs::directory_iterator(dir / "store/blobs"), fs::directory_iterator()),
            2);
}

TEST(Import, RefusesWhatOllamaCouldNotRun) {
  const TempDir dir;
  const auto message = [&](const std::string& file, const std::string& name) {
    return std::string(ImportTo(dir, file, name).status().message());
  };
  testing::WriteFile(dir / "text.gguf", "no model");
  const std::string model = Copy(dir, "tiny-f16.gguf");
  testing::WriteFile(dir / "x.zip", "PK\x03\x04 a folder, packed");
  EXPECT_THAT(message(dir / "text.gguf", "m"), HasSubstr("nor a GGUF"));
  EXPECT_THAT(message(dir / "x.zip", "m"), HasSubstr("is a zip archive; unpack it"));
  const TempDir folder;
  testing::WriteFile(folder / "config.json", "{}");
  EXPECT_THAT(message(folder.path(), "m"), HasSubstr("smelt families"));
  EXPECT_THAT(message(Copy(dir, "tiny-adapter.gguf"), "m"), HasSubstr("adapter"));
  EXPECT_THAT(message(model, "../m"), HasSubstr("no name for an Ollama model"));
  fs::resize_file(model, 43000);
  EXPECT_THAT(message(model, "m"), HasSubstr("truncated"));
  EXPECT_FALSE(fs::exists(dir / "store"));  // refused before anything was made
}

TEST(Import, AFolderIsConvertedStraightIntoTheStore) {
  const TempDir dir;
  fs::copy(TestdataPath("models/llama"), dir / "llama");
  testing::WriteFile(dir / "llama/LICENSE.txt", "Do as you like.");
  testing::WriteFile(dir / "llama/generation_config.json",
                     R"({"do_sample": true, "temperature": 0.6, "top_k": 20,
                         "repetition_penalty": 1.05, "eos_token_id": 2})");
  testing::WriteFile(dir / "Modelfile",
                     "FROM llama\nPARAMETER temperature 0.7\nSYSTEM Be brief.\n");
  ImportOptions options;
  options.name = "mine";
  options.store = dir / "store";
  options.modelfile = dir / "Modelfile";
  options.conversion.type = "q8_0";
  const auto result = Import(options);
  SMELT_ASSERT_OK(result);
  EXPECT_EQ(result->how, "conversion");
  ASSERT_TRUE(result->conversion && result->conversion->validation);
  EXPECT_TRUE(result->conversion->validation->passed);
  EXPECT_EQ(result->conversion->output, result->blob);
  EXPECT_EQ(result->conversion->files.at(0).path, result->blob);

  const ConvertOptions convert = testing::Conversion(dir / "llama", dir / "x.gguf", "q8_0");
  SMELT_ASSERT_OK(Convert(convert));
  const std::string converted = testing::ReadFile(dir / "x.gguf");
  EXPECT_TRUE(testing::ReadFile(result->blob) == converted);
  EXPECT_EQ(result->digest, Cat("sha256:", Sha256Hex(std::as_bytes(std::span(converted)))));
  EXPECT_FALSE(fs::exists(dir / "store/smelt-staging"));

  const auto manifest = ollama::LoadManifest(dir / "store", *ollama::ParseName("mine"));
  SMELT_ASSERT_OK(manifest);
  std::vector<std::string> layers;
  for (const ollama::Layer& layer : manifest->layers) {
    if (layer.media_type == ollama::kModelLayer) continue;
    layers.push_back(testing::ReadFile(ollama::BlobFile(dir / "store", layer.digest)));
  }
  EXPECT_EQ(result->chat_format, "llama3-instruct");
  EXPECT_THAT(layers,
              ElementsAre(HasSubstr("<|start_header_id|>{{ .Role }}<|end_header_id|>"), "Be brief.",
                          "Do as you like.",
                          "{\"repeat_penalty\":1.05,\"stop\":[\"\\u003c|start_header_id|\\u003e\","
                          "\"\\u003c|end_header_id|\\u003e\",\"\\u003c|eot_id|\\u003e\"],"
                          "\"temperature\":0.7,\"top_k\":20}\n"));
}

/// Contents of the layers but the model's, "type: content".
std::vector<std::string> Layers(const std::string& store, std::string_view name) {
  const auto manifest = ollama::LoadManifest(store, *ollama::ParseName(name));
  EXPECT_EQ(testing::GetStatus(manifest).ToString(), "OK");
  std::vector<std::string> layers;
  if (!manifest.ok()) return layers;
  for (const ollama::Layer& layer : manifest->layers) {
    if (layer.media_type == ollama::kModelLayer) continue;
    layers.push_back(Cat(layer.media_type.substr(layer.media_type.rfind('.') + 1), ": ",
                         testing::ReadFile(ollama::BlobFile(store, layer.digest))));
  }
  return layers;
}

constexpr char kChatml[] =
    "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{%- endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
constexpr char kChatmlLayer[] =
    "template: {{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n"
    "{{ end }}<|im_start|>assistant\n";

TEST(Import, AKnownChatTemplateGivesTemplateAndStopWords) {
  const TempDir dir;
  // One that Ollama takes for chatml by its text: it writes system prompts without a role.
  const auto bare = ImportTo(dir, Copy(dir, "tiny-chatml.gguf"), "bare");
  SMELT_ASSERT_OK(bare);
  EXPECT_EQ(bare->chat_format, "chatml-bare-system");
  EXPECT_THAT(Layers(dir / "store", "bare"),
              ElementsAre(HasSubstr("template: {{ .System }}{{ range .Messages }}"),
                          "params: {\"stop\":[\"\\u003c|im_start|\\u003e\",\"\\u003c|im_end|"
                          "\\u003e\"]}\n"));

  testing::WriteFile(dir / "chatml.jinja", kChatml);
  testing::WriteFile(dir / "Modelfile",
                     Cat("FROM ", TestdataPath("models/llama"),
                         "\nLICENSE Free.\nPARAMETER stop END\nPARAMETER top_k 3\n"));
  ImportOptions options;
  options.name = "given";
  options.store = dir / "store";
  options.modelfile = dir / "Modelfile";
  options.chat_template = dir / "chatml.jinja";
  options.require_template = true;
  options.conversion.validate = Validate::kOff;
  const auto given = Import(options);
  SMELT_ASSERT_OK(given);
  EXPECT_EQ(given->chat_format, "chatml");
  EXPECT_THAT(
      Layers(dir / "store", "given"),
      ElementsAre(kChatmlLayer, "license: Free.",
                  "params: {\"min_p\":0.05,\"stop\":[\"END\"],\"temperature\":0.8,\"top_k\":3}\n"));
  const auto file = OpenGguf(given->blob);
  SMELT_ASSERT_OK(file);
  EXPECT_EQ(file->metadata.String("tokenizer.chat_template").value_or(""), kChatml);

  // The format's own parameters, merged with the others since, leave no blob.
  VerifyOptions verify;
  verify.store = dir / "store";
  EXPECT_THAT(VerifyStore(verify)->orphans, ElementsAre());

  // What the base has stays.
  const auto derived = ImportTo(dir, "given", "derived");
  SMELT_ASSERT_OK(derived);
  EXPECT_EQ(derived->chat_format, "");
  EXPECT_EQ(Layers(dir / "store", "derived"), Layers(dir / "store", "given"));
}

TEST(Import, AnUnknownChatTemplateGetsNoLayerAndAWarning) {
  const TempDir dir;
  std::string warnings, notes;
  Observer observer;
  observer.note = [&](NoteKind kind, const std::string& text) {
    (kind == NoteKind::kWarning ? warnings : notes) += text + "\n";
  };
  for (const char* name : {"tiny-near.gguf", "tiny-unknown.gguf"}) {
    warnings.clear();
    const ImportOptions options = {
        .source = Copy(dir, name), .name = "m", .store = dir / "store", .require_template = false};
    SMELT_ASSERT_OK(Import(options, observer));
    EXPECT_THAT(warnings, HasSubstr("its chat template is of no known format"));
    EXPECT_THAT(warnings, HasSubstr("Ollama from 0.30 on renders the model's own"));
    EXPECT_THAT(Layers(dir / "store", "m"), ElementsAre());
    ImportOptions strict = options;
    strict.require_template = true;
    strict.name = "strict";
    EXPECT_THAT(Import(strict).status().message(), HasSubstr("TEMPLATE"));
  }
  warnings.clear();
  ImportOptions none = {.source = Copy(dir, "tiny-f16.gguf"), .name = "m", .store = dir / "store"};
  SMELT_ASSERT_OK(Import(none, observer));
  EXPECT_EQ(warnings, "");
  EXPECT_THAT(notes, HasSubstr("carries no chat template"));
  none.require_template = true;
  EXPECT_EQ(CodeOf(Import(none).status()), ErrorCode::kNotFound);
  testing::WriteFile(dir / "Modelfile", "FROM tiny-f16.gguf\nTEMPLATE {{ .Prompt }}\n");
  none.source = "";
  none.modelfile = dir / "Modelfile";
  SMELT_EXPECT_OK(Import(none));
}

TEST(Import, AModelThatMissesItsCheckGetsNoName) {
  const TempDir dir;
  ImportOptions options;
  options.source = TestdataPath("models/llama");
  options.name = "mine";
  options.store = dir / "store";
  options.conversion.type = "q2_k";
  options.conversion.max_kl = 0;
  EXPECT_EQ(CodeOf(Import(options).status()), ErrorCode::kGateMissed);
  EXPECT_FALSE(fs::exists(dir / "store"));
}

TEST(Import, AnAdapterOfTheModelfileIsMerged) {
  const TempDir dir;
  const std::string adapter = TestdataPath("lora/llama-qv");
  testing::WriteFile(dir / "Modelfile",
                     Cat("FROM ", TestdataPath("models/llama"), "\nADAPTER ", adapter, "\n"));
  ImportOptions options;
  options.name = "mine";
  options.store = dir / "store";
  options.modelfile = dir / "Modelfile";
  options.conversion.type = "f16";
  const auto result = Import(options);
  SMELT_ASSERT_OK(result);
  ConvertOptions convert = testing::Conversion(TestdataPath("models/llama"), dir / "x.gguf", "f16");
  convert.adapters = {{adapter, 1}};
  SMELT_ASSERT_OK(Convert(convert));
  EXPECT_TRUE(testing::ReadFile(result->blob) == testing::ReadFile(dir / "x.gguf"));
}

/// A store with the models "base", "layered" (the adapter's folder as a layer) and "merged".
class AdapterLayer : public ::testing::Test {
 protected:
  void SetUp() override {
    Make("base", "", false);
    Make("layered", adapter_, true);
    Make("merged", adapter_, false);
    setenv("OLLAMA_MODELS", store_.c_str(), 1);
  }
  void TearDown() override { unsetenv("OLLAMA_MODELS"); }

  void Make(const std::string& name, const std::string& adapter, bool layer) {
    testing::WriteFile(dir_ / "Modelfile",
                       Cat("FROM ", TestdataPath("models/llama"), "\n",
                           adapter.empty() ? "" : Cat("ADAPTER ", adapter, "\n")));
    ImportOptions options;
    options.name = name;
    options.store = store_;
    options.modelfile = dir_ / "Modelfile";
    options.adapter_layer = layer;
    options.conversion.type = "f32";
    options.conversion.validate = Validate::kOff;
    SMELT_ASSERT_OK(Import(options));
  }
  double Perplexity(const std::string& name, const Observer& observer = {}) {
    EvaluateOptions options;
    options.model = name;
    options.text_files = {TestdataPath("text/short.txt")};
    options.context = 64;
    options.chunks = 2;
    const auto result = Evaluate(options, observer);
    SMELT_EXPECT_OK(result);
    return result.ok() ? result->perplexity : 0;
  }
  std::string AdapterBlob() const {
    const auto stored = ollama::FindStored("layered");
    return stored ? ollama::AdaptersOf(*stored)->at(0) : "";
  }

  const TempDir dir_;
  const std::string store_ = dir_ / "store", adapter_ = TestdataPath("lora/llama-qv");
};

TEST_F(AdapterLayer, CountsWhereverTheNameIsRead) {
  testing::Said said;
  const double base = Perplexity("base"), layered = Perplexity("layered", said.observer),
               merged = Perplexity("merged");
  EXPECT_NEAR(layered, merged, 1e-4 * merged);
  EXPECT_GT(std::fabs(base - merged), 1e-3 * merged);
  EXPECT_THAT(said.notes, HasSubstr("layered has an adapter layer"));

  ConvertOptions convert = testing::Conversion("layered", dir_ / "x.gguf", "f32");
  SMELT_ASSERT_OK(Convert(convert));
  EXPECT_NEAR(Perplexity(dir_ / "x.gguf"), merged, 1e-4 * merged);

  testing::Said inspected;
  SMELT_ASSERT_OK(Inspect({.path = "layered"}, inspected.observer));
  EXPECT_THAT(inspected.notes,
              HasSubstr(Cat(AdapterBlob().substr(AdapterBlob().size() - 40), "\n")));
}

TEST_F(AdapterLayer, DamageIsSaid) {
  const std::string blob = AdapterBlob();
  const auto message = [&] {
    EvaluateOptions options;
    options.model = "layered";
    options.text_files = {TestdataPath("text/short.txt")};
    return std::string(Evaluate(options).status().message());
  };
  const std::string content = testing::ReadFile(blob);
  testing::WriteFile(blob, std::string(content.size(), 'x'));
  EXPECT_THAT(message(), HasSubstr(Cat(blob.substr(blob.size() - 40),
                                       ": damaged: the adapter weights of \"layered:latest")));
  testing::WriteFile(blob, content + "x");
  EXPECT_THAT(message(), HasSubstr("bytes instead of the"));
  fs::remove(blob);
  EXPECT_THAT(message(), HasSubstr("the adapter weights of model \"layered:latest\" are missing"));
}

TEST(Import, OllamaVersionsAreAskedFor) {
  const TempDir dir;
  testing::Said said;
  ImportOptions options;
  options.source = TestdataPath("models/llama");
  options.name = "m";
  options.store = dir / "store";
  options.chat_template = TestdataPath("chat_formats/smollm3.jinja");  // writes the date
  options.conversion.validate = Validate::kOff;
  options.for_ollama = "0.6";
  SMELT_ASSERT_OK(Import(options, said.observer));
  EXPECT_THAT(said.warnings, HasSubstr("which takes Ollama 0.11.4, not 0.6"));
  const auto has_template = [&] {
    const std::vector<std::string> layers = Layers(dir / "store", "m");
    return std::ranges::any_of(layers, [](auto& text) { return text.starts_with("template: "); });
  };
  EXPECT_FALSE(has_template());
  options.require_template = true;
  EXPECT_EQ(CodeOf(Import(options).status()), ErrorCode::kUnsupported);
  for (const char* version : {"0.32", "0.34", ""}) {
    options.for_ollama = version;
    SMELT_ASSERT_OK(Import(options));
    EXPECT_TRUE(has_template()) << version;
  }
  options.for_ollama = "0.34";
  options.adapter_layer = true;
  EXPECT_EQ(CodeOf(Import(options).status()), ErrorCode::kUsage);
}

TEST(Import, AModelfileIsForTheOllamaThatIsAskedFor) {
  const TempDir dir;
  Copy(dir, "tiny-f16.gguf");
  const struct {
    const char *line, *version, *words;
    bool refused;
  } kCases[] = {
      {"TEMPLATE {{ currentDate }}", "0.6", "uses currentDate", true},
      {"TEMPLATE {{ currentDate }}", "0.32", "", false},
      {"REQUIRES 0.33.1", "0.32", "asks for Ollama 0.33.1", true},
      {"REQUIRES 0.33.1", "0.34", "", false},
      {"RENDERER qwen3-coder", "0.6", "passes over the Modelfile's RENDERER", false},
      {"RENDERER qwen3-coder", "0.32", "", false},
  };
  for (const auto& one : kCases) {
    testing::WriteFile(dir / "Modelfile", Cat("FROM tiny-f16.gguf\n", one.line, "\n"));
    ImportOptions options;
    options.name = "m";
    options.store = dir / "store";
    options.modelfile = dir / "Modelfile";
    options.for_ollama = one.version;
    testing::Said said;
    const absl::Status status = Import(options, said.observer).status();
    EXPECT_EQ(status.ok(), !one.refused) << one.line;
    const std::string words = Cat(std::string(status.message()), said.warnings);
    EXPECT_THAT(words, HasSubstr(one.words));
    if (*one.words == 0) {
      EXPECT_EQ(said.warnings, "");
    }
  }
}

TEST(Import, NothingStaysOfAConversionWhoseTemplateIsUnknown) {
  const TempDir dir;
  testing::WriteFile(dir / "own.jinja", "{% for m in messages %}[[{{ m.content }}]]{% endfor %}");
  ImportOptions options;
  options.source = TestdataPath("models/llama");
  options.name = "mine";
  options.store = dir / "store";
  options.conversion.type = "q8_0";
  options.chat_template = dir / "own.jinja";
  options.require_template = true;
  EXPECT_FALSE(Import(options).ok());
  EXPECT_FALSE(fs::exists(dir / "store"));
}

TEST(Import, AnotherTypeOfAModelInTheStoreKeepsItsLayers) {
  const TempDir dir;
  testing::WriteFile(dir / "Modelfile",
                     Cat("FROM ", TestdataPath("models/llama"), "\nSYSTEM One.\n"));
  ImportOptions options;
  options.name = "one";
  options.store = dir / "store";
  options.modelfile = dir / "Modelfile";
  options.conversion.validate = Validate::kOff;
  SMELT_ASSERT_OK(Import(options));
  options.modelfile = "";
  options.source = "one";
  options.name = "two";
  options.conversion.type = "f16";
  options.convert_ggufs = true;
  const auto result = Import(options);
  SMELT_ASSERT_OK(result);
  EXPECT_EQ(result->how, "conversion");
  const auto manifest = ollama::LoadManifest(dir / "store", *ollama::ParseName("two"));
  SMELT_ASSERT_OK(manifest);
  std::vector<std::string> types;
  for (const ollama::Layer& layer : manifest->layers) types.push_back(layer.media_type);
  EXPECT_THAT(types, ElementsAre(ollama::kModelLayer, ollama::kTemplateLayer, ollama::kSystemLayer,
                                 ollama::kParamsLayer));
}

TEST(Import, FromIsAFileAPatternOrAName) {
  const TempDir dir;
  Copy(dir, "tiny-f16.gguf");
  const auto import = [&](const std::string& from) {
    testing::WriteFile(dir / "Modelfile", Cat("FROM ", from, "\n"));
    ImportOptions options;
    options.name = "m";
    options.store = dir / "store";
    options.modelfile = dir / "Modelfile";
    return Import(options).status();
  };
  SMELT_EXPECT_OK(import("tiny-f16.gguf"));
  SMELT_EXPECT_OK(import("tiny-*.gguf"));
  fs::copy_file(dir / "tiny-f16.gguf", dir / "tiny-other.gguf");
  EXPECT_THAT(std::string(import("tiny-*.gguf").message()),
              HasSubstr("matches 2 files that are not the parts of one model"));
  SMELT_EXPECT_OK(import("M"));  // itself, by its name in the store
  EXPECT_THAT(
      std::string(import("absent").message()),
      HasSubstr(Cat("Modelfile, line 1: absent: neither a file or folder (", dir / "absent")));
  EXPECT_THAT(std::string(import("tiny-f16.gguf\nFROM m").message()), HasSubstr("a second FROM"));
}

std::string SmallGguf(const char* type, const char* architecture, const char* tensor) {
  Metadata keys;
  keys.Set("general.architecture", architecture);
  if (*type != 0) keys.Set("general.type", type);
  const GgufTensorSpec spec = {tensor, {8, 1, 1, 1}, 1, TensorType::kF32};
  const auto layout = SerializeGgufHeader(keys, std::span(&spec, 1));
  EXPECT_TRUE(layout.ok());
  std::string bytes(layout->file_size, '\0');
  std::copy_n(reinterpret_cast<const char*>(layout->header.data()), layout->header.size(),
              bytes.begin());
  return bytes;
}

TEST(Import, WhatIsNoModelIsCalledByItsName) {
  const TempDir dir;
  const struct {
    const char *type, *architecture, *tensor, *said;
  } cases[] = {
      {"", "controlvector", "direction.1", "control vector"},
      {"imatrix", "imatrix", "blk.0.attn_q.weight.in_sum2", "importance matrix"},
      {"mmproj", "clip", "v.patch_embd.weight", "projector"},
      {"adapter", "llama", "blk.0.attn_q.weight.lora_a", "LoRA adapter"},
      {"model", "flux", "double_blocks.0.img_attn.qkv.weight", "no language model"},
      {"", "llama", "blk.0.attn_q.weight", "no language model"},
  };
  for (const auto& c : cases) {
    testing::WriteFile(dir / "x.gguf", SmallGguf(c.type, c.architecture, c.tensor));
    const auto result = ImportTo(dir, dir / "x.gguf", "m");
    EXPECT_EQ(CodeOf(result.status()), ErrorCode::kUnsupported);
    EXPECT_THAT(result.status().message(), HasSubstr(c.said));
    EXPECT_FALSE(fs::exists(dir / "store"));
  }
}

// A manifest that cannot take its place: the model was added, and goes again with the folders.
TEST(Import, NothingStaysOfAFailedOne) {
  const TempDir dir;
  const std::string file = Copy(dir, "tiny-f16.gguf");
  fs::create_directories(dir / "old/manifests/registry.ollama.ai/library/m/latest");
  testing::WriteFile(dir / "old/manifests/registry.ollama.ai/library/m/latest/x", "x");
  EXPECT_FALSE(Import({.source = file, .name = "m", .store = dir / "old"}).ok());
  EXPECT_FALSE(fs::exists(dir / "old/blobs"));
  EXPECT_FALSE(fs::exists(dir / "old/smelt-staging"));
  EXPECT_TRUE(fs::exists(dir / "old/manifests/registry.ollama.ai/library/m/latest/x"));
  // What was there before stays.
  SMELT_ASSERT_OK(Import({.source = file, .name = "good", .store = dir / "old"}));
  EXPECT_FALSE(Import({.source = file, .name = "m", .store = dir / "old"}).ok());
  EXPECT_EQ(std::distance(fs::directory_iterator(dir / "old/blobs"), fs::directory_iterator()), 2);
}

TEST(Import, ReportsProgressAndStopsWhenAsked) {
  const TempDir dir;
  uint64_t last = 0;
  Observer observer;
  observer.progress = [&](const Progress& progress) { last = progress.done; };
  const std::string file = Copy(dir, "tiny-f16.gguf");
  SMELT_ASSERT_OK(Import({.source = file, .name = "m", .store = dir / "a"}, observer));
  EXPECT_EQ(last, 43104u);
  observer.cancelled = [] { return true; };
  const auto stopped = Import({.source = file, .name = "m", .store = dir / "b"}, observer);
  EXPECT_EQ(CodeOf(stopped.status()), ErrorCode::kCancelled);
  EXPECT_FALSE(fs::exists(dir / "b"));
}

}  // namespace
}  // namespace smelt
