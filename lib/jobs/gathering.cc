#include "lib/jobs/gathering.h"

#include <algorithm>
#include <span>
#include <string_view>

#include "lib/base/folder.h"
#include "lib/base/hash.h"
#include "lib/base/status.h"
#include "lib/jobs/bundled_text.h"
#include "lib/jobs/trained_context.h"

namespace smelt {
namespace {

constexpr uint32_t kVersion = 2;  ///< raised whenever the same text gives other figures
constexpr uint64_t kContext = 512;
/// Chunks for models of up to so many parameters. A second moment needs more tokens than its
/// diagonal, and what is done with it takes longer.
struct Size {
  uint64_t parameters, chunks, chunks_of_moments;
};
constexpr Size kSizes[] = {{400'000'000, 24, 64}, {4'000'000'000, 12, 48}, {UINT64_MAX, 8, 24}};

uint64_t UsualChunks(uint64_t parameters, bool moments) {
  const Size* const size =
      std::ranges::find_if(kSizes, [&](const Size& s) { return parameters <= s.parameters; });
  return moments ? size->chunks_of_moments : size->chunks;
}

/// Of the program's own text, in files.
constexpr std::string_view kBundledDataset = "calibration text of smelt";

absl::StatusOr<Gathering> Fresh(const ModelSource& source, const GatheringOptions& options) {
  uint64_t parameters = 0;
  for (const TensorInfo& t : source.tensors()) parameters += t.shape.elements();
  Gathering out{.texts = {},
                .bundled = options.files.empty(),
                .moments = options.moments,
                .context = kContext,
                .chunks = UsualChunks(parameters, options.moments),
                .statistics = options.statistics};
  if (out.bundled) {
    out.texts.push_back({std::string(kBundledDataset), std::string(BundledCalibrationText())});
  } else {
    SMELT_ASSIGN_OR_RETURN(out.texts, ReadEvaluationTexts(options.files, {}));
  }
  if (const uint64_t trained = TrainedContext(source); trained > 0)
    out.context = std::min(out.context, std::max<uint64_t>(trained, 4));
  if (options.tokens > 0) out.chunks = options.tokens / out.context;
  out.chunks = std::max<uint64_t>(out.chunks / out.texts.size(), 1);
  return out;
}

/// What the file says must be what the options ask for, as far as they ask.
absl::StatusOr<Gathering> Kept(const ModelSource& source, const GatheringOptions& options) {
  SMELT_ASSIGN_OR_RETURN(const std::shared_ptr<const StatisticsFile> file,
                         StatisticsFile::Open(options.statistics));
  const StatisticsOrigin& origin = file->origin();
  if (!options.files.empty() || options.tokens > 0) {
    GatheringOptions same = options;
    same.moments = !origin.asked.empty();
    SMELT_ASSIGN_OR_RETURN(const Gathering asked, Fresh(source, same));
    if (asked.Identity() != origin.gathering) {
      return Error(
          ErrorCode::kInvalidInput, Escape(options.statistics),
          " was gathered from another text, or from more or less of it, than --calibration "
          "and --calibration-tokens say; leave these out, or name another file");
    }
  }
  const std::vector<std::string>& texts = origin.texts.datasets;
  return Gathering{.texts = {},
                   .bundled = texts.size() == 1 && texts[0] == kBundledDataset,
                   .moments = options.moments,
                   .context = origin.texts.chunk_size,
                   .chunks = origin.texts.chunks / std::max<uint64_t>(texts.size(), 1),
                   .statistics = options.statistics,
                   .kept = file};
}

}  // namespace

std::string Gathering::Identity() const {
  if (kept != nullptr) return kept->origin().gathering;
  std::string text = Cat(moments ? "moments " : "importance ", kVersion, " ", context, " ", chunks);
  for (const NamedText& t : texts) text += Cat(" ", Sha256Hex(std::as_bytes(std::span(t.text))));
  return text;
}

std::string Gathering::Describe() const {
  const size_t count = kept != nullptr ? kept->origin().texts.datasets.size() : texts.size();
  const std::string tokens = Cat(kept != nullptr ? Cat(Escape(statistics), ": ") : std::string(),
                                 "at most ", context * chunks * count, " tokens of ");
  if (bundled) return Cat(tokens, "the bundled calibration text");
  return Cat(tokens, Escape(Dataset()), count <= 1 ? "" : Cat(" and ", count - 1, " more"));
}

std::string Gathering::Dataset() const {
  if (kept == nullptr) return texts[0].name;
  const std::vector<std::string>& datasets = kept->origin().texts.datasets;
  return datasets.empty() ? "" : datasets[0];
}

absl::StatusOr<Gathering> MakeGathering(const ModelSource& source,
                                        const GatheringOptions& options) {
  const bool kept = !options.statistics.empty() && Exists(options.statistics);
  return kept ? Kept(source, options) : Fresh(source, options);
}

}  // namespace smelt
