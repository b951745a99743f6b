// What a plan says to those who started the conversion.
#include <algorithm>
#include <map>

#include "lib/base/parallel.h"
#include "lib/base/status.h"
#include "lib/jobs/conversion_job.h"
#include "lib/jobs/gathered_statistics.h"
#include "lib/jobs/memory_estimate.h"
#include "lib/jobs/walk.h"
#include "lib/model/layer_spec.h"
#include "lib/model/recipe.h"

namespace smelt {
namespace {

/// How the source holds a tensor: "BF16", "GPTQ".
std::string StoredAs(const ModelSource& source, const PlannedTensor& tensor) {
  const Recipe* recipe = source.tensors()[tensor.source].recipe;
  const std::string format = recipe == nullptr ? "" : recipe->computed_as();
  return format.empty() ? std::string(Info(tensor.source_type).name) : format;
}

std::string MostCommonType(const ModelSource& source, const Plan& plan) {
  std::map<std::string, uint64_t> elements;
  for (const PlannedTensor& t : plan.tensors) elements[StoredAs(source, t)] += t.shape.elements();
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

std::string DescribeGathering(const ModelSource& source, std::span<const Plan* const> plans,
                              const Gathering& gathering) {
  if (gathering.statistics.empty() || gathering.kept != nullptr) return gathering.Describe();
  std::string text = Cat(gathering.Describe(), ", kept in ", Escape(gathering.statistics));
  const absl::StatusOr<ModelSpec> spec = ReadModelSpec(source);
  if (!spec.ok()) return text;
  const absl::StatusOr<uint64_t> bytes = StatisticsKeeper::MostBytes(
      source, gathering, WithMoments(source, plans), spec->layers.size() + 1);
  if (bytes.ok()) text += Cat(", at most ", (*bytes + 999'999) / 1'000'000, " MB");
  return text;
}

}  // namespace

std::vector<TypeFallback> PublicFallbacks(const Fallbacks& fallbacks) {
  std::vector<TypeFallback> out;
  for (const FallbackGroup& f : fallbacks.kinds) {
    out.push_back({.type = std::string(Info(f.type).name),
                   .instead_of = std::string(Info(f.instead_of).name),
                   .tensors = f.tensors,
                   .first = f.first});
  }
  return out;
}

std::vector<OutputFile> PublicFiles(const ConversionOutput& output) {
  std::vector<OutputFile> out;
  for (size_t i = 0; i < output.files.size(); ++i) {
    const PlannedFile& file = output.plan.files[i];
    out.push_back({.path = output.files[i], .bytes = file.bytes, .tensors = file.tensors});
  }
  return out;
}

PlanSummary Summarize(const ConversionJob& job, const ConversionOutput& output,
                      const ConvertOptions& options) {
  const Plan& plan = output.plan;
  PlanSummary out;
  out.source = options.source;
  out.output = output.first();
  out.files = PublicFiles(output);
  out.type = plan.type;
  out.architecture = plan.architecture;
  out.source_type = MostCommonType(*job.source, plan);
  out.tokenizer = TokenizerName(job.source->metadata());
  out.file_bytes = plan.file_bytes;
  out.parameters = plan.parameters;
  out.bits_per_weight = plan.bits_per_weight();
  out.matrices = plan.fallbacks.matrices;
  out.fallbacks = PublicFallbacks(plan.fallbacks);
  out.warnings = plan.warnings;
  out.walk = DescribeWalk(plan, ValidationOf(options));
  if (options.target_size != 0 || options.target_bpw != 0)
    out.walk =
        "first run layer by layer to measure what errors in each tensor cost; then " + out.walk;
  if (plan.importance != nullptr) out.importance = plan.options.imatrix;
  if (plan.gathering) out.importance = DescribeGathering(*job.source, job.plans(), *plan.gathering);
  out.memory_bytes = EstimateMemory(job.plans(), Threads(), options);
  for (const PlannedTensor& t : plan.tensors) {
    PlannedTensorInfo info;
    info.name = t.name;
    info.type = Info(t.type).name;
    info.source_type = StoredAs(*job.source, t);
    info.why = t.why;
    info.shape.assign(t.shape.ne.begin(), t.shape.ne.begin() + t.shape.dims);
    info.file = t.file;
    info.offset = t.offset;
    info.bytes = t.bytes;
    out.tensors.push_back(std::move(info));
  }
  return out;
}

}  // namespace smelt
