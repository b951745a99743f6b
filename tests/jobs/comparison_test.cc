// Models compared: whether both read text alike, and what is scored of which text.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <tuple>

#include "lib/base/status.h"
#include "lib/jobs/evaluation_texts.h"
#include "lib/jobs/gate.h"
#include "lib/jobs/open_model.h"
#include "lib/jobs/text_ids.h"
#include "lib/jobs/tokenizer_match.h"
#include "lib/jobs/trained_context.h"
#include "smelt/convert.h"
#include "smelt/evaluate.h"
#include "smelt/vocabulary.h"
#include "tests/jobs/fake_source.h"
#include "tests/testing/conversions.h"
#include "tests/testing/said.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;

using testing::FakeSource;
using testing::ReadFile;
using testing::Said;
using testing::TempDir;
using testing::TestdataPath;
using Strings = std::vector<std::string>;

/// Text: std::string, or the string_view of Abseil.
template <typename Text>
bool Contains(const Text& text, std::string_view part) {
  return std::string_view(text.data(), text.size()).find(part) != std::string_view::npos;
}

/// A vocabulary of single letters, with rows of the embedding.
struct Letters : FakeSource {
  explicit Letters(uint64_t rows, const Strings& more = {}) {
    Add("token_embd.weight", {8, rows});
    Strings tokens = {"<unk>", "<s>", "</s>", "\xe2\x96\x81"};
    for (char c = 'a'; c <= 'z'; ++c) tokens.emplace_back(1, c);
    std::vector<int32_t> types(tokens.size(), 1);
    types[0] = 2;
    types[1] = types[2] = 3;
    tokens.insert(tokens.end(), more.begin(), more.end());
    types.resize(tokens.size(), 5);
    metadata_.Set("tokenizer.ggml.model", "llama");
    metadata_.Set("tokenizer.ggml.scores", std::vector<float>(tokens.size(), -1));
    metadata_.Set("tokenizer.ggml.tokens", std::move(tokens));
    metadata_.Set("tokenizer.ggml.token_type", std::move(types));
  }
};

TEST(CheckSameTokens, PaddingIsANoteWhateverItsLength) {
  const Letters a(32, {"[PAD30]", "[PAD31]"}), b(64), c(32);
  Said said;
  SMELT_EXPECT_OK(CheckSameTokens(a, b, {{"x", "some text"}}, false, said.observer));
  EXPECT_TRUE(Contains(said.notes, "32 and 64 rows")) << said.notes;
  EXPECT_TRUE(Contains(said.notes, "the 32 that both have")) << said.notes;
  Said quiet;
  SMELT_EXPECT_OK(CheckSameTokens(a, c, {{"x", "some text"}}, false, quiet.observer));
  EXPECT_EQ(quiet.notes + quiet.warnings, "");
}

TEST(CheckSameTokens, ADifferenceIsRefusedOrAllowed) {
  const Letters a(32);
  Letters b(32);
  Strings tokens = *b.metadata_.Find("tokenizer.ggml.tokens")->get_if<Strings>();
  std::swap(tokens[10], tokens[11]);
  b.metadata_.Set("tokenizer.ggml.tokens", tokens);
  Said said;
  const absl::Status status = CheckSameTokens(a, b, {}, false, said.observer);
  EXPECT_TRUE(
      Contains(status.message(), "token 10 is \"g\" in the model and \"h\" in the reference"))
      << status;
  EXPECT_TRUE(Contains(status.message(), "--allow-tokenizer-mismatch"));
  EXPECT_LT(status.message().size(), 400u);
  SMELT_EXPECT_OK(CheckSameTokens(a, b, {}, true, said.observer));
  EXPECT_TRUE(Contains(said.warnings, "token 10")) << said.warnings;
}

// What only one of them has is not compared by keys; the text tells.
TEST(CheckSameTokens, TheTextsIdsAreCompared) {
  const Letters a(32);
  Letters b(32);
  b.metadata_.Set("smelt.tokenizer.normalizer", R"({"type":"Lowercase"})");
  Said said;
  SMELT_EXPECT_OK(CheckSameTokens(a, b, {{"x", "small letters"}}, false, said.observer));
  const absl::Status status =
      CheckSameTokens(a, b, {{"x", "small"}, {"y.txt", "a B"}}, false, said.observer);
  EXPECT_TRUE(Contains(status.message(), "token 4 of y.txt is ")) << status;
  EXPECT_TRUE(Contains(status.message(), " in the model and 5 (\"b\") in the reference")) << status;
}

