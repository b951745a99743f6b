// Texts cut into chunks, and chunks into batches that go through a layer together.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "infer/backend.h"
#include "infer/score.h"

namespace smelt {

/// A chunk of a text; of its ids those from `first_scored` on are predicted.
struct Window {
  const int32_t* ids = nullptr;
  uint64_t length = 0, first_scored = 0;
};

/// The chunks of all texts, in their order (see ChunksOf); the texts outlive them. kInvalidInput
/// when there is nothing to predict.
absl::StatusOr<std::vector<Window>> CutTexts(const std::vector<std::vector<int32_t>>& texts,
                                             const ScoreOptions& options);

uint64_t TokensOf(std::span<const Window> windows);
uint64_t LongestOf(std::span<const Window> windows);

/// How many of the first windows make a batch of at most so many tokens; at least one.
size_t WindowsInBatch(std::span<const Window> windows, uint64_t batch_tokens);

/// A batch's ids, each chunk begun by the beginning token where the options say so.
std::vector<int32_t> IdsOf(std::span<const Window> windows, const ScoreOptions& options);

std::vector<Sequence> SequencesOf(std::span<const Window> windows);

}  // namespace smelt
