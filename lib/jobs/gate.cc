#include "lib/jobs/gate.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "infer/evaluation.h"
#include "infer/open_backend.h"
#include "infer/score.h"
#include "lib/base/status.h"
#include "lib/jobs/bundled_text.h"
#include "lib/jobs/evaluation.h"
#include "lib/jobs/evaluation_texts.h"
#include "lib/jobs/text_ids.h"
#include "lib/jobs/trained_context.h"
#include "lib/jobs/vocabulary_edits.h"
#include "lib/model/layer_spec.h"

namespace smelt {
namespace {

/// Parameters up to which a quick check takes so many positions: a token costs 2 operations a
/// parameter and model, and encoding a weight about as much as evaluating it at 100 positions.
/// Never fewer than 128.
struct Quick {
  uint64_t parameters, positions;
};
constexpr Quick kQuick[] = {{160'000'000, 512}, {320'000'000, 256}, {UINT64_MAX, 128}};
constexpr uint64_t kQuickContext = 256;
constexpr uint64_t kQuickBatch = 512;
constexpr uint64_t kFullContext = 512;
constexpr uint64_t kShortestContext = 8;  ///< below it hardly a position is judged

struct Limit {
  double bits;  ///< of the coarsest type, at least
  double limit;
};
constexpr Limit kLimits[] = {{16, 0.05}, {8, 0.1}, {6, 0.3}, {5, 0.6}, {4, 1.2}, {3, 2.4}, {0, 5}};

double BitsOfType(TensorType type) {
  const TensorTypeInfo& info = Info(type);
  return 8.0 * info.block_bytes / info.block_elements;
}

double CoarsestBits(const Plan& plan) {
  std::map<double, uint64_t> elements;
  for (const PlannedTensor& t : plan.tensors) elements[BitsOfType(t.type)] += t.shape.elements();
  for (const auto& [bits, count] : elements) {
    if (count * 16 >= plan.parameters) return bits;
  }
  return 32;
}

/// Ids to evaluate on, and how.
struct Material {
  EvaluationTexts texts;
  ScoreOptions score;
  bool text = true;  ///< false: random ids, on which perplexity says nothing
};

EvaluationTexts RandomIds(uint64_t vocabulary, size_t count) {
  std::mt19937 random(1);
  EvaluationTexts out;
  out.names.emplace_back("random ids");
  std::vector<int32_t>& ids = out.ids.emplace_back(count);
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % vocabulary);
  return out;
}

absl::StatusOr<EvaluationTexts> TextsOf(const ModelSource& source, const Plan& plan,
                                        const ConvertOptions& options,
                                        const std::vector<NamedText>& texts,
                                        const Observer& observer) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = TokenizerOf(source);
  if (!tokenizer.ok()) {
    if (!options.text_files.empty() || CodeOf(tokenizer.status()) == ErrorCode::kInvalidInput)
      return tokenizer.status();
    observer.Note(
        "no tokenizer that we know: checking on random ids (the KL divergence counts, the "
        "perplexity does not)");
    return RandomIds(std::max<uint64_t>(VocabularyRows(source), 1), 2 * QuickPositions(plan));
  }
  return Encode(texts, *std::move(tokenizer));
}

/// Chunks of each text, so that all of them together are about as many positions as a quick check
/// takes.
uint64_t QuickChunks(const Plan& plan, const Material& m) {
  const uint64_t texts = std::max<uint64_t>(m.texts.ids.size(), 1);
  return std::max<uint64_t>(1, QuickPositions(plan) / m.score.context / texts);
}

absl::StatusOr<Material> MakeMaterial(const ModelSource& source, const Plan& plan,
                                      const ConvertOptions& options,
                                      const std::vector<NamedText>& texts,
                                      const Observer& observer) {
  Material m;
  SMELT_ASSIGN_OR_RETURN(m.score.device, ChooseDevice(options.device));
  SMELT_ASSIGN_OR_RETURN(m.texts, TextsOf(source, plan, options, texts, observer));
  m.text = m.texts.tokenizer != nullptr;
  m.texts.SetBos(m.score);
  const CheckPositions positions = PositionsOfCheck(plan, options);
  m.score.context = positions.chunk;
  m.score.batch_tokens = positions.batch;
  if (const uint64_t trained = TrainedContext(source); trained > 0)
    m.score.context = std::min(m.score.context, trained);
  size_t longest = 0;
  for (const std::vector<int32_t>& ids : m.texts.ids) longest = std::max(longest, ids.size());
  if (longest < kShortestContext) {
    return Error(ErrorCode::kInvalidInput, "the text of the check gives only ", longest,
                 " tokens; give a longer one with --text, or --validate off");
  }
  SMELT_RETURN_IF_ERROR(DescribeShortTexts(m.texts, m.score, observer));
  if (options.validate != Validate::kFull) m.score.chunks = QuickChunks(plan, m);
  return m;
}

