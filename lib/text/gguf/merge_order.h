// Whether a list of merges says no more than scores do.
#pragma once

#include <functional>
#include <vector>

#include "lib/text/models/merges.h"
#include "lib/text/models/model.h"
#include "lib/text/spec/token_table.h"

namespace smelt {

/// True when joining any two neighbours whose text is a token, the best score first, is the same as
/// going by the list: every pair that makes a token is listed, and the list is sorted by the scores
/// of what its merges make. `joinable(id)`: joining by text may make this token.
bool MergesFollowScores(const TokenTable& tokens, const MergeList& merges, const MergeTable& table,
                        const std::vector<float>& scores,
                        const std::function<bool(int32_t)>& joinable);

}  // namespace smelt
