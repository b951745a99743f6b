#include "smelt/evaluate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>

#include "formats/safetensors_writer.h"
#include "infer/open_backend.h"
#include "lib/base/guard.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"
#include "lib/jobs/evaluation.h"
#include "lib/jobs/evaluation_texts.h"
#include "lib/jobs/gate.h"
#include "lib/jobs/open_model.h"
#include "lib/jobs/output_name.h"
#include "lib/jobs/text_ids.h"
#include "lib/jobs/tokenizer_match.h"
#include "lib/jobs/trained_context.h"

namespace smelt {
namespace {

Precision PrecisionOf(const EvaluateOptions& options) {
  return options.q8_activations ? Precision::kQ8 : Precision::kF32;
}

/// The texts' ids by the model's tokenizer; with a reference, only if that reads the same.
absl::StatusOr<EvaluationTexts> TextsFor(const ModelSource& model, const ModelSource* reference,
                                         const EvaluateOptions& options, const Observer& observer) {
  SMELT_ASSIGN_OR_RETURN(const std::vector<NamedText> texts,
                         ReadEvaluationTexts(options.text_files, observer));
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = TokenizerOf(model);
  if (!tokenizer.ok() && options.tokens_file.empty()) return tokenizer.status();
  if (reference != nullptr) {
    SMELT_RETURN_IF_ERROR(
        CheckSameTokens(model, *reference, texts, options.allow_tokenizer_mismatch, observer));
  }
  if (options.tokens_file.empty()) return Encode(texts, *std::move(tokenizer));
  EvaluationTexts out;
  out.names.push_back(options.tokens_file);
  SMELT_ASSIGN_OR_RETURN(out.ids.emplace_back(),
                         ReadIdsFile(options.tokens_file, VocabularyRows(model)));
  // The same protocol: the model's rule about the beginning token applies where it is known.
  if (tokenizer.ok()) out.tokenizer = *std::move(tokenizer);
  return out;
}

/// Said of the model that was trained for less.
void WarnBeyondContext(const ModelSource& model, const ModelSource* reference,
                       const EvaluationTexts& texts, const ScoreOptions& options,
                       const Observer& observer) {
  uint64_t longest = 0;
  for (const std::vector<int32_t>& ids : texts.ids)
    longest = std::max(longest, ChunksOf(ids.size(), options).context);
  const uint64_t other = reference == nullptr ? 0 : TrainedContext(*reference);
  const bool says_reference = other != 0 && other < TrainedContext(model);
  WarnBeyondTrainedContext(says_reference ? *reference : model, longest, observer);
}

absl::Status CheckOptions(const EvaluateOptions& options) {
  if (options.text_files.empty() == options.tokens_file.empty()) {
    return Error(ErrorCode::kUsage, "one of --text and --tokens is needed");
  }
  if (!options.logits_out.empty() && options.tokens_file.empty()) {
    return Error(ErrorCode::kUsage,
                 "--logits-out needs --tokens: a JSON list of ids, run as one sequence");
  }
  if (options.reference.empty() && options.allow_tokenizer_mismatch) {
    return Error(ErrorCode::kUsage,
                 "--allow-tokenizer-mismatch is about a comparison: name a model with --reference");
  }
  if (options.reference.empty() && (options.max_ppl_increase || options.max_kl)) {
    return Error(ErrorCode::kUsage,
                 "--max-ppl-increase and --max-kl compare with a model: name it with --reference");
  }
  if (!options.logits_out.empty() && (!options.reference.empty() || options.max_ppl)) {
    return Error(ErrorCode::kUsage,
                 "--logits-out writes logits and nothing else; leave --reference and limits out");
  }
  SMELT_RETURN_IF_ERROR(CheckLimit("--max-ppl", options.max_ppl));
  SMELT_RETURN_IF_ERROR(CheckLimit("--max-ppl-increase", options.max_ppl_increase));
  SMELT_RETURN_IF_ERROR(CheckLimit("--max-kl", options.max_kl));
  if (options.context < 4) return Error(ErrorCode::kUsage, "--context must be at least 4");
  return absl::OkStatus();
}

/// What is read is not written over.
absl::Status CheckLogitsOut(const EvaluateOptions& options) {
  SMELT_RETURN_IF_ERROR(RefuseStandardOutput(options.logits_out, "--logits-out"));
  std::vector<std::string> inputs = {options.tokens_file};
  if (const auto path = ResolveModel(options.model); path.ok()) inputs.push_back(*path);
  for (const std::string& input : inputs) {
    if (IsPartOfSource(options.logits_out, input)) {
      return Error(ErrorCode::kUsage, Escape(options.logits_out),
                   " is an input itself; choose another file with --logits-out");
    }
  }
  return absl::OkStatus();
}

/// Logits of one sequence, written to a safetensors file; the statistics are those of predicting
/// each id from those before it.
absl::StatusOr<EvaluateResult> WriteLogits(const ModelSource& model, const EvaluateOptions& options,
                                           const DeviceOptions& device, const Observer& observer) {
  SMELT_RETURN_IF_ERROR(CheckLogitsOut(options));
  SMELT_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                         ReadIdsFile(options.tokens_file, VocabularyRows(model)));
  if (ids.empty())
    return Error(ErrorCode::kInvalidInput, Escape(options.tokens_file),
                 ": the list of ids is empty");
  WarnBeyondTrainedContext(model, ids.size(), observer);
  std::unique_ptr<SafetensorsWriter> writer;
  EvaluateResult result;
  const auto start = std::chrono::steady_clock::now();
  double sum = 0, squares = 0;
  SMELT_RETURN_IF_ERROR(ComputeLogits(
      model, ids, PrecisionOf(options),
      [&](uint64_t position, std::span<const float> logits) -> absl::Status {
        if (writer == nullptr) {
          SMELT_ASSIGN_OR_RETURN(writer,
                                 SafetensorsWriter::Create(options.logits_out, "logits",
                                                           {ids.size(), logits.size()}, true));
        }
        if (position + 1 < ids.size()) {
          double max = -INFINITY, total = 0;
          for (float x : logits) max = std::fmax(max, x);
          for (float x : logits) total += std::exp(x - max);
          const double nll = max + std::log(total) - logits[static_cast<size_t>(ids[position + 1])];
          sum += nll;
          squares += nll * nll;
          ++result.tokens_scored;
        }
        return writer->Append(logits);
      },
      observer, device));
  SMELT_RETURN_IF_ERROR(writer->Finish());
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (result.seconds > 0)
    result.tokens_per_second = static_cast<double>(ids.size()) / result.seconds;
  result.model = options.model;
  result.device = device.device;
  result.context = ids.size();
  result.chunks = 1;
  if (result.tokens_scored > 0) {
    const double n = static_cast<double>(result.tokens_scored);
    result.mean_nll = sum / n;
    result.perplexity = std::exp(result.mean_nll);
    if (n > 1) {
      const double variance = std::fmax(squares / n - result.mean_nll * result.mean_nll, 0);
      result.perplexity_error = result.perplexity * std::sqrt(variance / (n - 1));
    }
  }
  return result;
}

}  // namespace