void WarnAboutSource(const ScoreResult& score, const ModelSource& source,
                     const Observer& observer) {
  const double guessing = static_cast<double>(VocabularyRows(source));
  if (guessing > 0 && score.reference->perplexity >= 0.8 * guessing) {
    observer.Warn(
        Cat("the source itself predicts text about as badly as guessing (perplexity ",
            std::round(score.reference->perplexity), " with ", static_cast<uint64_t>(guessing),
            " tokens): untrained weights, a wrong tokenizer, or a model that we read wrongly"));
  }
}

void JudgeAll(const ScoreResult& score, const Plan& plan, const ConvertOptions& options,
              EvaluateResult& result) {
  const ScoreResult::Reference& r = *score.reference;
  const double limit = BreakageLimit(plan);
  Judge("max_kl", options.max_kl.value_or(limit), r.kl_mean, result);
  if (options.max_ppl_increase) {
    Judge("max_ppl_increase", *options.max_ppl_increase, std::expm1(r.ln_ratio), result);
  } else {
    // Only what lies beyond two standard errors counts: a few hundred positions are a small sample.
    Judge("max_ppl_increase", std::expm1(limit), std::expm1(r.ln_ratio - 2 * r.ln_ratio_error),
          result);
  }
  if (!score.finite) result.passed = false;
}

class TextGate : public Gate {
 public:
  TextGate(std::span<const WrittenModel> written, const ModelSource& source,
           const ConvertOptions& options, const Observer& observer, MemoryPeak& peak)
      : written_(written.begin(), written.end()),
        source_{.source = &source, .spec = {}},
        options_(options),
        observer_(observer),
        peak_(peak),
        watched_(observer) {
    watched_.progress = [this](const Progress& progress) { Show(progress); };
  }

  absl::Status OpenModels(const std::vector<NamedText>& texts) {
    std::vector<SpecifiedModel> models;
    for (const WrittenModel& written : written_) {
      SpecifiedModel& model = models.emplace_back();
      model.source = written.model;
      SMELT_ASSIGN_OR_RETURN(model.spec, ReadModelSpec(*written.model));
    }
    SMELT_ASSIGN_OR_RETURN(source_.spec, ReadModelSpec(*source_.source));
    SMELT_ASSIGN_OR_RETURN(
        material_, MakeMaterial(*source_.source, *written_[0].plan, options_, texts, observer_));
    SMELT_ASSIGN_OR_RETURN(evaluation_, Evaluation::Open(models, &source_, material_.texts.ids,
                                                         material_.score, watched_));
    return absl::OkStatus();
  }

  size_t layers() const override { return evaluation_->layers(); }
  absl::Status Begin() override { return evaluation_->Begin(); }
  // Between steps others want the memory.
  absl::Status Step(size_t layer) override {
    const absl::Status status = evaluation_->Step(layer);
    evaluation_->Trim();
    return status;
  }

  absl::StatusOr<std::vector<EvaluateResult>> Finish() override {
    alone_ = true;
    SMELT_RETURN_IF_ERROR(evaluation_->Finish());
    while (evaluation_->more()) SMELT_RETURN_IF_ERROR(evaluation_->Round());
    SMELT_ASSIGN_OR_RETURN(const std::vector<ScoreResult> scores, evaluation_->Results());
    peak_.Sample();
    const std::string& source = source_.source->name();
    if (!scores[0].reference->finite) {
      return Error(ErrorCode::kGateMissed, Escape(source),
                   " gives logits that are not finite, so nothing can be compared with it; "
                   "--validate off converts without checking the result");
    }
    if (material_.text) WarnAboutSource(scores[0], *source_.source, observer_);
    std::vector<EvaluateResult> results;
    for (size_t i = 0; i < scores.size(); ++i) {
      EvaluateResult& result =
          results.emplace_back(ToEvaluateResult(scores[i], written_[i].model->name(), source));
      result.device = material_.score.device.device;
      AddTexts(material_.texts, material_.score, scores[i], result);
      JudgeAll(scores[i], *written_[i].plan, options_, result);
    }
    return results;
  }

