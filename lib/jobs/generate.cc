#include "smelt/generate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>

#include "infer/sampler.h"
#include "infer/session.h"
#include "lib/base/status.h"
#include "lib/jobs/open_model.h"
#include "lib/jobs/text_ids.h"

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

absl::Status CheckOptions(const ContinueOptions& options) {
  if (options.max_tokens < 0)
    return Error(ErrorCode::kUsage, "the number of tokens must not be negative");
  if (std::isnan(options.temperature)) return Error(ErrorCode::kUsage, "--temp is no number");
  if (options.top_k < 0) return Error(ErrorCode::kUsage, "--top-k must not be negative");
  if (!(options.top_p >= 0 && options.top_p <= 1) || !(options.min_p >= 0 && options.min_p <= 1)) {
    return Error(ErrorCode::kUsage, "--top-p and --min-p lie between 0 and 1");
  }
  if (!(options.repeat_penalty > 0))
    return Error(ErrorCode::kUsage, "--repeat-penalty must be above 0; 1 is none");
  return absl::OkStatus();
}

SamplerOptions ToSamplerOptions(const ContinueOptions& o) {
  return {.temperature = o.temperature,
          .top_k = o.top_k,
          .top_p = o.top_p,
          .min_p = o.min_p,
          .repeat_penalty = o.repeat_penalty,
          .seed = o.seed};
}

/// Text of the ids as they come; without a tokenizer there is none.
class TextOut {
 public:
  TextOut(const Tokenizer* tokenizer, const ContinueOptions& options, std::string& text)
      : decoder_(tokenizer != nullptr ? std::make_unique<StreamDecoder>(
                                            *tokenizer, DecodeOptions{.show_special = false})
                                      : nullptr),
        options_(options),
        text_(text) {}

  void Push(int32_t id) {
    if (decoder_ != nullptr) Emit(decoder_->Push(id));
  }
  void Finish() {
    if (decoder_ != nullptr) Emit(decoder_->Finish());
  }

 private:
  void Emit(const std::string& piece) {
    if (piece.empty()) return;
    text_ += piece;
    if (options_.on_text) options_.on_text(piece);
  }

  std::unique_ptr<StreamDecoder> decoder_;
  const ContinueOptions& options_;
  std::string& text_;
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
  std::vector<int32_t> recent;  // the last ids, for the sampler
  std::vector<float> logits;

  void Remember(std::span<const int32_t> ids) {
    recent.insert(recent.end(), ids.begin(), ids.end());
    if (recent.size() > kPenaltyWindow)
      recent.erase(recent.begin(), recent.end() - static_cast<ptrdiff_t>(kPenaltyWindow));
  }
};

