// `convert` and `quantize`: open, plan, fill, check, commit.
#include "smelt/convert.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <numeric>
#include <optional>
#include <utility>

#include "infer/open_backend.h"
#include "lib/base/folder.h"
#include "lib/base/guard.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"
#include "lib/base/system_error.h"
#include "lib/jobs/conversion_job.h"
#include "lib/jobs/fill.h"
#include "lib/jobs/gate.h"
#include "lib/jobs/hashed_output.h"
#include "lib/jobs/walk.h"

namespace smelt {
namespace {

using Clock = std::chrono::steady_clock;

std::string Megabytes(uint64_t bytes) { return Cat((bytes + 500'000) / 1'000'000, " MB"); }

/// `what`: of several outputs, which one it is.
void TellAboutEarlierRun(const PartialOutput& part, const Plan& plan, const std::string& what,
                         const Observer& observer) {
  if (part.resumed) {
    observer.Note(Cat(what, "resuming: ", Megabytes(part.done_bytes), " of ",
                      Megabytes(plan.file_bytes),
                      " were written by an earlier run and have the right checksums"));
  } else if (!part.restarted.empty()) {
    observer.Note(
        Cat(what, "starting over: an earlier run's part cannot be continued, ", part.restarted));
  }
}

// Failures after which the next run goes on from what is there. Everything else would fail again.
bool KeepsPart(ErrorCode code) {
  return code == ErrorCode::kCancelled || code == ErrorCode::kIo || code == ErrorCode::kNoSpace ||
         code == ErrorCode::kOutOfMemory;
}

absl::Status Interrupted(const ConversionJob& job) {
  const bool one = job.outputs.size() == 1 && job.outputs[0].files.size() == 1;
  return Error(ErrorCode::kCancelled, "interrupted; ", Escape(job.outputs[0].first()), ".part",
               one ? " keeps" : " and those beside it keep",
               " what was done: run the same command again to resume");
}

// What to try after a missed gate.
absl::Status GateMissed(const ConversionOutput& output, const EvaluateResult& validation,
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
  return Error(ErrorCode::kGateMissed, Escape(output.first()),
               " was not written: the result differs too much from the source: ", what,
               "; try a finer --type, raise --max-kl or --max-ppl-increase",
               options.keep_rejected ? "" : ", or look at it with --keep-rejected");
}

// Nothing of a refused output stays; one that the gate rejected may be kept under another name.
absl::Status Reject(const ConversionOutput& output, const absl::Status& why,
                    const ConvertOptions& options, PartialOutput& part) {
  if (CodeOf(why) != ErrorCode::kGateMissed || !options.keep_rejected) {
    part.Discard();
    return why;
  }
  const std::vector<std::string> names = output.RejectedNames();
  const absl::Status kept = part.CommitAs(names, options.force);
  part.Discard();
  return Error(ErrorCode::kGateMissed, std::string(why.message()),
               kept.ok() ? Cat("; it is kept as ", Escape(names.front()))
                         : Cat("; it could not be kept: ", std::string(kept.message())));
}

/// The folder that several outputs go to, made if it is not there. At the end it goes again where
/// nothing is in it.
class NewFolder {
 public:
  static absl::StatusOr<NewFolder> Make(const std::string& path) {
    NewFolder out;
    if (path.empty()) return out;
    if (mkdir(path.c_str(), 0777) != 0) return SystemError(path, "cannot be made", errno);
    out.path_ = path;
    return out;
  }
  NewFolder(NewFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  NewFolder& operator=(NewFolder&&) = delete;
  ~NewFolder() {
    if (!path_.empty()) rmdir(path_.c_str());
  }

 private:
  NewFolder() = default;
  std::string path_;
};

absl::StatusOr<std::vector<PartialOutput>> OpenParts(const ConversionJob& job,
                                                     const ConvertOptions& options,
                                                     const Observer& observer) {
  // First those without a name: with their parts in hand, no other run is about to finish them, and
  // what an earlier one had finished can be taken back.
  const auto named = [&](size_t i) { return NameExists(job.outputs[i].first()); };
  std::vector<size_t> order(job.outputs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_partition(order.begin(), order.end(), std::not_fn(named));
  const bool unfinished = !named(order[0]);
  std::vector<PartialOutput> parts(order.size());
  for (const size_t i : order) {
    const ConversionOutput& output = job.outputs[i];
    absl::StatusOr<PartialOutput> part = OpenPartialOutput(output.files, output.plan, options.force,
                                                           observer, unfinished && i != order[0]);
    if (!part.ok()) {
      for (PartialOutput& earlier : parts) earlier.DiscardFresh();
      return part.status();
    }
    const std::string what = order.size() == 1 ? "" : Cat(output.plan.type, ": ");
    TellAboutEarlierRun(*part, output.plan, what, observer);
    parts[i] = *std::move(part);
  }
  return parts;
}

/// Fills the parts and checks them. After an error nothing stays of what would fail again.
absl::StatusOr<std::vector<EvaluateResult>> FillAndCheck(
    const ConversionJob& job, const ConvertOptions& options, const std::vector<NamedText>& texts,
    const Observer& observer, std::vector<PartialOutput>& parts, MemoryPeak& peak) {
  std::vector<FillTarget> targets;
  std::vector<std::string> names;
  for (size_t i = 0; i < parts.size(); ++i) {
    targets.push_back({&job.outputs[i].plan, &parts[i]});
    names.push_back(job.outputs[i].first());
  }
  const Walk walk{*job.source, targets, names, options, ValidationOf(options), texts, observer};
  std::vector<EvaluateResult> validations;
  const absl::Status status = Guarded([&]() -> absl::Status {
    SMELT_ASSIGN_OR_RETURN(validations, WalkThrough(walk, peak));
    for (PartialOutput& part : parts)
      if (part.hash != nullptr) SMELT_RETURN_IF_ERROR(part.hash->Finish());
    return absl::OkStatus();
  });
  if (status.ok()) return validations;
  if (CodeOf(status) == ErrorCode::kCancelled) return Interrupted(job);
  if (KeepsPart(CodeOf(status))) return status;
  absl::Status said;
  for (size_t i = 0; i < parts.size(); ++i)
    said.Update(Reject(job.outputs[i], status, options, parts[i]));
  return said;
}

/// The output gets its name, or is rejected.
ConvertOutcome Conclude(const ConversionOutput& output, std::optional<EvaluateResult> validation,
                        const ConvertOptions& options, PartialOutput& part) {
  ConvertOutcome out;
  out.output = output.first();
  out.type = output.plan.type;
  out.result.validation = std::move(validation);
  if (out.result.validation && options.on_validation) options.on_validation(*out.result.validation);
  out.status =
      out.result.validation && !out.result.validation->passed
          ? Reject(output, GateMissed(output, *out.result.validation, options), options, part)
          : part.NameFiles(output.files, options.force);
  if (!out.status.ok()) return out;
  ConvertResult& result = out.result;
  result.output = out.output;
  result.files = PublicFiles(output);
  result.type = out.type;
  result.bytes = output.plan.file_bytes;
  result.bits_per_weight = output.plan.bits_per_weight();
  result.tensors = output.plan.tensors.size();
  result.fallbacks = PublicFallbacks(output.plan.fallbacks);
  result.warnings = output.plan.warnings;
  result.resumed = part.resumed;
  return out;
}

/// `hash`: that of the first output, where it is wanted and that is one file; else null.
absl::StatusOr<std::vector<ConvertOutcome>> Run(const ConvertOptions& options,
                                                const std::vector<std::string>& types,
                                                const Observer& watcher, FileHash* hash) {
  const JobScope scope(watcher);
  const Observer& observer = scope.observer();
  const Clock::time_point start = Clock::now();
  SMELT_RETURN_IF_ERROR(CheckLimit("--max-kl", options.max_kl));
  SMELT_RETURN_IF_ERROR(CheckLimit("--max-ppl-increase", options.max_ppl_increase));
  SMELT_ASSIGN_OR_RETURN(const ConversionJob job, PlanJob(options, types, observer));
  SMELT_RETURN_IF_ERROR(CheckOutputPaths(job, options));
  std::vector<NamedText> texts;
  const bool gathers = std::ranges::any_of(
      job.plans(), [](const Plan* plan) { return plan->gathering.has_value(); });
  if (gathers || IsValidated(options)) SMELT_RETURN_IF_ERROR(CheckEvaluable(*job.source));
  if (IsValidated(options)) {
    // The check chooses again, and says which device it passes over.
    const Observer silent{
        .progress = {}, .note = [](NoteKind, const std::string&) {}, .cancelled = {}};
    SMELT_RETURN_IF_ERROR(ChooseDevice(options.device, Precision::kF32, silent).status());
    SMELT_ASSIGN_OR_RETURN(texts, ReadGateTexts(options, observer));
  } else if (options.device.device != "cpu") {
    observer.Warn("--device has no effect without a check, which is all that it computes");
  }
  SMELT_RETURN_IF_ERROR(SavePlan(job, options, observer));
  for (const ConversionOutput& output : job.outputs)
    if (options.on_plan) options.on_plan(Summarize(job, output, options));

  SMELT_ASSIGN_OR_RETURN(const NewFolder folder, NewFolder::Make(job.new_folder));
  SMELT_ASSIGN_OR_RETURN(std::vector<PartialOutput> parts, OpenParts(job, options, observer));
  if (hash != nullptr && parts[0].files.size() == 1) {
    parts[0].hash =
        std::make_unique<HashedOutput>(*parts[0].files[0], job.outputs[0].plan, parts[0].done);
  }
  MemoryPeak peak;
  SMELT_ASSIGN_OR_RETURN(std::vector<EvaluateResult> validations,
                         FillAndCheck(job, options, texts, observer, parts, peak));
  if (parts[0].hash != nullptr) *hash = parts[0].hash->result();
  std::vector<ConvertOutcome> outcomes;
  for (size_t i = 0; i < parts.size(); ++i) {
    std::optional<EvaluateResult> validation;
    if (!validations.empty()) validation = std::move(validations[i]);
    outcomes.push_back(Conclude(job.outputs[i], std::move(validation), options, parts[i]));
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    if (outcomes[i].status.ok()) parts[i].RemoveJournals();
    outcomes[i].result.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    outcomes[i].result.peak_anonymous_bytes = peak.bytes();
  }
  return outcomes;
}

}  // namespace

absl::StatusOr<std::vector<PlanSummary>> PlanConversions(const ConvertOptions& options,
                                                         const std::vector<std::string>& types,
                                                         const Observer& watcher) try {
  const JobScope scope(watcher);
  const Observer& observer = scope.observer();
  SMELT_ASSIGN_OR_RETURN(const ConversionJob job, PlanJob(options, types, observer));
  SMELT_RETURN_IF_ERROR(SavePlan(job, options, observer));
  std::vector<PlanSummary> out;
  for (const ConversionOutput& output : job.outputs) out.push_back(Summarize(job, output, options));
  return out;
} catch (...) {
  return CaughtError();
}

absl::StatusOr<PlanSummary> PlanConversion(const ConvertOptions& options,
                                           const Observer& observer) try {
  SMELT_ASSIGN_OR_RETURN(std::vector<PlanSummary> plans,
                         PlanConversions(options, {options.type}, observer));
  return std::move(plans[0]);
} catch (...) {
  return CaughtError();
}

absl::StatusOr<std::vector<ConvertOutcome>> ConvertToTypes(const ConvertOptions& options,
                                                           const std::vector<std::string>& types,
                                                           const Observer& watcher) try {
  return Run(options, types, watcher, nullptr);
} catch (...) {
  return CaughtError();
}

absl::StatusOr<ConvertResult> Convert(const ConvertOptions& options, const Observer& observer) try {
  SMELT_ASSIGN_OR_RETURN(std::vector<ConvertOutcome> outcomes,
                         ConvertToTypes(options, {options.type}, observer));
  SMELT_RETURN_IF_ERROR(outcomes[0].status);
  return std::move(outcomes[0].result);
} catch (...) {
  return CaughtError();
}

absl::StatusOr<ConvertResult> ConvertAndHash(const ConvertOptions& options, const Observer& watcher,
                                             FileHash& hash) {
  SMELT_ASSIGN_OR_RETURN(std::vector<ConvertOutcome> outcomes,
                         Run(options, {options.type}, watcher, &hash));
  SMELT_RETURN_IF_ERROR(outcomes[0].status);
  return std::move(outcomes[0].result);
}

}  // namespace smelt
