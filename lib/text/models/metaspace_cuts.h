// Where a text that a model sees as one word can be cut all the same.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "lib/text/spec/pipeline_spec.h"
#include "lib/text/spec/token_table.h"

namespace smelt {

/// SentencePiece-like BPE sees a whole document as one word. But no merge yields "x" + U+2581
/// unless some token holds that, so before U+2581 the text can be cut after every other x: words
/// become short and can be remembered.
class MetaspaceCuts {
 public:
  MetaspaceCuts() = default;
  /// `tokens`: every text that can be the result of a merge or is found as a whole.
  explicit MetaspaceCuts(const TokenTable& tokens);

  /// Calls emit with the parts in order. Cuts only after characters that are tokens themselves
  /// (unknown ones in a row may be one token).
  absl::Status Split(const TokenTable& tokens, std::string_view text,
                     absl::FunctionRef<absl::Status(std::string_view)> emit) const;

 private:
  bool enabled_ = false;
  std::vector<std::string> not_after_;  ///< sorted characters
};

}  // namespace smelt
