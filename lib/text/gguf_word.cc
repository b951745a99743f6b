// tokenizer.ggml.model "t5" (Unigram) and "bert" (WordPiece).
#include <array>
#include <cmath>
#include <utility>

#include "lib/base/status.h"
#include "lib/text/gguf_base.h"

namespace smelt {

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeGgufUnigram(const Metadata&, GgufVocabulary) {
  return Error(ErrorCode::kUnsupported, "tokenizer.ggml.model \"t5\" is not supported");
}

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeGgufWordPiece(const Metadata&, GgufVocabulary) {
  return Error(ErrorCode::kUnsupported, "tokenizer.ggml.model \"bert\" is not supported");
}

}  // namespace smelt
