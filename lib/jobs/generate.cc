#include "smelt/generate.h"

#include <algorithm>
#include <chrono>
#include <memory>

#include "infer/sampler.h"
#include "infer/session.h"
#include "lib/base/status.h"
#include "lib/jobs/open_model.h"
#include "lib/jobs/text_ids.h"

namespace smelt {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double Rate(uint64_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

absl::Status CheckOptions(const GenerateOptions& options) {
  if (options.max_tokens < 0)
    return Error(ErrorCode::kUsage, "the number of tokens must not be negative");
  if (options.top_k < 0) return Error(ErrorCode::kUsage, "--top-k must not be negative");
  if (!(options.top_p >= 0 && options.top_p <= 1) || !(options.min_p >= 0 && options.min_p <= 1)) {
    return Error(ErrorCode::kUsage, "--top-p and --min-p lie between 0 and 1");
  }
  if (!(options.repeat_penalty > 0))
    return Error(ErrorCode::kUsage, "--repeat-penalty must be above 0; 1 is none");
  return absl::OkStatus();
}

SamplerOptions ToSamplerOptions(const GenerateOptions& o) {
  return {.temperature = o.temperature,
          .top_k = o.top_k,
          .top_p = o.top_p,
          .min_p = o.min_p,
          .repeat_penalty = o.repeat_penalty,
          .seed = o.seed};
}

absl::StatusOr<std::vector<int32_t>> PromptIds(const GenerateOptions& options,
                                               const Tokenizer* tokenizer, uint64_t vocabulary) {
  std::vector<int32_t> ids = options.prompt_ids;
  if (!options.use_prompt_ids) {
    SMELT_ASSIGN_OR_RETURN(
        ids, tokenizer->Encode(options.prompt, {.add_special = true, .parse_special = true}));
  }
  if (ids.empty())
    return Error(ErrorCode::kUsage,
                 "the prompt is empty: the model needs at least one token to go on from");
  for (int32_t id : ids) {
    if (id < 0 || static_cast<uint64_t>(id) >= vocabulary)
      return Error(ErrorCode::kInvalidInput, "prompt id ", id, " is not below the vocabulary's ",
                   vocabulary);
  }
  return ids;
}

/// Text of the ids as they come; without a tokenizer there is none.
class TextOut {
 public:
  TextOut(const Tokenizer* tokenizer, const GenerateOptions& options, std::string& text)
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
  const GenerateOptions& options_;
  std::string& text_;
};

}  // namespace

absl::StatusOr<GenerateResult> Generate(const GenerateOptions& options, const Observer& observer) {
  SMELT_RETURN_IF_ERROR(CheckOptions(options));
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<ModelSource> source,
                         OpenModelByName(options.model, {}, observer));
  absl::StatusOr<std::unique_ptr<Tokenizer>> opened = TokenizerOf(*source);
  if (!opened.ok() && !options.use_prompt_ids) return opened.status();
  const Tokenizer* tokenizer = opened.ok() ? opened->get() : nullptr;
  if (tokenizer == nullptr)
    observer.Note("the model has no tokenizer that we know: ids only, no text");

  GenerateResult result;
  SMELT_ASSIGN_OR_RETURN(
      const std::unique_ptr<Session> session,
      Session::Create(*source, options.f32_activations ? Activations::kF32 : Activations::kQ8,
                      (options.use_prompt_ids ? options.prompt_ids.size() : options.prompt.size()) +
                          static_cast<uint64_t>(options.max_tokens) + 1));
  SMELT_ASSIGN_OR_RETURN(result.prompt_ids, PromptIds(options, tokenizer, session->vocabulary()));

  std::vector<float> logits;
  Clock::time_point start = Clock::now();
  SMELT_RETURN_IF_ERROR(session->Feed(result.prompt_ids, logits));
  result.prompt_tokens_per_second = Rate(result.prompt_ids.size(), SecondsSince(start));

  Sampler sampler(ToSamplerOptions(options));
  TextOut text(tokenizer, options, result.text);
  std::vector<int32_t> history = result.prompt_ids;
  start = Clock::now();
  uint64_t fed = 0;
  while (static_cast<int64_t>(result.ids.size()) < options.max_tokens) {
    if (observer.Cancelled()) break;
    const int32_t id = sampler.Next(logits, history);
    const bool end = tokenizer != nullptr && tokenizer->ends_generation(id) && !options.ignore_eos;
    if (end) break;
    result.ids.push_back(id);
    history.push_back(id);
    text.Push(id);
    observer.Report({.phase = "generating",
                     .done = result.ids.size(),
                     .total = static_cast<uint64_t>(options.max_tokens),
                     .unit = "tokens"});
    if (static_cast<int64_t>(result.ids.size()) == options.max_tokens) break;
    SMELT_RETURN_IF_ERROR(session->Feed(std::span(&id, 1), logits));
    ++fed;
  }
  text.Finish();
  result.tokens_per_second = Rate(fed, SecondsSince(start));
  return result;
}

}  // namespace smelt
