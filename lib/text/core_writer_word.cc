// Unigram and WordPiece pipelines as tokenizer.ggml.*.
#include "lib/base/status.h"
#include "lib/text/pipeline.h"

namespace smelt {

absl::Status Pipeline::WriteWordPiece(const CoreWriteOptions&, Metadata&, Metadata&,
                                      std::vector<std::string>&) const {
  return Error(ErrorCode::kUnsupported, "a WordPiece tokenizer cannot be written yet");
}

absl::Status Pipeline::WriteUnigram(const CoreWriteOptions&, Metadata&, Metadata&,
                                    std::vector<std::string>&) const {
  return Error(ErrorCode::kUnsupported, "a Unigram tokenizer cannot be written yet");
}

}  // namespace smelt
