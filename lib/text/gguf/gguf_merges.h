// tokenizer.ggml.merges: "left right", by rank.
#pragma once

#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "lib/base/metadata.h"
#include "lib/text/models/merges.h"
#include "lib/text/models/token_table.h"

namespace smelt {

/// Reads the merges, if there are any, as ids of `tokens`. `append(part, out)` appends a part as
/// `tokens` spells it; false where no symbol can ever be that text: such a merge never applies.
/// kInvalidInput names the merge whose parts or result are no tokens.
absl::Status ReadMerges(const Metadata& metadata, const TokenTable& tokens,
                        absl::FunctionRef<bool(std::string_view, std::string&)> append,
                        MergeTable& merges);

}  // namespace smelt
