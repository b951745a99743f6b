// What a walk gathers about the inputs of matrices before it writes them, and on what.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/statistics.h"
#include "lib/jobs/evaluation_texts.h"
#include "lib/model/model_source.h"

namespace smelt {

struct Gathering {
  std::vector<NamedText> texts;  ///< none where it is `kept`
  bool bundled = true;           ///< the text is the program's own
  bool moments = false;      ///< the whole second moments (--effort best), else importance alone
  uint64_t context = 0;      ///< tokens of a chunk
  uint64_t chunks = 0;       ///< of each text, at most
  std::string statistics{};  ///< file that keeps what is gathered; empty: none
  std::shared_ptr<const StatisticsFile> kept{};  ///< that file, where it is there: nothing is run

  /// What the figures are made from, the source aside: part of a plan's fingerprint.
  std::string Identity() const;
  /// "at most 8192 tokens of the bundled calibration text".
  std::string Describe() const;
  /// The first text, as files name it.
  std::string Dataset() const;
};

struct GatheringOptions {
  std::vector<std::string> files;  ///< empty: the bundled text
  uint64_t tokens = 0;             ///< of all texts together, at most; 0: by the model's size
  bool moments = false;
  std::string statistics{};  ///< as Gathering has it
};

/// Opens the file of statistics, or reads the texts. For large models there are no more tokens than
/// cost about as much as writing the model.
absl::StatusOr<Gathering> MakeGathering(const ModelSource& source, const GatheringOptions& options);

}  // namespace smelt