TEST(CheckSameTokens, WhereTextEndsIsANote) {
  const Letters a(32);
  Letters b(32);
  b.metadata_.Set("tokenizer.ggml.eos_token_id", uint32_t{5});
  Said said;
  SMELT_EXPECT_OK(CheckSameTokens(a, b, {{"x", "text"}}, false, said.observer));
  EXPECT_TRUE(Contains(said.notes, "tokenizer.ggml.eos_token_id is 2 (\"</s>\") in the model"))
      << said.notes;
  EXPECT_EQ(said.warnings, "");
}

TEST(CheckSameTokens, WithoutAVocabularyOnlyRowsCanBeCompared) {
  const Letters a(32);
  FakeSource b, c;
  b.Add("token_embd.weight", {8, 32});
  c.Add("token_embd.weight", {8, 40});
  Said said;
  SMELT_EXPECT_OK(CheckSameTokens(a, b, {}, false, said.observer));
  EXPECT_TRUE(Contains(said.notes, "no vocabulary")) << said.notes;
  EXPECT_FALSE(CheckSameTokens(a, c, {}, false, said.observer).ok());
  EXPECT_FALSE(CheckSameTokens(b, c, {}, false, said.observer).ok());
  SMELT_EXPECT_OK(CheckSameTokens(b, c, {}, true, said.observer));
}

TEST(TrainedContext, IsStretchedByRotaryScaling) {
  FakeSource source;
  EXPECT_EQ(TrainedContext(source), 0u);
  source.metadata_.Set("fake.context_length", uint32_t{512});
  EXPECT_EQ(TrainedContext(source), 512u);
  source.metadata_.Set("fake.rope.scaling.type", "yarn");
  source.metadata_.Set("fake.rope.scaling.original_context_length", uint32_t{512});
  source.metadata_.Set("fake.rope.scaling.factor", 4.0f);
  EXPECT_EQ(TrainedContext(source), 2048u);
  Said said;
  WarnBeyondTrainedContext(source, 2048, said.observer);
  EXPECT_EQ(said.warnings, "");
  WarnBeyondTrainedContext(source, 2049, said.observer);
  EXPECT_TRUE(Contains(said.warnings, "2049 tokens is longer than the 2048")) << said.warnings;
}

TEST(Gate, TheWrittenVocabularyMustBeThePlannedOne) {
  Letters source(32), written(32);
  MemoryPeak peak;
  Plan plan;
  const auto fails = [&](std::string_view what) {
    const absl::Status status = RunGate(written, source, plan, {}, {}, {}, peak).status();
    EXPECT_EQ(CodeOf(status), ErrorCode::kGateMissed) << status;
    EXPECT_TRUE(Contains(status.message(), what)) << status;
  };
  Strings tokens = *source.metadata_.Find("tokenizer.ggml.tokens")->get_if<Strings>();
  std::swap(tokens[20], tokens[21]);
  written.metadata_.Set("tokenizer.ggml.tokens", tokens);
  fails("token 20 is \"r\" in the result and \"q\" in the source");
  written.metadata_ = source.metadata_;
  written.metadata_.Erase("tokenizer.ggml.scores");
  fails("tokenizer.ggml.scores");
  written.metadata_ = source.metadata_;
  written.metadata_.Set("tokenizer.ggml.add_space_prefix", false);
  fails("tokenizer.ggml.add_space_prefix");
  // What --metadata asked for is to be there, and nothing else.
  written.metadata_ = source.metadata_;
  plan.options.metadata = {{"tokenizer.ggml.add_space_prefix", "false"}};
  fails("tokenizer.ggml.add_space_prefix");
}

std::string Converted(const TempDir& dir, const char* model, const char* name,
                      MetadataEdits metadata, Said* said, Validate validate = Validate::kQuick) {
  ConvertOptions options = testing::Conversion(TestdataPath(model), dir / name, "f16");
  options.metadata = std::move(metadata);
  options.validate = validate;
  SMELT_EXPECT_OK(Convert(options, said == nullptr ? Observer() : said->observer).status());
  return options.output;
}

