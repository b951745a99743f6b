// One prompt, many continuations, through the public header.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "lib/base/status.h"
#include "smelt/convert.h"
#include "smelt/generate.h"
#include "smelt/inspect.h"
#include "tests/testing/conversions.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::TestdataPath;

std::unique_ptr<Generator> Open(const std::string& model) {
  GeneratorOptions options;
  options.model = TestdataPath("models/" + model);
  options.activations = Activations::kF32;
  absl::StatusOr<std::unique_ptr<Generator>> generator = Generator::Open(options);
  SMELT_EXPECT_OK(generator);
  return generator.ok() ? *std::move(generator) : nullptr;
}

/// A test's own copy of where a generator stands.
GeneratorState Saved(const Generator& generator) {
  const absl::StatusOr<GeneratorState> state = generator.Save();
  SMELT_EXPECT_OK(state);
  return state.ok() ? *state : GeneratorState();
}

/// Llama that has read the beginning of a text.
std::unique_ptr<Generator> LlamaBehindText() {
  std::unique_ptr<Generator> llama = Open("llama");
  if (llama == nullptr) return nullptr;
  const auto prompt = llama->Encode("It was");
  SMELT_EXPECT_OK(prompt);
  SMELT_EXPECT_OK(llama->Feed(*prompt));
  return llama;
}

ContinueOptions GreedyPastTheEnd(int64_t tokens) {
  ContinueOptions options;
  options.max_tokens = tokens;
  options.temperature = 0;
  options.ignore_eos = true;
  return options;
}

// As the model's own file says.
uint64_t TrainedContext(const std::string& model) {
  const auto inspected = Inspect({.path = TestdataPath("models/" + model)});
  SMELT_EXPECT_OK(inspected);
  for (const InspectResult::Key& key : inspected->metadata) {
    if (key.key.ends_with(".context_length")) return std::stoull(key.json);
  }
  return 0;
}

TEST(Generator, OpeningReportsItsLayersAndStopsBetweenThem) {
  GeneratorOptions options;
  options.model = TestdataPath("models/llama");
  uint64_t done = 0, total = 0;
  Observer observer;
  observer.progress = [&](const Progress& p) {
    EXPECT_EQ(p.phase, "loading");
    EXPECT_EQ(p.done, done + 1);
    done = p.done, total = p.total;
  };
  SMELT_EXPECT_OK(Generator::Open(options, observer));
  EXPECT_GT(total, 1u);
  EXPECT_EQ(done, total);

  done = 0;
  observer.cancelled = [&] { return done == 1; };
  EXPECT_EQ(CodeOf(Generator::Open(options, observer).status()), ErrorCode::kCancelled);
  EXPECT_EQ(done, 1u);
}

class GeneratorTest : public ::testing::TestWithParam<std::string> {};

TEST_P(GeneratorTest, APromptProcessedOnceIsContinuedManyTimes) {
  const std::unique_ptr<Generator> generator = Open(GetParam());
  ASSERT_NE(generator, nullptr);
  const auto prompt = generator->Encode("It was the best of times, it was the worst of times");
  SMELT_ASSERT_OK(prompt);
  SMELT_ASSERT_OK(generator->Feed(*prompt));
  const GeneratorState after = Saved(*generator);
  EXPECT_EQ(after.positions(), prompt->size());

  const auto greedy = generator->Continue(GreedyPastTheEnd(40));
  SMELT_ASSERT_OK(greedy);
  EXPECT_EQ(greedy->ids.size(), 40u);
  // Another continuation in between changes nothing for those after it.
  SMELT_ASSERT_OK(generator->Restore(after));
  ContinueOptions hot;
  hot.temperature = 3, hot.top_k = 0, hot.top_p = 1, hot.min_p = 0, hot.max_tokens = 25;
  hot.ignore_eos = true;
  SMELT_ASSERT_OK(generator->Continue(hot));
  const GeneratorState copy = after;
  SMELT_ASSERT_OK(generator->Restore(copy));
  EXPECT_EQ(generator->positions(), prompt->size());
  const auto again = generator->Continue(GreedyPastTheEnd(40));
  SMELT_ASSERT_OK(again);
  EXPECT_EQ(again->ids, greedy->ids);
  EXPECT_EQ(again->text, greedy->text);

  // The state goes to another generator of the same model, and the first one may go.
  const std::unique_ptr<Generator> other = Open(GetParam());
  ASSERT_NE(other, nullptr);
  SMELT_ASSERT_OK(other->Restore(copy));
  const auto elsewhere = other->Continue(GreedyPastTheEnd(40));
  SMELT_ASSERT_OK(elsewhere);
  EXPECT_EQ(elsewhere->ids, greedy->ids);

  // And all of it is what one call gives.
  GenerateOptions options;
  static_cast<ContinueOptions&>(options) = GreedyPastTheEnd(40);
  options.model = TestdataPath("models/" + GetParam());
  options.activations = Activations::kF32;
  options.prompt_ids = *prompt;
  options.use_prompt_ids = true;
  const auto whole = Generate(options);
  SMELT_ASSERT_OK(whole);
  EXPECT_EQ(whole->ids, greedy->ids);
}