 private:
  // While somebody writes, the progress is theirs.
  void Show(const Progress& progress) {
    peak_.Sample();
    if (!alone_) return;
    Progress renamed = progress;
    renamed.phase = "checking";
    observer_.Report(renamed);
  }

  const std::vector<WrittenModel> written_;
  SpecifiedModel source_;
  const ConvertOptions& options_;
  const Observer& observer_;
  MemoryPeak& peak_;
  Observer watched_;
  Material material_;
  std::unique_ptr<Evaluation> evaluation_;
  bool alone_ = false;
};

}  // namespace

double BreakageLimit(const Plan& plan) {
  const double bits = CoarsestBits(plan);
  for (const Limit& l : kLimits) {
    if (bits >= l.bits) return l.limit;
  }
  return kLimits[std::size(kLimits) - 1].limit;
}

uint64_t QuickPositions(const Plan& plan) {
  for (const Quick& quick : kQuick) {
    if (plan.parameters <= quick.parameters) return quick.positions;
  }
  return 128;
}

CheckPositions PositionsOfCheck(const Plan& plan, const ConvertOptions& options) {
  if (options.validate == Validate::kFull)
    return {.chunk = kFullContext, .batch = ScoreOptions{}.batch_tokens};
  const uint64_t all = QuickPositions(plan), chunk = std::min(kQuickContext, all);
  // A chunk of every text at least.
  return {.chunk = chunk, .batch = std::clamp(options.text_files.size() * chunk, all, kQuickBatch)};
}

absl::Status CheckLimit(std::string_view option, std::optional<double> limit) {
  if (!limit || (*limit >= 0 && std::isfinite(*limit))) return absl::OkStatus();
  return Error(ErrorCode::kUsage, option, " is ", *limit, "; a limit is a number from 0 on");
}

absl::Status CheckEvaluable(const ModelSource& source) {
  constexpr std::string_view kWithout = "; --validate off converts without checking the result";
  const absl::StatusOr<ModelSpec> spec = ReadModelSpec(source);
  if (!spec.ok() && CodeOf(spec.status()) != ErrorCode::kUnsupported) return spec.status();
  if (!spec.ok())
    return Error(ErrorCode::kUnsupported, std::string(spec.status().message()), kWithout);
  const uint64_t longest = spec->context_length;
  if (longest > 0 && longest < kShortestContext) {
    return Error(ErrorCode::kUnsupported, Escape(source.name()), ": the model's own context (",
                 "context_length, max_position_embeddings) is ", longest,
                 " tokens, and the check needs ", kShortestContext, kWithout);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<NamedText>> ReadGateTexts(const ConvertOptions& options,
                                                     const Observer& observer) {
  if (!options.text_files.empty()) return ReadEvaluationTexts(options.text_files, observer);
  return std::vector<NamedText>{{"the bundled text", std::string(BundledText())}};
}

absl::StatusOr<std::unique_ptr<Gate>> Gate::Open(std::span<const WrittenModel> written,
                                                 const ModelSource& source,
                                                 const ConvertOptions& options,
                                                 const std::vector<NamedText>& texts,
                                                 const Observer& observer, MemoryPeak& peak) {
  for (const WrittenModel& w : written) {
    SMELT_RETURN_IF_ERROR(
        CheckWrittenVocabulary(source.metadata(), w.plan->options.metadata, w.model->metadata()));
  }
  auto gate = std::make_unique<TextGate>(written, source, options, observer, peak);
  SMELT_RETURN_IF_ERROR(gate->OpenModels(texts));
  return std::unique_ptr<Gate>(std::move(gate));
}

absl::StatusOr<EvaluateResult> RunGate(const ModelSource& written, const ModelSource& source,
                                       const Plan& plan, const ConvertOptions& options,
                                       const std::vector<NamedText>& texts,
                                       const Observer& observer, MemoryPeak& peak) {
  const WrittenModel model{&written, &plan};
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<Gate> gate,
                         Gate::Open({&model, 1}, source, options, texts, observer, peak));
  SMELT_RETURN_IF_ERROR(gate->Begin());
  for (size_t layer = 0; layer < gate->layers(); ++layer) SMELT_RETURN_IF_ERROR(gate->Step(layer));
  SMELT_ASSIGN_OR_RETURN(std::vector<EvaluateResult> results, gate->Finish());
  return std::move(results[0]);
}

}  // namespace smelt