TEST(Convert, EditsOfTheVocabularyAreWarnings) {
  TempDir dir;
  const auto warned = [&](const char* model, const char* key, const char* value) {
    Said said;
    Converted(dir, model, Cat(model + 7, key, ".gguf").c_str(), {{key, value}}, &said);
    return said.warnings;
  };
  EXPECT_TRUE(
      Contains(warned("models/llama-spm", "tokenizer.ggml.add_bos_token", "false"),
               "tokenizer.ggml.add_bos_token is false in the result and true in the source"));
  EXPECT_TRUE(Contains(warned("models/llama-spm", "tokenizer.ggml.add_space_prefix", "false"),
                       "add_space_prefix"));
  EXPECT_TRUE(Contains(warned("models/llama", "tokenizer.ggml.pre", "gpt-4o"), "gpt-4o"));
  EXPECT_TRUE(Contains(warned("models/llama", "tokenizer.ggml.eos_token_id", "5"),
                       "generated text ends differently"));
  // A key of ours that the source does not have: what texts become tells.
  EXPECT_TRUE(
      Contains(warned("models/llama", "smelt.tokenizer.normalizer", R"({"type":"Lowercase"})"),
               "of the text"));
  EXPECT_EQ(warned("models/llama", "general.name", "Other"), "");
  EXPECT_EQ(warned("models/llama", "tokenizer.chat_template", "{{ x }}"), "");
}

TEST(Convert, AVocabularyThatCannotBeUsedIsRefusedBeforeAnythingIsWritten) {
  TempDir dir;
  ConvertOptions options = testing::Conversion(TestdataPath("models/llama"), dir / "x.gguf", "f16");
  options.metadata = {{"tokenizer.ggml.tokens", R"(["a", "b"])"}};
  bool began = false;
  options.on_plan = [&](const PlanSummary&) { began = true; };
  const absl::Status status = Convert(options).status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput) << status;
  EXPECT_TRUE(Contains(status.message(), "cannot be used")) << status;
  EXPECT_FALSE(began);
  Said said;
  options.validate = Validate::kOff;
  SMELT_EXPECT_OK(Convert(options, said.observer).status());
  EXPECT_TRUE(Contains(said.warnings, "cannot be used")) << said.warnings;
}

TEST(Convert, EditedIdsAndSizesAreThoseOfTheVocabulary) {
  TempDir dir;
  const struct {
    const char *key, *value, *said;
  } cases[] = {
      {"tokenizer.ggml.padding_token_id", "999999", "tokenizer.ggml.padding_token_id is 999999"},
      {"tokenizer.ggml.fim_pre_token_id", "u32:999999", "fim_pre_token_id is u32:999999"},
      {"tokenizer.ggml.mask_token_id", "-1", "mask_token_id is -1"},
      {"llama.vocab_size", "7", "llama.vocab_size is 7, but there are"},
  };
  for (const auto& c : cases) {
    ConvertOptions options;
    options.source = TestdataPath("models/llama");
    options.output = dir / "x.gguf";
    options.type = "f16";
    options.metadata = {{c.key, c.value}};
    const absl::Status status = Convert(options).status();
    EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput) << status;
    EXPECT_TRUE(Contains(status.message(), c.said)) << status;
    EXPECT_TRUE(Contains(status.message(), "cannot be used")) << status;
    Said said;
    options.validate = Validate::kOff;
    options.force = true;
    SMELT_EXPECT_OK(Convert(options, said.observer).status());
    EXPECT_TRUE(Contains(said.warnings, c.said)) << said.warnings;
    fs::remove(options.output);
  }
  Said said;
  Converted(dir, "models/llama", "y.gguf", {{"tokenizer.ggml.padding_token_id", "5"}}, &said);
  EXPECT_FALSE(Contains(said.warnings, "cannot be used")) << said.warnings;
}

TEST(Convert, EditedTemplatesAreTemplates) {
  TempDir dir;
  int number = 0;
  for (const auto& [key, value, warned] : std::vector<std::tuple<const char*, const char*, bool>>{
           {"tokenizer.chat_template", "{% if x %}", true},
           {"tokenizer.chat_template.tool_use", "{{ x", true},
           {"tokenizer.chat_template", "{% for m in messages %}{{ m.content }}{% endfor %}", false},
       }) {
    Said said;
    Converted(dir, "models/llama", Cat(++number, ".gguf").c_str(), {{key, value}}, &said);
    EXPECT_EQ(Contains(said.warnings, key), warned) << said.warnings;
  }
}