INSTANTIATE_TEST_SUITE_P(Models, GeneratorTest,
                         ::testing::Values("llama", "gemma2", "mamba", "mamba2", "jamba"));

TEST(Generator, RefusesStatesOfOtherModelsAndIdsThatAreNone) {
  const std::unique_ptr<Generator> llama = Open("llama"), mamba = Open("mamba");
  ASSERT_TRUE(llama != nullptr && mamba != nullptr);
  EXPECT_EQ(CodeOf(llama->Restore(GeneratorState())), ErrorCode::kUsage);
  EXPECT_EQ(CodeOf(llama->Continue(GreedyPastTheEnd(1)).status()), ErrorCode::kUsage);
  const std::vector<int32_t> ids = {1, 2, 3}, bad = {1, 1 << 20};
  SMELT_ASSERT_OK(llama->Feed(ids));
  EXPECT_EQ(CodeOf(mamba->Restore(Saved(*llama))), ErrorCode::kUsage);
  EXPECT_EQ(CodeOf(llama->Feed(bad)), ErrorCode::kInvalidInput);
  EXPECT_EQ(llama->positions(), 3u);
}

/// Cancels in the middle of a Feed: after the first layer.
struct Canceller {
  bool stop = false;
  Observer observer;
  Canceller() {
    observer.progress = [this](const Progress&) { stop = true; };
    observer.cancelled = [this] { return stop; };
  }
};

TEST(Generator, AFeedThatFailsLeavesTheSequenceAsItWasOrSaysThatItCannot) {
  const std::vector<int32_t> first = {5, 9, 31, 7}, second = {12, 80, 3, 44, 2};
  for (const std::string model : {"llama", "gemma2", "mamba", "jamba"}) {
    const std::unique_ptr<Generator> whole = Open(model), broken = Open(model);
    ASSERT_TRUE(whole != nullptr && broken != nullptr);
    SMELT_ASSERT_OK(whole->Feed(first));
    // At the start every model can go back.
    EXPECT_EQ(CodeOf(broken->Feed(first, Canceller().observer)), ErrorCode::kCancelled);
    EXPECT_EQ(broken->positions(), 0u);
    SMELT_ASSERT_OK(broken->Feed(first));
    EXPECT_EQ(broken->logits(), whole->logits()) << model;
    const GeneratorState after = Saved(*broken);

    EXPECT_EQ(CodeOf(broken->Feed(second, Canceller().observer)), ErrorCode::kCancelled);
    EXPECT_EQ(broken->positions(), first.size());
    EXPECT_EQ(broken->logits(), whole->logits()) << model;
    if (model == "mamba" || model == "jamba") {
      EXPECT_EQ(CodeOf(broken->Feed(second)), ErrorCode::kUsage);
      EXPECT_EQ(CodeOf(broken->Continue(GreedyPastTheEnd(1)).status()), ErrorCode::kUsage);
      EXPECT_EQ(CodeOf(broken->Restore(Saved(*broken))), ErrorCode::kUsage);
      SMELT_ASSERT_OK(broken->Restore(after));
    }
    SMELT_ASSERT_OK(whole->Feed(second));
    SMELT_ASSERT_OK(broken->Feed(second));
    EXPECT_EQ(broken->logits(), whole->logits()) << model;
  }
}

