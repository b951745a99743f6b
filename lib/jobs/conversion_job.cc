#include "lib/jobs/conversion_job.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>

#include "lib/base/ascii.h"
#include "lib/base/atomic_file.h"
#include "lib/base/folder.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/jobs/journal.h"
#include "lib/jobs/metadata_edit.h"
#include "lib/jobs/open_model.h"
#include "lib/jobs/output_name.h"
#include "lib/jobs/plan_file.h"
#include "lib/jobs/plan_layout.h"
#include "lib/jobs/sized_plan.h"
#include "lib/jobs/vocabulary_edits.h"
#include "lib/model/lora_file.h"
#include "lib/model/recipe.h"
#include "quant/simd.h"

namespace smelt {
namespace {

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
          .statistics = o.statistics,
          .adapters = o.adapters,
          .base = o.base,
          .mtp = o.mtp,
          .pre = o.pre,
          .allow_tokenizer_mismatch = o.allow_tokenizer_mismatch,
          .split_size = o.split_size,
          .split_tensors = o.split_tensors};
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

SizeTarget SizeTargetOf(const ConvertOptions& options) {
  return {.bytes = options.target_size, .bits_per_weight = options.target_bpw};
}

/// Where an output goes that nobody has named.
std::string InFolder(std::string folder, const ModelSource& source, const Plan& plan,
                     const ConvertOptions& options) {
  if (!folder.empty() && !folder.ends_with('/')) folder += '/';
  return folder + DefaultOutputName(source, plan, NameOf(SizeTargetOf(options)));
}

absl::StatusOr<std::string> OutputPath(const ConvertOptions& options, const ModelSource& source,
                                       const Plan& plan, bool several) {
  const std::string& path = options.output;
  if (path.empty() || IsFolder(path)) return InFolder(path, source, plan, options);
  if (!several) return path;
  if (path.ends_with('/')) return InFolder(path, source, plan, options);
  return Error(ErrorCode::kUsage, "several types make several files: -o ", Escape(path),
               " is no folder; write ", Escape(path), "/ to have it made");
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
  others.push_back(options.tensor_types_file);
  others.push_back(options.imatrix);
  others.push_back(options.statistics);
  others.insert(others.end(), options.calibration_files.begin(), options.calibration_files.end());
  for (const std::string& other : others) {
    std::error_code error;
    if (other.empty() || (other != output && !std::filesystem::equivalent(other, output, error)))
      continue;
    return Error(
        ErrorCode::kUsage, Escape(output),
        " is a text, the plan, a list of types, the statistics or the importance matrix too; "
        "choose another output with -o");
  }
  return absl::OkStatus();
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

/// What is gathered once is what every plan says.
absl::Status CheckSameGathering(const ConversionJob& job) {
  const Gathering* first = nullptr;
  for (const ConversionOutput& output : job.outputs) {
    if (!output.plan.gathering) continue;
    if (first == nullptr) first = &*output.plan.gathering;
    if (first->Identity() == output.plan.gathering->Identity()) continue;
    return Error(ErrorCode::kInvalidInput, Escape(first->Dataset()),
                 ": the calibration text changed while it was read; try again");
  }
  return absl::OkStatus();
}

/// What must not be the same for two outputs.
absl::Status CheckAllDiffer(const ConversionJob& job) {
  std::set<std::string> names;
  for (const ConversionOutput& output : job.outputs) {
    for (const std::string& name : output.files) {
      if (!names.insert(name).second)
        return Error(ErrorCode::kUsage, "--type: two outputs would be ", Escape(name),
                     "; name each type once");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckOutputPaths(const ConversionOutput& output, bool several,
                              const ConvertOptions& options) {
  if (options.keep_rejected) {
    for (const std::string& name : output.RejectedNames()) {
      SMELT_RETURN_IF_ERROR(CheckIsNotInput(name, options));
      SMELT_RETURN_IF_ERROR(CheckOutput(name, options.force));
    }
  }
  for (const std::string& name : output.files) {
    SMELT_RETURN_IF_ERROR(CheckIsNotInput(name, options));
    SMELT_RETURN_IF_ERROR(CheckIsNotOther(name, options));
  }
  // Other parts than the first may be those of an interrupted run, and so may one of several
  // outputs whose journal is still there: OpenPartialOutput judges them.
  if (several && NameExists(Journal::PathFor(output.first()))) return absl::OkStatus();
  return CheckOutput(output.first(), options.force);
}

/// Parts that hold one tensor which takes more than a part may; empty: there are none.
std::string LargePartsWarning(const Plan& plan) {
  uint64_t count = 0, most = 0;
  for (const PlannedFile& file : plan.files) {
    if (plan.options.split_size == 0 || file.bytes <= plan.options.split_size) continue;
    ++count;
    most = std::max(most, file.bytes);
  }
  if (count == 0) return "";
  return Cat(count, " of ", plan.files.size(), " parts take more than the ",
             plan.options.split_size, " bytes of --split-size, up to ", most,
             ": a tensor is not divided");
}

/// `what`: of several outputs, which one the sentences are about.
void TellAbout(const ConversionOutput& output, const std::string& what, const ModelSource& source,
               const Observer& observer) {
  const Plan& plan = output.plan;
  for (const std::string& warning : plan.warnings) observer.Warn(what + warning);
  const std::string large = LargePartsWarning(plan);
  if (!large.empty()) observer.Warn(what + large);
  if (!plan.fallbacks.kinds.empty())
    observer.Note(what + FallbackNote(plan.fallbacks, plan.bits_per_weight()));
  if (UpperAscii(plan.options.type) == "AUTO" && WidensCodes(source, plan)) {
    observer.Note(
        "the source holds its weights in 8 bits or fewer: --type q8_0 would do, in half the bytes");
  }
  if ((plan.options.split_size > 0 || plan.options.split_tensors > 0) && output.files.size() == 1)
    observer.Note(Cat("all fits into one file, which is not split: ", Escape(output.path)));
}

absl::StatusOr<Plan> PlanOutput(const ConvertOptions& options, const ModelSource& source,
                                const std::optional<std::string>& saved, const PlanOptions& plan,
                                const Observer& observer) {
  if (!saved) return options.adapter_only ? PlanAdapter(source, plan) : MakePlan(source, plan);
  observer.Note(Cat("replaying the plan ", Escape(options.plan_file)));
  return PlanFromJson(*saved, options.plan_file, source, plan);
}

/// What an earlier run chose for a size.
void TakeTypes(const PlanOptions& recorded, PlanOptions& options) {
  options.type = recorded.type;
  options.tensor_types = recorded.tensor_types;
}

/// Types of a file of them, or for a size.
absl::Status ChooseBySize(const ConvertOptions& options, const ModelSource& source,
                          PlanOptions& plan, const Observer& observer) {
  if (SizeTargetOf(options).present()) {
    SMELT_ASSIGN_OR_RETURN(
        plan, FitToSize(source, plan, SizeTargetOf(options), options.tensor_types_file, observer));
  } else if (!options.tensor_types_file.empty()) {
    SMELT_ASSIGN_OR_RETURN(const auto rows, ReadTypesFile(options.tensor_types_file));
    plan.tensor_types.insert(plan.tensor_types.end(), rows.begin(), rows.end());
  }
  return absl::OkStatus();
}

absl::Status CheckRequest(const ConvertOptions& options, const std::vector<std::string>& types) {
  if (SizeTargetOf(options).present() && (types.size() != 1 || options.adapter_only)) {
    return Error(ErrorCode::kUsage,
                 "--target-size and --target-bpw are of one output, and of a model");
  }
  if (options.adapter_only && !options.plan_file.empty())
    return Error(ErrorCode::kUsage, "a plan file is for models: an adapter is written without one");
  if (types.size() != 1 && !options.plan_file.empty())
    return Error(ErrorCode::kUsage, "a plan file is of one output: name one --type with --plan");
  if (types.empty() || std::ranges::find(types, "") != types.end())
    return Error(ErrorCode::kUsage, "--type names no type, or nothing between two commas");
  SMELT_RETURN_IF_ERROR(RefuseStandardOutput(options.output, "-o"));
  SMELT_RETURN_IF_ERROR(RefuseStandardOutput(options.statistics, "--statistics"));
  return RefuseStandardOutput(options.plan_file, "--plan");
}

}  // namespace

std::vector<std::string> ConversionOutput::RejectedNames() const {
  return FileNames(path + ".rejected", files.size());
}

std::vector<const Plan*> ConversionJob::plans() const {
  std::vector<const Plan*> out;
  for (const ConversionOutput& output : outputs) out.push_back(&output.plan);
  return out;
}

Validate ValidationOf(const ConvertOptions& options) {
  return options.adapter_only ? Validate::kOff : options.validate;
}

absl::StatusOr<ConversionJob> PlanJob(const ConvertOptions& options,
                                      const std::vector<std::string>& types,
                                      const Observer& observer) {
  SMELT_RETURN_IF_ERROR(CheckRequest(options, types));
  ConversionJob job;
  SMELT_ASSIGN_OR_RETURN(const std::optional<std::string> saved, ReadPlanFile(options));
  PlanOptions plan_options = ToPlanOptions(options);
  PlanOptions recorded = plan_options;
  if (saved) {
    SMELT_ASSIGN_OR_RETURN(recorded, OptionsOfPlanFile(*saved, options.plan_file));
  }
  SMELT_ASSIGN_OR_RETURN(job.source, OpenSource(options, recorded, observer));
  SMELT_ASSIGN_OR_RETURN(plan_options.metadata,
                         ResolveEdits(plan_options.metadata, job.source->metadata()));
  const bool several = types.size() > 1;
  for (const std::string& type : types) {
    plan_options.type = type;
    if (saved && SizeTargetOf(options).present()) TakeTypes(recorded, plan_options);
    if (!saved) SMELT_RETURN_IF_ERROR(ChooseBySize(options, *job.source, plan_options, observer));
    ConversionOutput& output = job.outputs.emplace_back();
    SMELT_ASSIGN_OR_RETURN(output.plan,
                           PlanOutput(options, *job.source, saved, plan_options, observer));
    if (SizeTargetOf(options).present())
      SMELT_RETURN_IF_ERROR(CheckSize(output.plan, SizeTargetOf(options)));
    SMELT_ASSIGN_OR_RETURN(output.path, OutputPath(options, *job.source, output.plan, several));
    output.files = FileNames(output.path, output.plan.files.size());
    TellAbout(output, several ? Cat(output.plan.type, ": ") : "", *job.source, observer);
  }
  SMELT_RETURN_IF_ERROR(CheckSameGathering(job));
  SMELT_RETURN_IF_ERROR(CheckVocabularyEdits(job.source->metadata(),
                                             job.outputs[0].plan.options.metadata,
                                             IsValidated(options), observer));
  if (several && !options.output.empty() && !Exists(options.output))
    job.new_folder = options.output;
  return job;
}

absl::Status CheckOutputPaths(const ConversionJob& job, const ConvertOptions& options) {
  SMELT_RETURN_IF_ERROR(CheckAllDiffer(job));
  if (!job.new_folder.empty()) return absl::OkStatus();  // nothing is in it
  for (const ConversionOutput& output : job.outputs)
    SMELT_RETURN_IF_ERROR(CheckOutputPaths(output, job.outputs.size() > 1, options));
  return absl::OkStatus();
}

absl::Status SavePlan(const ConversionJob& job, const ConvertOptions& options,
                      const Observer& observer) {
  if (options.plan_file.empty() || Exists(options.plan_file)) return absl::OkStatus();
  SMELT_RETURN_IF_ERROR(
      WriteFileAtomically(options.plan_file, PlanToJson(job.outputs[0].plan), false));
  observer.Note(Cat("the plan is in ", Escape(options.plan_file)));
  return absl::OkStatus();
}

}  // namespace smelt
