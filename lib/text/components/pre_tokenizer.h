// Pre-tokenizers: text cut into words, which the model then sees one by one.
#pragma once

#include <algorithm>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "lib/text/regex/regex.h"
#include "lib/text/spec/pipeline_spec.h"

namespace smelt {

/// Part of a text.
struct TextPiece {
  std::string_view text;
  size_t start;  ///< so many bytes stand for the beginning of the original text, as in Normalizer

  TextPiece Part(size_t begin, size_t end) const {
    return {text.substr(begin, end - begin), begin < start ? std::min(start, end) - begin : 0};
  }
};
using EmitPiece = absl::FunctionRef<absl::Status(TextPiece)>;

/// The steps of a spec, made ready. Without steps, a text is one word.
class PreTokenizer {
 public:
  /// A ByteLevel step that is the last one leaves the mapping of bytes to whoever takes the words
  /// (LeavesBytes); others do it themselves.
  static absl::StatusOr<PreTokenizer> Make(std::span<const PreTokenizerStep> steps,
                                           RegexEngine engine);

  /// Calls `emit` with every part in order; empty parts are left out. What a part points at lives
  /// during the call.
  absl::Status Split(TextPiece piece, EmitPiece emit) const { return From(0, piece, emit); }

 private:
  using Step = std::function<absl::Status(TextPiece, EmitPiece)>;
  absl::Status From(size_t step, TextPiece piece, EmitPiece emit) const;
  std::vector<Step> steps_;
};

/// Whether words are the text's own bytes, which stand for characters of the byte-level alphabet.
bool LeavesBytes(std::span<const PreTokenizerStep> steps);

/// GPT-2's expression, which ByteLevel uses when `use_regex` is set.
extern const std::string_view kGpt2Pattern;

}  // namespace smelt