Generator::Generator(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Generator::~Generator() = default;

absl::StatusOr<std::unique_ptr<Generator>> Generator::Open(const GeneratorOptions& options,
                                                           const Observer& observer) {
  auto impl = std::make_unique<Impl>();
  SMELT_ASSIGN_OR_RETURN(impl->source, OpenModelByName(options.model, {}, observer));
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = TokenizerOf(*impl->source);
  if (tokenizer.ok()) {
    impl->tokenizer = *std::move(tokenizer);
  } else {
    impl->no_tokenizer = tokenizer.status();
  }
  SMELT_ASSIGN_OR_RETURN(
      impl->session,
      Session::Create(*impl->source, options.f32_activations ? Activations::kF32 : Activations::kQ8,
                      0));
  return std::unique_ptr<Generator>(new Generator(std::move(impl)));
}

uint64_t Generator::vocabulary() const { return impl_->session->vocabulary(); }
bool Generator::has_tokenizer() const { return impl_->tokenizer != nullptr; }
const std::vector<float>& Generator::logits() const { return impl_->logits; }
uint64_t Generator::positions() const { return impl_->positions; }

absl::StatusOr<std::vector<int32_t>> Generator::Encode(std::string_view text, bool start) const {
  if (impl_->tokenizer == nullptr) return impl_->no_tokenizer;
  return impl_->tokenizer->Encode(text, {.add_special = start, .parse_special = true});
}

absl::Status Generator::Feed(std::span<const int32_t> ids) {
  for (const int32_t id : ids) {
    if (id < 0 || static_cast<uint64_t>(id) >= vocabulary()) {
      return Error(ErrorCode::kInvalidInput, "prompt id ", id, " is not below the vocabulary's ",
                   vocabulary());
    }
  }
  SMELT_RETURN_IF_ERROR(impl_->session->Feed(ids, impl_->logits));
  impl_->positions += ids.size();
  impl_->Remember(ids);
  return absl::OkStatus();
}

GeneratorState Generator::Save() const {
  auto data = std::make_shared<GeneratorState::Data>();
  data->session = impl_->session->Save();
  data->model = impl_->source->identity();
  data->positions = impl_->positions;
  data->recent = impl_->recent;
  data->logits = impl_->logits;
  GeneratorState state;
  state.data_ = std::move(data);
  return state;
}

absl::Status Generator::Restore(const GeneratorState& state) {
  if (state.data_ == nullptr)
    return Error(ErrorCode::kUsage, "the state to restore is of no model: Save() makes states");
  if (state.data_->model != impl_->source->identity())
    return Error(ErrorCode::kUsage, "the state to restore belongs to another model");
  SMELT_RETURN_IF_ERROR(impl_->session->Restore(*state.data_->session));
  impl_->positions = state.data_->positions;
  impl_->recent = state.data_->recent;
  impl_->logits = state.data_->logits;
  return absl::OkStatus();
}

absl::StatusOr<GenerateResult> Generator::Continue(const ContinueOptions& options,
                                                   const Observer& observer) {
  SMELT_RETURN_IF_ERROR(CheckOptions(options));
  if (impl_->positions == 0)
    return Error(ErrorCode::kUsage,
                 "the prompt is empty: the model needs at least one token to go on from");
  const Tokenizer* tokenizer = impl_->tokenizer.get();
  GenerateResult result;
  Sampler sampler(ToSamplerOptions(options));
  TextOut text(tokenizer, options, result.text);
  const uint64_t before = impl_->positions;
  const Clock::time_point start = Clock::now();
  while (static_cast<int64_t>(result.ids.size()) < options.max_tokens) {
    if (observer.Cancelled()) break;
    const int32_t id = sampler.Next(impl_->logits, impl_->recent);
    const bool end = tokenizer != nullptr && tokenizer->ends_generation(id) && !options.ignore_eos;
    if (end) break;
    result.ids.push_back(id);
    text.Push(id);
    observer.Report({.phase = "generating",
                     .done = result.ids.size(),
                     .total = static_cast<uint64_t>(options.max_tokens),
                     .unit = "tokens"});
    if (static_cast<int64_t>(result.ids.size()) == options.max_tokens) break;
    SMELT_RETURN_IF_ERROR(Feed(std::span(&id, 1)));
  }
  text.Finish();
  result.tokens_per_second = Rate(impl_->positions - before, SecondsSince(start));
  return result;
}

absl::StatusOr<GenerateResult> Generate(const GenerateOptions& options, const Observer& observer) {
  SMELT_RETURN_IF_ERROR(CheckOptions(options));
  SMELT_ASSIGN_OR_RETURN(
      const std::unique_ptr<Generator> generator,
      Generator::Open({.model = options.model, .f32_activations = options.f32_activations},
                      observer));
  if (!generator->has_tokenizer() && options.use_prompt_ids)
    observer.Note("the model has no tokenizer that we know: ids only, no text");
  std::vector<int32_t> ids = options.prompt_ids;
  if (!options.use_prompt_ids) {
    SMELT_ASSIGN_OR_RETURN(ids, generator->Encode(options.prompt));
  }
  if (ids.empty())
    return Error(ErrorCode::kUsage,
                 "the prompt is empty: the model needs at least one token to go on from");
  const Clock::time_point start = Clock::now();
  SMELT_RETURN_IF_ERROR(generator->Feed(ids));
  const double rate = Rate(ids.size(), SecondsSince(start));
  SMELT_ASSIGN_OR_RETURN(GenerateResult result, generator->Continue(options, observer));
  result.prompt_ids = std::move(ids);
  result.prompt_tokens_per_second = rate;
  return result;
}

}  // namespace smelt
