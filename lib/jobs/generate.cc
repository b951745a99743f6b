#include "smelt/generate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <random>

#include "infer/open_backend.h"
#include "infer/sampler.h"
#include "infer/session.h"
#include "lib/base/guard.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"
#include "lib/jobs/generation_setup.h"
#include "lib/jobs/open_model.h"
#include "lib/jobs/text_ids.h"
#include "lib/jobs/trained_context.h"

namespace smelt {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kPenaltyWindow = 64;  // ids that the sampler looks back at: its default

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double Rate(uint64_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

absl::Status CheckOptions(const ContinueOptions& o) {
  const auto within = [](double value, double low, double high) {
    return value >= low && value <= high;  // NaN is not
  };
  if (o.max_tokens < 0)
    return Error(ErrorCode::kUsage, "-n: the number of tokens must not be negative");
  if (!(o.temperature >= 0 && std::isfinite(o.temperature)))
    return Error(ErrorCode::kUsage, "--temp is 0 (the most probable token) or a number above it");
  if (o.top_k < 0) return Error(ErrorCode::kUsage, "--top-k must not be negative; 0 is all");
  if (!within(o.top_p, 0, 1)) return Error(ErrorCode::kUsage, "--top-p lies between 0 and 1");
  if (!within(o.min_p, 0, 1)) return Error(ErrorCode::kUsage, "--min-p lies between 0 and 1");
  if (!within(o.repeat_penalty, 0.01, 100))
    return Error(ErrorCode::kUsage, "--repeat-penalty lies between 0.01 and 100; 1 is none");
  if (std::any_of(o.stop.begin(), o.stop.end(), [](const auto& text) { return text.empty(); }))
    return Error(ErrorCode::kUsage, "--stop: an empty text would end every text at once");
  return absl::OkStatus();
}

SamplerOptions ToSamplerOptions(const ContinueOptions& o, uint64_t seed) {
  return {.temperature = o.temperature,
          .top_k = o.top_k,
          .top_p = o.top_p,
          .min_p = o.min_p,
          .repeat_penalty = o.repeat_penalty,
          .seed = seed};
}

// Short enough to be typed, and exact in every reader of JSON.
uint64_t ChosenSeed(const ContinueOptions& options) {
  if (options.seed) return *options.seed;
  return options.temperature > 0 ? std::random_device{}() & 0xffffffff : 0;
}

absl::Status EmptyPrompt() {
  return Error(ErrorCode::kUsage,
               "the prompt is empty: the model needs at least one token to go on from");
}

// How much of the end of `text` begins one of `stops`.
size_t BegunStop(std::string_view text, const std::vector<std::string>& stops) {
  size_t begun = 0;
  for (const std::string& stop : stops) {
    for (size_t n = std::min(text.size(), stop.size() - 1); n > begun; --n) {
      if (text.ends_with(std::string_view(stop).substr(0, n))) begun = n;
    }
  }
  return begun;
}

/// Text of the ids as they come, up to the first stop text; without a tokenizer there is none.
class TextOut {
 public:
  TextOut(const Tokenizer* tokenizer, const ContinueOptions& options, std::string& text)
      : tokenizer_(tokenizer), options_(options), text_(text) {
    if (tokenizer != nullptr) decoder_ = Decoder();
  }

  void Push(int32_t id) {
    if (decoder_ == nullptr) return;
    if (std::ranges::find(options_.shown_tokens, id) == options_.shown_tokens.end())
      return Take(decoder_->Push(id));
    Take(decoder_->Finish() + tokenizer_->Piece(id));
    decoder_ = Decoder();
  }
  /// A stop text has come.
  bool stopped() const { return stopped_; }
  void Finish() {
    if (decoder_ != nullptr && !stopped_) Take(decoder_->Finish());
    if (!stopped_) Emit(held_);
  }

 private:
  std::unique_ptr<StreamDecoder> Decoder() const {
    return std::make_unique<StreamDecoder>(*tokenizer_, DecodeOptions{.show_special = false});
  }
  // What may yet become a stop text is held back.
  void Take(const std::string& piece) {
    held_ += piece;
    size_t at = std::string::npos;
    for (const std::string& stop : options_.stop) at = std::min(at, held_.find(stop));
    stopped_ = at != std::string::npos;
    const size_t sure = stopped_ ? at : held_.size() - BegunStop(held_, options_.stop);
    Emit(held_.substr(0, sure));
    held_.erase(0, sure);
  }
  void Emit(const std::string& piece) {
    if (piece.empty()) return;
    text_ += piece;
    if (options_.on_text) options_.on_text(piece);
  }

  const Tokenizer* tokenizer_;
  std::unique_ptr<StreamDecoder> decoder_;
  const ContinueOptions& options_;
  std::string& text_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace

struct GeneratorState::Data {
  std::shared_ptr<const SessionState> session;
  std::string model;  // identity of the source
  uint64_t positions = 0;
  std::vector<int32_t> recent;
  std::vector<float> logits;
};

GeneratorState::GeneratorState() = default;
GeneratorState::GeneratorState(const GeneratorState&) = default;
GeneratorState& GeneratorState::operator=(const GeneratorState&) = default;
GeneratorState::~GeneratorState() = default;
uint64_t GeneratorState::positions() const { return data_ == nullptr ? 0 : data_->positions; }

struct Generator::Impl {
  std::unique_ptr<ModelSource> source;
  std::unique_ptr<Tokenizer> tokenizer;  // or none
  absl::Status no_tokenizer;
  std::unique_ptr<Session> session;
  uint64_t positions = 0;
  bool warned = false;
  std::vector<int32_t> recent;  // the last ids, for the sampler
  std::string device;           // that computes
  std::vector<float> logits;

  void Remember(std::span<const int32_t> ids) {
    recent.insert(recent.end(), ids.begin(), ids.end());
    if (recent.size() > kPenaltyWindow)
      recent.erase(recent.begin(), recent.end() - static_cast<ptrdiff_t>(kPenaltyWindow));
  }

  void WarnBeyond(uint64_t length, const Observer& observer) {
    if (!warned) warned = WarnBeyondTrainedContext(*source, length, observer);
  }

  absl::Status CheckFinite() const {
    if (std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); }))
      return absl::OkStatus();
    return Error(ErrorCode::kInvalidInput, Escape(source->name()),
                 ": some logits are not finite (after token ", positions,
                 " of the text): the model is broken");
  }
};

