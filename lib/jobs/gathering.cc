#include "lib/jobs/gathering.h"

#include <algorithm>
#include <span>

#include "lib/base/hash.h"
#include "lib/base/status.h"
#include "lib/jobs/bundled_text.h"
#include "lib/jobs/trained_context.h"

namespace smelt {
namespace {

constexpr uint32_t kVersion = 1;  ///< raised whenever the same text gives other figures
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

}  // namespace

std::string Gathering::Identity() const {
  std::string text = Cat(moments ? "moments " : "importance ", kVersion, " ", context, " ", chunks);
  for (const NamedText& t : texts) text += Cat(" ", Sha256Hex(std::as_bytes(std::span(t.text))));
  return text;
}

std::string Gathering::Describe() const {
  const uint64_t tokens = context * chunks * texts.size();
  if (bundled) return Cat("at most ", tokens, " tokens of the bundled calibration text");
  return Cat("at most ", tokens, " tokens of ", Escape(texts[0].name),
             texts.size() == 1 ? "" : Cat(" and ", texts.size() - 1, " more"));
}

absl::StatusOr<Gathering> MakeGathering(const ModelSource& source,
                                        const GatheringOptions& options) {
  uint64_t parameters = 0;
  for (const TensorInfo& t : source.tensors()) parameters += t.shape.elements();
  Gathering out{.texts = {},
                .bundled = options.files.empty(),
                .moments = options.moments,
                .context = kContext,
                .chunks = UsualChunks(parameters, options.moments)};
  if (out.bundled) {
    out.texts.push_back({"the bundled calibration text", std::string(BundledCalibrationText())});
  } else {
    SMELT_ASSIGN_OR_RETURN(out.texts, ReadEvaluationTexts(options.files, {}));
  }
  if (const uint64_t trained = TrainedContext(source); trained > 0)
    out.context = std::min(out.context, std::max<uint64_t>(trained, 4));
  if (options.tokens > 0) out.chunks = options.tokens / out.context;
  out.chunks = std::max<uint64_t>(out.chunks / out.texts.size(), 1);
  return out;
}

}  // namespace smelt