EvaluateResult ToEvaluateResult(const ScoreResult& score, const std::string& model,
                                const std::string& reference) {
  EvaluateResult out;
  out.model = model;
  out.chunks = score.chunks;
  out.tokens_scored = score.tokens_scored;
  out.perplexity = score.perplexity;
  out.perplexity_error = score.perplexity_error;
  out.mean_nll = score.mean_nll;
  out.seconds = score.seconds;
  out.tokens_per_second =
      score.seconds > 0 ? static_cast<double>(score.tokens_processed) / score.seconds : 0;
  if (!score.reference) return out;
  const ScoreResult::Reference& r = *score.reference;
  out.reference =
      ReferenceResult{reference, r.perplexity, r.kl_mean,        r.kl_median, r.kl_p99,
                      r.kl_p999, r.kl_max,     r.top1_agreement, r.ln_ratio,  r.ln_ratio_error};
  return out;
}

void Judge(std::string name, double limit, double value, EvaluateResult& result) {
  GateResult gate{std::move(name), limit, value, value <= limit};
  result.passed = result.passed && gate.passed;
  result.gates.push_back(std::move(gate));
}

absl::StatusOr<EvaluateResult> Evaluate(const EvaluateOptions& options,
                                        const Observer& watcher) try {
  const JobScope job(watcher);
  const Observer& observer = job.observer();
  SMELT_RETURN_IF_ERROR(CheckOptions(options));
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<ModelSource> model,
                         OpenModelByName(options.model, WithAdapters(options.adapters), observer));
  SMELT_ASSIGN_OR_RETURN(const DeviceOptions device,
                         ChooseDevice(options.device, PrecisionOf(options), observer));
  if (!options.logits_out.empty()) return WriteLogits(*model, options, device, observer);
  std::unique_ptr<ModelSource> reference;
  if (!options.reference.empty()) {
    SMELT_ASSIGN_OR_RETURN(reference, OpenModelByName(options.reference, {}, observer));
  }
  SMELT_ASSIGN_OR_RETURN(const EvaluationTexts texts,
                         TextsFor(*model, reference.get(), options, observer));
  ScoreOptions score_options{.context = options.context,
                             .chunks = options.chunks,
                             .precision = PrecisionOf(options),
                             .device = device};
  texts.SetBos(score_options);
  SMELT_RETURN_IF_ERROR(DescribeShortTexts(texts, score_options, observer));
  WarnBeyondContext(*model, reference.get(), texts, score_options, observer);
  SMELT_ASSIGN_OR_RETURN(const ScoreResult score,
                         Score(*model, reference.get(), texts.ids, score_options, observer));
  EvaluateResult result = ToEvaluateResult(score, options.model, options.reference);
  result.device = device.device;
  AddTexts(texts, score_options, score, result);
  const auto check_finite = [&](bool finite, const std::string& name) {
    if (finite) return;
    observer.Warn(Cat(Escape(name), ": some logits are not finite; the figures mean nothing"));
    result.passed = false;
  };
  check_finite(score.finite, options.model);
  if (score.reference) check_finite(score.reference->finite, options.reference);
  if (options.max_ppl) Judge("max_ppl", *options.max_ppl, result.perplexity, result);
  if (options.max_ppl_increase) {
    Judge("max_ppl_increase", *options.max_ppl_increase, std::expm1(result.reference->ln_ratio),
          result);
  }
  if (options.max_kl) Judge("max_kl", *options.max_kl, result.reference->kl_mean, result);
  return result;
} catch (...) {
  return CaughtError();
}

}  // namespace smelt
