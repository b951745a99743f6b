// `convert` and `quantize`: open, plan, fill, check, commit.
#include "smelt/convert.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "lib/base/ascii.h"
#include "lib/base/folder.h"
#include "lib/base/guard.h"
#include "lib/base/job_scope.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/jobs/fill.h"
#include "lib/jobs/gate.h"
#include "lib/jobs/memory_estimate.h"
#include "lib/jobs/metadata_edit.h"
#include "lib/jobs/open_model.h"
#include "lib/jobs/output_name.h"
#include "lib/jobs/plan.h"
#include "lib/jobs/plan_file.h"
#include "lib/jobs/plan_importance.h"
#include "lib/jobs/plan_layout.h"
#include "lib/jobs/vocabulary_edits.h"
#include "lib/jobs/walk.h"
#include "lib/model/lora_file.h"
#include "lib/model/recipe.h"
#include "quant/simd.h"

namespace smelt {
namespace {

using Clock = std::chrono::steady_clock;

PlanOptions ToPlanOptions(const ConvertOptions& o) {
  return {.type = o.type,
          .pure = o.pure,
          .output_tensor_type = o.output_tensor_type,
          .token_embedding_type = o.token_embedding_type,
          .tensor_types = o.tensor_types,
          .metadata = o.metadata,
          .allow_fallback = o.allow_fallback,
          .allow_requantize = o.allow_requantize,
          .effort = o.effort,
          .imatrix = o.imatrix,
          .calibration = o.calibration_files,
          .calibration_tokens = o.calibration_tokens,
          .adapters = o.adapters,
          .base = o.base,
          .mtp = o.mtp,
          .pre = o.pre,
          .allow_tokenizer_mismatch = o.allow_tokenizer_mismatch,
          .split_size = o.split_size,
          .split_tensors = o.split_tensors};
}

/// What is being converted, and how: everything before the first byte.
struct Job {
  std::unique_ptr<ModelSource> source;
  Plan plan;
  std::string output;              ///< as asked for
  std::vector<std::string> files;  ///< names of the plan's files: it, or its parts