TEST(Generator, SaysWhyATextEnds) {
  const std::unique_ptr<Generator> llama = LlamaBehindText();
  ASSERT_NE(llama, nullptr);
  const GeneratorState after = Saved(*llama);
  const auto length = llama->Continue(GreedyPastTheEnd(12));
  SMELT_ASSERT_OK(length);
  EXPECT_EQ(FinishReasonName(length->finish_reason), "length");

  SMELT_ASSERT_OK(llama->Restore(after));
  Observer observer;
  uint64_t done = 0;
  observer.progress = [&](const Progress& progress) { done = progress.done; };
  observer.cancelled = [&] { return done == 5; };
  const auto interrupted = llama->Continue(GreedyPastTheEnd(12), observer);
  SMELT_ASSERT_OK(interrupted);
  EXPECT_EQ(FinishReasonName(interrupted->finish_reason), "interrupted");
  EXPECT_EQ(interrupted->ids, std::vector<int32_t>(length->ids.begin(), length->ids.begin() + 5));

  // A prompt that is interrupted is a result too.
  GenerateOptions options;
  options.model = TestdataPath("models/llama");
  options.prompt = "It was the best of times";
  const auto never = Generate(options, Canceller().observer);
  SMELT_ASSERT_OK(never);
  EXPECT_EQ(never->finish_reason, FinishReason::kInterrupted);
  EXPECT_TRUE(never->ids.empty());
}

TEST(Generator, ATextEndsBeforeAStopTextAlsoAcrossTokens) {
  const std::unique_ptr<Generator> llama = LlamaBehindText();
  ASSERT_NE(llama, nullptr);
  const GeneratorState after = Saved(*llama);
  // Tokens drawn evenly give broken characters too: stop texts of several bytes a character.
  ContinueOptions hot = GreedyPastTheEnd(60);
  hot.temperature = 50, hot.top_k = 0, hot.top_p = 1, hot.min_p = 0, hot.seed = 3;
  const auto whole = llama->Continue(hot);
  SMELT_ASSERT_OK(whole);
  const size_t wide = whole->text.find("\xef\xbf\xbd");
  ASSERT_NE(wide, std::string::npos);
  for (const std::string& stop : {whole->text.substr(wide, 3), whole->text.substr(20, 9),
                                  whole->text.substr(0, 1), whole->text.substr(30, 40)}) {
    SMELT_ASSERT_OK(llama->Restore(after));
    ContinueOptions options = hot;
    options.stop = {"never in a text of this kind", stop};
    std::string streamed;
    options.on_text = [&](std::string_view piece) { streamed += piece; };
    const auto cut = llama->Continue(options);
    SMELT_ASSERT_OK(cut);
    EXPECT_EQ(cut->text, whole->text.substr(0, whole->text.find(stop)));
    EXPECT_EQ(streamed, cut->text);
    EXPECT_EQ(cut->finish_reason, FinishReason::kStop);
    EXPECT_LE(cut->ids.size(), whole->ids.size());
  }
  // What only began as a stop text is printed.
  SMELT_ASSERT_OK(llama->Restore(after));
  ContinueOptions options = hot;
  options.stop = {whole->text.substr(whole->text.size() - 4) + "and more"};
  EXPECT_EQ(llama->Continue(options)->text, whole->text);
}

TEST(Generator, SeedsAreRandomUnlessGiven) {
  const std::unique_ptr<Generator> llama = LlamaBehindText();
  ASSERT_NE(llama, nullptr);
  const GeneratorState after = Saved(*llama);
  ContinueOptions options = GreedyPastTheEnd(30);
  options.temperature = 2;
  const auto a = llama->Continue(options);
  SMELT_ASSERT_OK(a);
  SMELT_ASSERT_OK(llama->Restore(after));
  const auto b = llama->Continue(options);
  SMELT_ASSERT_OK(b);
  EXPECT_NE(a->seed, b->seed);
  EXPECT_NE(a->ids, b->ids);
  SMELT_ASSERT_OK(llama->Restore(after));
  options.seed = a->seed;
  EXPECT_EQ(llama->Continue(options)->ids, a->ids);
}