// What is not ours is not replaced, nor is the work done in vain.
TEST(Convert, ARejectedOutputReplacesNobodysFile) {
  TempDir dir;
  ConvertOptions options;
  options.source = TestdataPath("models/llama");
  options.output = dir / "x.gguf";
  options.type = "q2_k";
  options.max_kl = 1e-9;
  options.keep_rejected = true;
  testing::WriteFile(dir / "x.gguf.rejected", "precious");
  bool began = false;
  options.on_plan = [&](const PlanSummary&) { began = true; };
  EXPECT_EQ(CodeOf(Convert(options).status()), ErrorCode::kAlreadyExists);
  EXPECT_FALSE(began);
  EXPECT_EQ(testing::ReadFile(dir / "x.gguf.rejected"), "precious");
  // One that appears meanwhile.
  fs::remove(dir / "x.gguf.rejected");
  options.on_plan = [&](const PlanSummary&) {
    testing::WriteFile(dir / "x.gguf.rejected", "precious");
  };
  const absl::Status late = Convert(options).status();
  EXPECT_EQ(CodeOf(late), ErrorCode::kGateMissed);
  EXPECT_TRUE(Contains(late.message(), "could not be kept")) << late;
  EXPECT_EQ(testing::ReadFile(dir / "x.gguf.rejected"), "precious");
  options.force = true;
  const absl::Status kept = Convert(options).status();
  EXPECT_TRUE(Contains(kept.message(), "is kept as")) << kept;
  EXPECT_NE(testing::ReadFile(dir / "x.gguf.rejected"), "precious");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), fs::directory_iterator()), 1);
}

TEST(Limits, AreNumbersFrom0On) {
  TempDir dir;
  for (const double limit : {-0.5, std::nan(""), HUGE_VAL}) {
    ConvertOptions convert;
    convert.source = TestdataPath("models/llama");
    convert.output = dir / "x.gguf";
    convert.max_ppl_increase = limit;
    EXPECT_EQ(CodeOf(Convert(convert).status()), ErrorCode::kUsage) << limit;
    EvaluateOptions evaluate;
    evaluate.model = evaluate.reference = TestdataPath("models/llama");
    evaluate.text_files = {TestdataPath("models/eval.txt")};
    evaluate.max_ppl = limit;
    EXPECT_EQ(CodeOf(Evaluate(evaluate).status()), ErrorCode::kUsage) << limit;
  }
}

TEST(ConvertVocabulary, EditsAreWarningsToo) {
  TempDir dir;
  Said said;
  VocabularyRequest request;
  request.source = TestdataPath("models/llama-spm");
  request.output = dir / "v.gguf";
  request.metadata = {{"tokenizer.ggml.add_bos_token", "false"}};
  SMELT_EXPECT_OK(ConvertVocabulary(request, said.observer).status());
  EXPECT_TRUE(Contains(said.warnings, "add_bos_token is false")) << said.warnings;
}

TEST(Evaluate, AReferenceThatReadsOtherwiseIsRefused) {
  TempDir dir;
  Said said;
  EvaluateOptions options;
  options.model = Converted(dir, "models/llama-spm", "a.gguf",
                            {{"tokenizer.ggml.add_bos_token", "false"}}, nullptr);
  options.reference = TestdataPath("models/llama-spm");
  options.text_files = {TestdataPath("models/eval.txt")};
  options.context = 64;
  options.chunks = 2;
  options.max_kl = 10;
  const auto refused = Evaluate(options, said.observer);
  EXPECT_TRUE(Contains(refused.status().message(), "add_bos_token")) << refused.status();
  options.allow_tokenizer_mismatch = true;
  const auto allowed = Evaluate(options, said.observer);
  SMELT_ASSERT_OK(allowed);
  EXPECT_TRUE(Contains(said.warnings, "add_bos_token")) << said.warnings;
  EXPECT_TRUE(allowed->passed);
}

