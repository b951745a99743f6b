#include "infer/windows.h"

#include <algorithm>

#include "lib/base/status.h"

namespace smelt {

absl::StatusOr<std::vector<Window>> CutTexts(const std::vector<std::vector<int32_t>>& texts,
                                             const ScoreOptions& options) {
  if (options.context < 4) {
    return Error(ErrorCode::kUsage, "a context of ", options.context,
                 " tokens; at least 4 are needed");
  }
  std::vector<Window> windows;
  for (const std::vector<int32_t>& ids : texts) {
    const Chunks chunks = ChunksOf(ids.size(), options);
    for (uint64_t c = 0; c < chunks.count; ++c)
      windows.push_back({ids.data() + c * chunks.context, chunks.context, chunks.first_scored});
  }
  if (!windows.empty()) return windows;
  return Error(ErrorCode::kInvalidInput,
               "the text has fewer than 2 tokens, so there is nothing to predict");
}

uint64_t TokensOf(std::span<const Window> windows) {
  uint64_t tokens = 0;
  for (const Window& w : windows) tokens += w.length;
  return tokens;
}

uint64_t LongestOf(std::span<const Window> windows) {
  uint64_t longest = 0;
  for (const Window& w : windows) longest = std::max(longest, w.length);
  return longest;
}

size_t WindowsInBatch(std::span<const Window> windows, uint64_t batch_tokens) {
  size_t count = 1;
  uint64_t tokens = windows[0].length;
  for (; count < windows.size(); ++count) {
    tokens += windows[count].length;
    if (tokens > batch_tokens) break;
  }
  return count;
}

std::vector<int32_t> IdsOf(std::span<const Window> windows, const ScoreOptions& options) {
  std::vector<int32_t> ids;
  for (const Window& w : windows) {
    ids.insert(ids.end(), w.ids, w.ids + w.length);
    if (options.add_bos) ids[ids.size() - w.length] = options.bos;
  }
  return ids;
}

std::vector<Sequence> SequencesOf(std::span<const Window> windows) {
  std::vector<Sequence> sequences;
  for (const Window& w : windows) sequences.push_back({w.length, 0});
  return sequences;
}

}  // namespace smelt