Generator::Generator(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Generator::~Generator() = default;

absl::StatusOr<std::unique_ptr<Generator>> Generator::Open(const GeneratorOptions& options,
                                                           const Observer& watcher) try {
  const JobScope job(watcher);
  const Observer& observer = job.observer();
  auto impl = std::make_unique<Impl>();
  SMELT_ASSIGN_OR_RETURN(impl->source,
                         OpenModelByName(options.model, WithAdapters(options.adapters), observer));
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = TokenizerOf(*impl->source);
  if (tokenizer.ok()) {
    impl->tokenizer = *std::move(tokenizer);
  } else {
    impl->no_tokenizer = tokenizer.status();
  }
  SMELT_ASSIGN_OR_RETURN(const GenerationSetup setup,
                         ChooseGenerationSetup(*impl->source, WishesOf(options), observer));
  const std::string& device = setup.device.device;
  impl->device = device;
  SpecifiedModel model{.source = impl->source.get(), .spec = {}};
  SMELT_ASSIGN_OR_RETURN(model.spec, ReadModelSpec(*impl->source));
  SMELT_ASSIGN_OR_RETURN(impl->session, OpenSession(model, setup));
  if (const auto layers = impl->session->device_layers();
      layers && *layers < impl->session->layers()) {
    observer.Note(Cat(*layers, " of ", impl->session->layers(), " layers run on ", device,
                      ", the others on the processor"));
  }
  return std::unique_ptr<Generator>(new Generator(std::move(impl)));
} catch (...) {
  return CaughtError();
}

uint64_t Generator::vocabulary() const { return impl_->session->vocabulary(); }
const std::string& Generator::device() const { return impl_->device; }
bool Generator::has_tokenizer() const { return impl_->tokenizer != nullptr; }
const std::vector<float>& Generator::logits() const { return impl_->logits; }
uint64_t Generator::positions() const { return impl_->positions; }

absl::StatusOr<std::vector<int32_t>> Generator::Encode(std::string_view text, bool start) const
    try {
  if (impl_->tokenizer == nullptr) return impl_->no_tokenizer;
  return impl_->tokenizer->Encode(text,
                                  {.add_special = start, .add_end = false, .parse_special = true});
} catch (...) {
  return CaughtError();
}

std::vector<int32_t> Generator::TokensOf(std::span<const std::string_view> texts) const {
  std::vector<int32_t> ids(texts.size(), -1);
  const size_t count = impl_->tokenizer == nullptr ? 0 : impl_->tokenizer->size();
  for (size_t id = 0; id < count; ++id) {
    const std::string piece = impl_->tokenizer->Piece(static_cast<int32_t>(id));
    for (size_t i = 0; i < texts.size(); ++i) {
      if (piece == texts[i]) ids[i] = static_cast<int32_t>(id);
    }
  }
  return ids;
}

absl::Status Generator::Feed(std::span<const int32_t> ids, const Observer& watcher) try {
  const JobScope job(watcher);
  for (const int32_t id : ids) {
    if (id < 0 || static_cast<uint64_t>(id) >= vocabulary()) {
      return Error(ErrorCode::kInvalidInput, "prompt id ", id, " is not below the vocabulary's ",
                   vocabulary());
    }
  }
  impl_->WarnBeyond(impl_->positions + ids.size(), job.observer());
  SMELT_RETURN_IF_ERROR(impl_->session->Feed(ids, impl_->logits, job.observer()));
  impl_->positions += ids.size();
  impl_->Remember(ids);
  return absl::OkStatus();
} catch (...) {
  return CaughtError();
}

absl::StatusOr<GeneratorState> Generator::Save() const try {
  auto data = std::make_shared<GeneratorState::Data>();
  data->session = impl_->session->Save();
  data->model = impl_->source->identity();
  data->positions = impl_->positions;
  data->recent = impl_->recent;
  data->logits = impl_->logits;
  GeneratorState state;
  state.data_ = std::move(data);
  return state;
} catch (...) {
  return CaughtError();
}

absl::Status Generator::Restore(const GeneratorState& state) try {
  if (state.data_ == nullptr)
    return Error(ErrorCode::kUsage, "the state to restore is of no model: Save() makes states");
  if (state.data_->model != impl_->source->identity())
    return Error(ErrorCode::kUsage, "the state to restore belongs to another model");
  SMELT_RETURN_IF_ERROR(impl_->session->Restore(*state.data_->session));
  impl_->positions = state.data_->positions;
  impl_->recent = state.data_->recent;
  impl_->logits = state.data_->logits;
  return absl::OkStatus();
} catch (...) {
  return CaughtError();
}

absl::StatusOr<GenerateResult> Generator::Continue(const ContinueOptions& options,
                                                   const Observer& watcher) try {
  SMELT_RETURN_IF_ERROR(CheckOptions(options));
  SMELT_RETURN_IF_ERROR(impl_->session->CheckWhole());
  if (impl_->positions == 0) return EmptyPrompt();
  const Tokenizer* tokenizer = impl_->tokenizer.get();
  if (tokenizer == nullptr && !options.stop.empty())
    return Error(ErrorCode::kUsage, "--stop: the model has no tokenizer that we know, so no text");
  const JobScope job(watcher);
  // How far the text is, not how far each of its tokens.
  Observer quiet = job.observer();
  quiet.progress = nullptr;
  GenerateResult result;
  result.seed = ChosenSeed(options);
  result.device = impl_->device;
  result.device_layers = impl_->session->device_layers();
  result.activations = ActivationsOf(*impl_->session);
  Sampler sampler(ToSamplerOptions(options, result.seed));
  TextOut text(tokenizer, options, result.text);
  const uint64_t before = impl_->positions;
  const Clock::time_point start = Clock::now();
  absl::Status fed;
  while (static_cast<int64_t>(result.ids.size()) < options.max_tokens) {
    if (fed = GoOn(); !fed.ok()) break;
    SMELT_RETURN_IF_ERROR(impl_->CheckFinite());
    const int32_t id = sampler.Next(impl_->logits, impl_->recent);
    const bool end = tokenizer != nullptr && tokenizer->ends_generation(id) && !options.ignore_eos;
    if (end) result.finish_reason = FinishReason::kStop;
    if (end) break;
    result.ids.push_back(id);
    text.Push(id);
    job.observer().Report({.phase = "generating",
                           .done = result.ids.size(),
                           .total = static_cast<uint64_t>(options.max_tokens),
                           .unit = "tokens"});
    if (text.stopped()) result.finish_reason = FinishReason::kStop;
    if (text.stopped() || static_cast<int64_t>(result.ids.size()) == options.max_tokens) break;
    if (fed = Feed(std::span(&id, 1), quiet); !fed.ok()) break;
  }
  if (!fed.ok() && CodeOf(fed) != ErrorCode::kCancelled) return fed;
  if (!fed.ok()) result.finish_reason = FinishReason::kInterrupted;
  text.Finish();
  result.tokens_per_second = Rate(impl_->positions - before, SecondsSince(start));
  return result;
} catch (...) {
  return CaughtError();
}

namespace {

absl::StatusOr<std::vector<int32_t>> PromptIds(const Generator& generator,
                                               const GenerateOptions& options,
                                               const Observer& observer) {
  if (options.use_prompt_ids) return options.prompt_ids;
  if (options.prompt_file.empty()) return generator.Encode(options.prompt);
  SMELT_ASSIGN_OR_RETURN(const std::string text, ReadEvaluationText(options.prompt_file, observer));
  if (text.empty()) {
    return Error(ErrorCode::kUsage,
                 options.prompt_file == "-" ? "standard input" : Escape(options.prompt_file),
                 " is empty: give a PROMPT, or a text to go on from");
  }
  return generator.Encode(text);
}

// Everything but the interruption, which Generate makes a result of.
absl::Status GenerateInto(const GenerateOptions& options, const Observer& observer,
                          GenerateResult& result) {
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<Generator> generator,
                         Generator::Open({.model = options.model,
                                          .activations = options.activations,
                                          .device = options.device,
                                          .repack = options.repack,
                                          .adapters = options.adapters},
                                         observer));
  if (!generator->has_tokenizer() && options.use_prompt_ids)
    observer.Note("the model has no tokenizer that we know: ids only, no text");
  SMELT_ASSIGN_OR_RETURN(result.prompt_ids, PromptIds(*generator, options, observer));
  if (result.prompt_ids.empty()) return EmptyPrompt();
  const Clock::time_point start = Clock::now();
  SMELT_RETURN_IF_ERROR(generator->Feed(result.prompt_ids, observer));
  const double rate = Rate(result.prompt_ids.size(), SecondsSince(start));
  std::vector<int32_t> ids = std::move(result.prompt_ids);
  SMELT_ASSIGN_OR_RETURN(result, generator->Continue(options, observer));
  result.prompt_ids = std::move(ids);
  result.prompt_tokens_per_second = rate;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GenerateResult> Generate(const GenerateOptions& options,
                                        const Observer& observer) try {
  SMELT_RETURN_IF_ERROR(CheckOptions(options));
  const JobScope job(observer);
  GenerateOptions seeded = options;
  GenerateResult result;
  seeded.seed = result.seed = ChosenSeed(options);
  const absl::Status status = GenerateInto(seeded, job.observer(), result);
  if (status.ok()) return result;
  if (CodeOf(status) != ErrorCode::kCancelled) return status;
  result.finish_reason = FinishReason::kInterrupted;
  return result;
} catch (...) {
  return CaughtError();
}

std::string_view FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kInterrupted:
      return "interrupted";
  }
  return "";
}

}  // namespace smelt