TEST(Generator, RefusesValuesOutOfRange) {
  const std::unique_ptr<Generator> llama = LlamaBehindText();
  ASSERT_NE(llama, nullptr);
  const auto refused = [&](const auto& change, std::string_view option) {
    ContinueOptions options;
    change(options);
    const absl::Status status = llama->Continue(options).status();
    EXPECT_EQ(CodeOf(status), ErrorCode::kUsage);
    EXPECT_NE(status.message().find({option.data(), option.size()}), std::string::npos) << status;
  };
  for (const double bad : {-1.0, std::nan(""), HUGE_VAL}) {
    refused([&](ContinueOptions& o) { o.temperature = bad; }, "--temp");
    refused([&](ContinueOptions& o) { o.top_p = bad; }, "--top-p");
    refused([&](ContinueOptions& o) { o.min_p = bad; }, "--min-p");
    refused([&](ContinueOptions& o) { o.repeat_penalty = bad; }, "--repeat-penalty");
  }
  refused([](ContinueOptions& o) { o.repeat_penalty = 0; }, "--repeat-penalty");
  refused([](ContinueOptions& o) { o.top_k = -1; }, "--top-k");
  refused([](ContinueOptions& o) { o.max_tokens = -1; }, "-n");
  refused([](ContinueOptions& o) { o.stop = {"a", ""}; }, "--stop");
}

TEST(Generator, TheTrainedContextExceededIsOneWarning) {
  const std::unique_ptr<Generator> llama = Open("llama");
  ASSERT_NE(llama, nullptr);
  std::vector<std::string> warnings;
  Observer observer;
  observer.note = [&](NoteKind kind, const std::string& sentence) {
    if (kind == NoteKind::kWarning) warnings.push_back(sentence);
  };
  const uint64_t trained = TrainedContext("llama");
  SMELT_ASSERT_OK(llama->Feed(std::vector<int32_t>(trained - 2, 5), observer));
  EXPECT_TRUE(warnings.empty());
  SMELT_ASSERT_OK(llama->Continue(GreedyPastTheEnd(3), observer));  // feeds two of them
  EXPECT_TRUE(warnings.empty());
  SMELT_ASSERT_OK(llama->Continue(GreedyPastTheEnd(6), observer));
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find(std::to_string(trained)), std::string::npos) << warnings[0];
}

TEST(Generator, LogitsThatAreNotFiniteAreAnError) {
  const testing::TempDir dir;
  ConvertOptions options =
      testing::UncheckedConversion(TestdataPath("models/llama"), dir / "broken.gguf", "f32");
  uint64_t offset = 0;
  options.on_plan = [&](const PlanSummary& plan) {
    for (const PlannedTensorInfo& t : plan.tensors) {
      if (t.name == "blk.1.ffn_down.weight") offset = t.offset;
    }
  };
  SMELT_ASSERT_OK(Convert(options));
  std::string bytes = testing::ReadFile(options.output);
  ASSERT_GT(offset, 0u);
  bytes.replace(offset, 4, "\xff\xff\xff\x7f");
  testing::WriteFile(options.output, bytes);
  GenerateOptions run;
  run.model = options.output;
  run.prompt = "It was";
  const absl::Status status = Generate(run).status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput);
  EXPECT_NE(status.message().find("broken.gguf: some logits are not finite"),
            absl::string_view::npos)
      << status;
}

TEST(Generator, ThePromptOfAFileIsItsTextWithoutTheLastEndOfLine) {
  const testing::TempDir dir;
  GenerateOptions options;
  static_cast<ContinueOptions&>(options) = GreedyPastTheEnd(4);
  options.model = TestdataPath("models/llama");
  options.prompt = " It was\nthe";
  const auto direct = Generate(options);
  SMELT_ASSERT_OK(direct);
  testing::WriteFile(dir / "prompt.txt", " It was\nthe\n");
  options.prompt = "";
  options.prompt_file = dir / "prompt.txt";
  const auto read = Generate(options);
  SMELT_ASSERT_OK(read);
  EXPECT_EQ(read->prompt_ids, direct->prompt_ids);
  testing::WriteFile(dir / "prompt.txt", "\n");
  EXPECT_EQ(CodeOf(Generate(options).status()), ErrorCode::kUsage);
}

}  // namespace
}  // namespace smelt