void Write(const std::string& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

TEST(Evaluate, SeveralTextsEachByItselfAndTogether) {
  TempDir dir;
  const std::string text = ReadFile(TestdataPath("models/eval.txt"));
  const std::string a = dir / "a.txt", b = dir / "b.txt", empty = dir / "empty.txt";
  Write(a, std::string_view(text).substr(0, 2000));
  Write(b, std::string_view(text).substr(2000, 300));
  Write(empty, "");
  for (const char* model : {"models/llama", "models/llama-spm"}) {
    EvaluateOptions options{.model = TestdataPath(model), .text_files = {a, empty, b}};
    options.context = 128;
    Said said;
    const auto all = Evaluate(options, said.observer);
    SMELT_ASSERT_OK(all);
    ASSERT_EQ(all->texts.size(), 3u);
    EXPECT_EQ(all->texts[1].tokens_scored, 0u);
    EXPECT_TRUE(Contains(said.warnings, "empty.txt has ")) << said.warnings;
    double nll = 0;
    uint64_t tokens = 0, bytes = 0;
    for (const auto& [file, i] : {std::pair<std::string, size_t>{a, 0}, {b, 2}}) {
      options.text_files = {file};
      const auto alone = Evaluate(options);
      SMELT_ASSERT_OK(alone);
      const TextResult& t = all->texts[i];
      EXPECT_EQ(t.text, file);
      EXPECT_EQ(t.tokens_scored, alone->tokens_scored);
      EXPECT_NEAR(t.mean_nll, alone->mean_nll, 1e-5);
      EXPECT_EQ(t.bytes_scored, alone->bytes_scored);
      EXPECT_NEAR(*t.bits_per_byte, *alone->bits_per_byte, 1e-5);
      nll += alone->mean_nll * static_cast<double>(alone->tokens_scored);
      tokens += alone->tokens_scored;
      bytes += alone->bytes_scored;
    }
    EXPECT_EQ(all->tokens_scored, tokens);
    EXPECT_NEAR(all->perplexity, std::exp(nll / static_cast<double>(tokens)),
                1e-4 * all->perplexity);
    EXPECT_NEAR(*all->bits_per_byte, nll / std::log(2.0) / static_cast<double>(bytes), 1e-5);
  }
}

// Bytes counted from the tokens' own texts: in a byte-level vocabulary each character is a byte.
TEST(Evaluate, BitsPerByteAreOfTheBytesScored) {
  TempDir dir;
  const std::string model = TestdataPath("models/llama"), file = dir / "x.txt";
  const std::string text =
      "na\xc3\xafve \xe2\x82\xac 10 \xf0\x9f\x98\x80\xe4\xbd\xa0\xe5\xa5\xbd, "
      "\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 and so on";
  std::string longer;
  for (int i = 0; i < 9; ++i) longer += text + std::string(static_cast<size_t>(i), '.');
  Write(file, longer);
  const auto source = OpenModelByName(model, {}, {});
  SMELT_ASSERT_OK(source);
  const auto tokenizer = TokenizerOf(**source);
  SMELT_ASSERT_OK(tokenizer);
  const auto ids = EvaluationIds(**tokenizer, longer);
  SMELT_ASSERT_OK(ids);
  for (const uint64_t context : {11u, 32u, 37u}) {
    EvaluateOptions options{.model = model, .text_files = {file}};
    options.context = context;
    const auto result = Evaluate(options);
    SMELT_ASSERT_OK(result);
    uint64_t bytes = 0, scored = 0;
    for (uint64_t c = 0; (c + 1) * context <= ids->size(); ++c) {
      for (uint64_t i = context / 2 + 1; i < context; ++i, ++scored) {
        for (const char unit : (*tokenizer)->Piece((*ids)[c * context + i]))
          bytes += (static_cast<unsigned char>(unit) & 0xc0) != 0x80 ? 1 : 0;
      }
    }
    EXPECT_EQ(result->tokens_scored, scored);
    EXPECT_EQ(result->bytes_scored, bytes);
    EXPECT_NEAR(
        *result->bits_per_byte,
        result->mean_nll * static_cast<double>(scored) / std::log(2.0) / static_cast<double>(bytes),
        1e-12);
  }
}

TEST(Evaluate, ShortTextsAreOneWindow) {
  TempDir dir;
  const std::string file = dir / "x.txt";
  EvaluateOptions options{.model = TestdataPath("models/llama"), .text_files = {file}};
  Write(file, "a b");
  Said said;
  const auto tiny = Evaluate(options, said.observer);
  SMELT_ASSERT_OK(tiny);
  EXPECT_EQ(tiny->chunks, 1u);
  EXPECT_GE(tiny->tokens_scored, 1u);
  EXPECT_EQ(tiny->context, tiny->texts[0].tokens);
  EXPECT_TRUE(Contains(said.notes, "x.txt has ")) << said.notes;
  EXPECT_TRUE(Contains(said.notes, "fewer than two contexts of 512")) << said.notes;
  EXPECT_EQ(said.warnings, "");
  // Exactly one context, and one token short of two.
  Write(file, std::string_view(ReadFile(TestdataPath("models/eval.txt"))).substr(0, 700));
  const auto whole = Evaluate(options);
  SMELT_ASSERT_OK(whole);
  const uint64_t tokens = whole->texts[0].tokens;
  options.context = tokens;
  const auto exact = Evaluate(options);
  SMELT_ASSERT_OK(exact);
  EXPECT_EQ(exact->perplexity, whole->perplexity);
  EXPECT_EQ(exact->tokens_scored, tokens - tokens / 2 - 1);
  options.context = tokens / 2;
  Said two;
  SMELT_ASSERT_OK(Evaluate(options, two.observer));
  EXPECT_FALSE(Contains(two.notes, "two contexts")) << two.notes;
  Write(file, "");
  const auto nothing = Evaluate(options);
  EXPECT_TRUE(Contains(nothing.status().message(), "nothing to predict")) << nothing.status();
}

TEST(Evaluate, BeyondTheTrainedContextIsOneWarning) {
  EvaluateOptions options{.model = TestdataPath("models/llama"),
                          .text_files = {TestdataPath("models/eval.txt")}};
  const auto source = OpenModelByName(options.model, {}, {});
  SMELT_ASSERT_OK(source);
  const uint64_t trained = TrainedContext(**source);
  ASSERT_GT(trained, 0u);
  options.chunks = 1;
  for (const bool beyond : {false, true}) {
    options.context = trained + (beyond ? 1 : 0);
    options.reference = options.model;
    Said said;
    SMELT_ASSERT_OK(Evaluate(options, said.observer));
    EXPECT_EQ(std::count(said.warnings.begin(), said.warnings.end(), '\n'), beyond ? 1 : 0)
        << said.warnings;
    EXPECT_EQ(Contains(said.warnings, Cat("the ", trained, " that ")), beyond);
  }
}

TEST(Convert, ATextThatCannotBeReadIsRefusedBeforeAnythingIsWritten) {
  TempDir dir;
  const std::string file = dir / "x.txt";
  Write(file, std::string_view("\xff\xfe"
                               "a\0b\0",
                               6));
  ConvertOptions options =
      testing::Conversion(TestdataPath("models/llama"), dir / "x.gguf", "q8_0");
  bool began = false;
  options.on_plan = [&](const PlanSummary&) { began = true; };
  options.text_files = {file};
  EXPECT_TRUE(Contains(Convert(options).status().message(), "UTF-16LE"));
  options.text_files = {dir / "absent.txt"};
  EXPECT_EQ(CodeOf(Convert(options).status()), ErrorCode::kNotFound);
  EXPECT_FALSE(began);
}

TEST(Convert, TheCheckTakesShortTextsAndSeveral) {
  TempDir dir;
  const std::string text = ReadFile(TestdataPath("models/eval.txt"));
  const std::string a = dir / "a.txt", b = dir / "b.txt";
  Write(a, std::string_view(text).substr(0, 400));
  Write(b, std::string_view(text).substr(400, 3000));
  ConvertOptions options =
      testing::Conversion(TestdataPath("models/llama"), dir / "x.gguf", "q8_0");
  options.text_files = {a, b};
  Said said;
  const auto both = Convert(options, said.observer);
  SMELT_ASSERT_OK(both);
  ASSERT_EQ(both->validation->texts.size(), 2u);
  EXPECT_GT(both->validation->texts[0].tokens_scored, 0u);
  EXPECT_GT(both->validation->texts[1].tokens_scored, 0u);
  EXPECT_TRUE(Contains(said.notes, "a.txt has ")) << said.notes;
  options.output = dir / "y.gguf";
  Write(a, "a b");
  options.text_files = {a};
  EXPECT_TRUE(Contains(Convert(options).status().message(), "give a longer one with --text"));
}

}  // namespace
}  // namespace smelt