  /// What a reader opens.
  const std::string& first() const { return files.front(); }
};

/// An adapter alone cannot be evaluated.
Validate ValidationOf(const ConvertOptions& options) {
  return options.adapter_only ? Validate::kOff : options.validate;
}

bool IsValidated(const ConvertOptions& options) { return ValidationOf(options) != Validate::kOff; }

std::vector<std::string> RejectedNames(const Job& job) {
  return FileNames(job.output + ".rejected", job.files.size());
}

/// The adapter that is to be written by itself.
absl::StatusOr<std::unique_ptr<ModelSource>> OpenAdapterOnly(const ConvertOptions& options,
                                                             const Observer& observer) {
  const bool named = !options.adapters.empty();  // then the source is the base
  if (options.adapters.size() > 1 || (named && !options.base.empty())) {
    return Error(
        ErrorCode::kUsage,
        "an adapter by itself: name one adapter, and its base with --base or as the model");
  }
  SMELT_RETURN_IF_ERROR(InitSimd());
  const std::string& base = named ? options.source : options.base;
  SMELT_ASSIGN_OR_RETURN(OpenedModel opened,
                         OpenAsLoraFile(named ? options.adapters[0].first : options.source,
                                        named ? options.adapters[0].second : 1, base));
  for (const std::string& note : opened.notes) observer.Note(note);
  for (const std::string& warning : opened.warnings) observer.Warn(warning);
  return std::move(opened.source);
}

// Every matrix of an adapter has the one type that was asked for.
absl::StatusOr<Plan> PlanAdapter(const ModelSource& source, PlanOptions options) {
  const std::string name = UpperAscii(options.type);
  const TensorType types[] = {TensorType::kF32, TensorType::kF16, TensorType::kBF16};
  const auto* const type =
      std::ranges::find_if(types, [&](TensorType t) { return name == Info(t).name; });
  if (name != "AUTO" && type == std::end(types)) {
    return Error(ErrorCode::kUsage, "--type ", Escape(options.type, 40),
                 " is no type of an adapter: f32 (the default), f16 or bf16");
  }
  if (name == "AUTO") options.type = "f32";
  FixedTypes fixed;
  fixed.types.assign(source.tensors().size(),
                     {name == "AUTO" ? TensorType::kF32 : *type, "as asked"});
  return MakePlan(source, options, &fixed);
}

// A plain safetensors file is no model; its matrices can be quantized, but not evaluated.
absl::StatusOr<std::unique_ptr<ModelSource>> OpenSource(const ConvertOptions& options,
                                                        const PlanOptions& plan_options,
                                                        const Observer& observer) {
  if (options.adapter_only) return OpenAdapterOnly(options, observer);
  if (!options.source.ends_with(".safetensors") || !IsFile(options.source)) {
    const std::string& mtp = plan_options.mtp;
    if (!mtp.empty() && mtp != "keep" && mtp != "drop")
      return Error(ErrorCode::kUsage, "mtp is ", Escape(mtp, 40), ": write keep or drop");
    std::optional<bool> keep_draft;
    if (!mtp.empty()) keep_draft = mtp == "keep";
    return OpenModelByName(options.source,
                           {.vocabulary = true,
                            .pre = plan_options.pre,
                            .allow_tokenizer_mismatch = plan_options.allow_tokenizer_mismatch,
                            .adapters = plan_options.adapters,
                            .base = plan_options.base,
                            .keep_draft = keep_draft},
                           observer);
  }
  if (!plan_options.adapters.empty() || !plan_options.base.empty()) {
    return Error(ErrorCode::kUnsupported, Escape(options.source),
                 " is a plain safetensors file: adapters are merged into a model's folder");
  }
  if (plan_options.gathers()) {
    return Error(ErrorCode::kUnsupported, Escape(options.source),
                 " is a plain safetensors file: without a model there is nothing to run for ",
                 plan_options.effort == "best" ? "--effort best; take normal"
                                               : "--imatrix auto; name a file");
  }
  if (IsValidated(options)) {
    return Error(ErrorCode::kUnsupported, Escape(options.source),
                 " is a plain safetensors file: for a model name its folder; to convert bare "
                 "matrices, which cannot be "
                 "evaluated, add --validate off");
  }
  SMELT_RETURN_IF_ERROR(InitSimd());
  SMELT_ASSIGN_OR_RETURN(OpenedModel matrices, OpenMatrices(options.source));
  for (const std::string& warning : matrices.warnings) observer.Warn(warning);
  return std::move(matrices.source);
}

/// Text of the plan file, when there is one.
absl::StatusOr<std::optional<std::string>> ReadPlanFile(const ConvertOptions& options) {
  if (options.plan_file.empty() || !Exists(options.plan_file)) return std::optional<std::string>();
  SMELT_ASSIGN_OR_RETURN(std::string text, ReadTextFile(options.plan_file));
  return std::optional<std::string>(std::move(text));
}

absl::StatusOr<std::string> OutputPath(const ConvertOptions& options, const ModelSource& source,
                                       const Plan& plan) {
  std::string path = options.output;
  SMELT_RETURN_IF_ERROR(RefuseStandardOutput(path, "-o"));
  SMELT_RETURN_IF_ERROR(RefuseStandardOutput(options.plan_file, "--plan"));
  if (path.empty()) return DefaultOutputName(source, plan);
  if (IsFolder(path)) {
    if (!path.ends_with('/')) path += '/';
    path += DefaultOutputName(source, plan);
  }
  return path;
}

absl::Status CheckIsNotInput(const std::string& output, const ConvertOptions& options) {
  if (!Exists(output)) return absl::OkStatus();
  const absl::StatusOr<std::string> source = ResolveModel(options.source);
  if (!source.ok() || !IsPartOfSource(output, *source)) return absl::OkStatus();
  return Error(ErrorCode::kUsage, Escape(output),
               " is the input itself; choose another output with -o");
}

absl::Status CheckIsNotOther(const std::string& output, const ConvertOptions& options) {
  std::vector<std::string> others = options.text_files;
  others.push_back(options.plan_file);
  others.push_back(options.imatrix);
  others.insert(others.end(), options.calibration_files.begin(), options.calibration_files.end());
  for (const std::string& other : others) {
    std::error_code error;
    if (other.empty() || (other != output && !std::filesystem::equivalent(other, output, error)))
      continue;
    return Error(
        ErrorCode::kUsage, Escape(output),
        " is a text, the plan or the importance matrix too; choose another output with -o");
  }
  return absl::OkStatus();
}

absl::Status CheckOutputPaths(const Job& job, const ConvertOptions& options) {
  if (options.keep_rejected) {
    for (const std::string& name : RejectedNames(job)) {
      SMELT_RETURN_IF_ERROR(CheckIsNotInput(name, options));
      SMELT_RETURN_IF_ERROR(CheckOutput(name, options.force));
    }
  }
  for (const std::string& name : job.files) {
    SMELT_RETURN_IF_ERROR(CheckIsNotInput(name, options));
    SMELT_RETURN_IF_ERROR(CheckIsNotOther(name, options));
  }
  // Other parts than the first may be those of an interrupted run: OpenPartialOutput judges them.
  return CheckOutput(job.first(), options.force);
}

/// Whether codes of the source become numbers of 16 bits or more.
bool WidensCodes(const ModelSource& source, const Plan& plan) {
  return std::ranges::any_of(plan.tensors, [&](const PlannedTensor& t) {
    const int at = source.Find(t.name);
    if (at < 0 || Info(t.type).quantized) return false;
    const Recipe* const recipe = source.tensors()[static_cast<size_t>(at)].recipe;
    return recipe != nullptr && recipe->code_bits() != 0;
  });
}

absl::StatusOr<Job> PlanJob(const ConvertOptions& options, const Observer& observer) {
  Job job;
  if (options.adapter_only && !options.plan_file.empty())
    return Error(ErrorCode::kUsage, "a plan file is for models: an adapter is written without one");
  SMELT_ASSIGN_OR_RETURN(const std::optional<std::string> saved, ReadPlanFile(options));
  PlanOptions plan_options = ToPlanOptions(options);
  PlanOptions recorded = plan_options;
  if (saved) {
    SMELT_ASSIGN_OR_RETURN(recorded, OptionsOfPlanFile(*saved, options.plan_file));
  }
  SMELT_ASSIGN_OR_RETURN(job.source, OpenSource(options, recorded, observer));
  SMELT_ASSIGN_OR_RETURN(plan_options.metadata,
                         ResolveEdits(plan_options.metadata, job.source->metadata()));
  if (saved) {
    SMELT_ASSIGN_OR_RETURN(job.plan,
                           PlanFromJson(*saved, options.plan_file, *job.source, plan_options));
    observer.Note(Cat("replaying the plan ", Escape(options.plan_file)));
  } else if (options.adapter_only) {
    SMELT_ASSIGN_OR_RETURN(job.plan, PlanAdapter(*job.source, plan_options));
  } else {
    SMELT_ASSIGN_OR_RETURN(job.plan, MakePlan(*job.source, plan_options));
  }
  for (const std::string& warning : job.plan.warnings) observer.Warn(warning);
  if (!job.plan.fallbacks.kinds.empty())
    observer.Note(FallbackNote(job.plan.fallbacks, job.plan.bits_per_weight()));
  if (UpperAscii(options.type) == "AUTO" && WidensCodes(*job.source, job.plan)) {
    observer.Note(
        "the source holds its weights in 8 bits or fewer: --type q8_0 would do, in half the bytes");
  }
  SMELT_RETURN_IF_ERROR(CheckVocabularyEdits(job.source->metadata(), job.plan.options.metadata,
                                             IsValidated(options), observer));
  SMELT_ASSIGN_OR_RETURN(job.output, OutputPath(options, *job.source, job.plan));
  job.files = FileNames(job.output, job.plan.files.size());
  const PlanOptions& o = job.plan.options;
  if ((o.split_size > 0 || o.split_tensors > 0) && job.files.size() == 1)
    observer.Note(Cat("all fits into one file, which is not split: ", Escape(job.output)));
  return job;
}

absl::Status SavePlan(const Job& job, const ConvertOptions& options, const Observer& observer) {
  if (options.plan_file.empty() || Exists(options.plan_file)) return absl::OkStatus();
  SMELT_RETURN_IF_ERROR(WriteFileAtomically(options.plan_file, PlanToJson(job.plan), false));
  observer.Note(Cat("the plan is in ", Escape(options.plan_file)));
  return absl::OkStatus();
}

/// How the source holds a tensor: "BF16", "GPTQ".
std::string StoredAs(const Job& job, const PlannedTensor& tensor) {
  const Recipe* recipe = job.source->tensors()[tensor.source].recipe;
  const std::string format = recipe == nullptr ? "" : recipe->computed_as();
  return format.empty() ? std::string(Info(tensor.source_type).name) : format;
}

std::string MostCommonType(const Job& job) {
  std::map<std::string, uint64_t> elements;
  for (const PlannedTensor& t : job.plan.tensors) elements[StoredAs(job, t)] += t.shape.elements();
  const auto most =
      std::max_element(elements.begin(), elements.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == elements.end() ? std::string() : most->first;
}

std::string TokenizerName(const Metadata& metadata) {
  const std::string model = metadata.StringOr("tokenizer.ggml.model", "").value_or("");
  const std::string pre = metadata.StringOr("tokenizer.ggml.pre", "").value_or("");
  return pre.empty() || pre == "default" ? model : pre;
}

std::vector<TypeFallback> PublicFallbacks(const Fallbacks& fallbacks) {
  std::vector<TypeFallback> out;
  for (const Fallback& f : fallbacks.kinds) {
    out.push_back({.type = std::string(Info(f.type).name),
                   .instead_of = std::string(Info(f.instead_of).name),
                   .tensors = f.tensors,
                   .first = f.first});
  }
  return out;
}

std::vector<OutputFile> PublicFiles(const Job& job) {
  std::vector<OutputFile> out;
  for (size_t i = 0; i < job.files.size(); ++i) {
    const PlannedFile& file = job.plan.files[i];
    out.push_back({.path = job.files[i], .bytes = file.bytes, .tensors = file.tensors});
  }
  return out;
}

PlanSummary Summarize(const Job& job, const ConvertOptions& options) {
  const Plan& plan = job.plan;
  PlanSummary out;
  out.source = options.source;
  out.output = job.first();
  out.files = PublicFiles(job);
  out.type = plan.type;
  out.architecture = plan.architecture;
  out.source_type = MostCommonType(job);
  out.tokenizer = TokenizerName(job.source->metadata());
  out.file_bytes = plan.file_bytes;
  out.parameters = plan.parameters;
  out.bits_per_weight = plan.bits_per_weight();
  out.matrices = plan.fallbacks.matrices;
  out.fallbacks = PublicFallbacks(plan.fallbacks);
  out.warnings = plan.warnings;
  out.walk = DescribeWalk(plan, ValidationOf(options));
  if (plan.importance != nullptr) out.importance = plan.options.imatrix;
  if (plan.gathering) out.importance = plan.gathering->Describe();
  out.memory_bytes = EstimateMemory(plan, Threads(), options);
  for (const PlannedTensor& t : plan.tensors) {
    PlannedTensorInfo info;
    info.name = t.name;
    info.type = Info(t.type).name;
    info.source_type = StoredAs(job, t);
    info.why = t.why;
    info.shape.assign(t.shape.ne.begin(), t.shape.ne.begin() + t.shape.dims);
    info.file = t.file;
    info.offset = t.offset;
    info.bytes = t.bytes;
    out.tensors.push_back(std::move(info));
  }
  return out;
}

std::string Megabytes(uint64_t bytes) { return Cat((bytes + 500'000) / 1'000'000, " MB"); }

void TellAboutEarlierRun(const PartialOutput& output, const Plan& plan, const Observer& observer) {
  if (output.resumed) {
    observer.Note(Cat("resuming: ", Megabytes(output.done_bytes), " of ",
                      Megabytes(plan.file_bytes),
                      " were written by an earlier run and have the right checksums"));
  } else if (!output.restarted.empty()) {
    observer.Note(
        Cat("starting over: an earlier run's part cannot be continued, ", output.restarted));
  }
}

// Failures after which the next run goes on from what is there. Everything else would fail again.
bool KeepsPart(ErrorCode code) {
  return code == ErrorCode::kCancelled || code == ErrorCode::kIo || code == ErrorCode::kNoSpace ||
         code == ErrorCode::kOutOfMemory;
}

absl::Status Interrupted(const Job& job) {
  return Error(ErrorCode::kCancelled, "interrupted; ", Escape(job.first()), ".part",
               job.files.size() == 1 ? " keeps" : " and those beside it keep",
               " what was done: run the same command again to resume");
}

// What to try after a missed gate.
absl::Status GateMissed(const Job& job, const EvaluateResult& validation,
                        const ConvertOptions& options) {
  std::string what;
  for (const GateResult& gate : validation.gates) {
    if (gate.passed) continue;
    if (!std::isfinite(gate.value)) continue;
    const bool kl = gate.name == "max_kl";
    char text[120];
    std::snprintf(text, sizeof(text),
                  kl ? "KL divergence %.4g (limit %.4g)" : "perplexity %+.3g%% (limit %+.3g%%)",
                  kl ? gate.value : gate.value * 100, kl ? gate.limit : gate.limit * 100);
    what += what.empty() ? text : Cat(", ", text);
  }
  if (what.empty()) what = "its logits are not finite";
  return Error(ErrorCode::kGateMissed, Escape(job.first()),
               " was not written: the result differs too much from the source: ", what,
               "; try a finer --type, raise --max-kl or --max-ppl-increase",
               options.keep_rejected ? "" : ", or look at it with --keep-rejected");
}

// Nothing of a refused output stays; one that the gate rejected may be kept under another name.
absl::Status Reject(const Job& job, const absl::Status& why, const ConvertOptions& options,
                    PartialOutput& output) {
  if (CodeOf(why) != ErrorCode::kGateMissed || !options.keep_rejected) {
    output.Discard();
    return why;
  }
  const std::vector<std::string> names = RejectedNames(job);
  const absl::Status kept = output.CommitAs(names, options.force);
  output.Discard();
  return Error(ErrorCode::kGateMissed, std::string(why.message()),
               kept.ok() ? Cat("; it is kept as ", Escape(names.front()))
                         : Cat("; it could not be kept: ", std::string(kept.message())));
}

/// Fills the part and checks it; after an error the caller decides what stays.
absl::Status FillAndCheck(const Job& job, const ConvertOptions& options,
                          const std::vector<NamedText>& texts, const Observer& observer,
                          PartialOutput& output, MemoryPeak& peak,
                          std::optional<EvaluateResult>& validation) {
  const Walk walk{*job.source, job.plan, options,    ValidationOf(options),
                  texts,       observer, job.first()};
  SMELT_ASSIGN_OR_RETURN(validation, WalkThrough(walk, output, peak));
  if (!validation) return absl::OkStatus();
  if (options.on_validation) options.on_validation(*validation);
  return validation->passed ? absl::OkStatus() : GateMissed(job, *validation, options);
}

}  // namespace

absl::StatusOr<PlanSummary> PlanConversion(const ConvertOptions& options,
                                           const Observer& watcher) try {
  const JobScope scope(watcher);
  const Observer& observer = scope.observer();
  SMELT_ASSIGN_OR_RETURN(const Job job, PlanJob(options, observer));
  SMELT_RETURN_IF_ERROR(SavePlan(job, options, observer));
  return Summarize(job, options);
} catch (...) {
  return CaughtError();
}

absl::StatusOr<ConvertResult> Convert(const ConvertOptions& options, const Observer& watcher) try {
  const JobScope scope(watcher);
  const Observer& observer = scope.observer();
  const Clock::time_point start = Clock::now();
  SMELT_RETURN_IF_ERROR(CheckLimit("--max-kl", options.max_kl));
  SMELT_RETURN_IF_ERROR(CheckLimit("--max-ppl-increase", options.max_ppl_increase));
  SMELT_ASSIGN_OR_RETURN(const Job job, PlanJob(options, observer));
  SMELT_RETURN_IF_ERROR(CheckOutputPaths(job, options));
  std::vector<NamedText> texts;
  if (job.plan.gathering || IsValidated(options))
    SMELT_RETURN_IF_ERROR(CheckEvaluable(*job.source));
  if (IsValidated(options)) {
    SMELT_ASSIGN_OR_RETURN(texts, ReadGateTexts(options, observer));
  }
  SMELT_RETURN_IF_ERROR(SavePlan(job, options, observer));
  if (options.on_plan) options.on_plan(Summarize(job, options));

  SMELT_ASSIGN_OR_RETURN(PartialOutput output,
                         OpenPartialOutput(job.files, job.plan, options.force, observer));
  TellAboutEarlierRun(output, job.plan, observer);
  ConvertResult result;
  MemoryPeak peak;
  const absl::Status status = Guarded(
      [&] { return FillAndCheck(job, options, texts, observer, output, peak, result.validation); });
  if (!status.ok()) {
    if (!KeepsPart(CodeOf(status))) return Reject(job, status, options, output);
    return CodeOf(status) == ErrorCode::kCancelled ? Interrupted(job) : status;
  }
  SMELT_RETURN_IF_ERROR(output.CommitAs(job.files, options.force));

  result.output = job.first();
  result.files = PublicFiles(job);
  result.type = job.plan.type;
  result.bytes = job.plan.file_bytes;
  result.bits_per_weight = job.plan.bits_per_weight();
  result.tensors = job.plan.tensors.size();
  result.fallbacks = PublicFallbacks(job.plan.fallbacks);
  result.warnings = job.plan.warnings;
  result.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  result.peak_anonymous_bytes = peak.bytes();
  result.resumed = output.resumed;
  return result;
} catch (...) {
  return CaughtError();
}

}  // namespace smelt
