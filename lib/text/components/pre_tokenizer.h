// The "pre_tokenizer" of a tokenizer.json: text cut into words, which the model then sees one by
// one.
#pragma once

#include <algorithm>
#include <memory>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "lib/base/json.h"
#include "lib/text/regex/regex.h"

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

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Calls `emit` with every part in order; empty parts are left out. What a part points at lives
  /// during the call.
  virtual absl::Status Split(TextPiece piece, EmitPiece emit) const = 0;
};

/// What splits are, and what becomes of them (SplitDelimiterBehavior).
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// From the component's JSON; nullptr for null. `byte_level_last`: set when the last step maps
/// bytes to characters; that mapping is then left to the caller. Without it, the step does it.
absl::StatusOr<std::unique_ptr<PreTokenizer>> MakePreTokenizer(const JsonValue* json,
                                                               RegexEngine engine,
                                                               bool* byte_level_last);

/// GPT-2's expression, which ByteLevel uses when `use_regex` is set.
extern const std::string_view kGpt2Pattern;

}  // namespace smelt
