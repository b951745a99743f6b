// How the CPU backend lays out activations: panels of tokens.
//
// A buffer of F features is [panel][feature][lane]. With 32 lanes (prompts, evaluation) a panel
// holds 32 consecutive tokens of one sequence and every operation is vertical: tokens are SIMD
// lanes, weights are broadcast, and rows of weights can be used as they are decoded, without
// packing. A matrix product maps this layout onto itself. With 1 lane (generation) a panel is one
// token and the buffer an ordinary row-major matrix. Sequences start at a panel; the lanes past
// their end hold values that nobody reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "infer/backend.h"

namespace smelt::cpu {

inline constexpr uint32_t kPanel = 32;

struct Layout {
  struct Segment {
    uint32_t first_panel = 0, panels = 0;
    uint32_t tokens = 0;
    uint32_t first_token = 0;  ///< index in the batch
    uint64_t position = 0;     ///< of its first token in its sequence
  };
  struct Place {
    uint32_t panel = 0, lane = 0;
  };
  uint32_t lanes = kPanel;
  uint32_t panels = 0;
  uint32_t tokens = 0;
  std::vector<Segment> segments;

  size_t Floats(size_t features) const { return features * panels * lanes; }
  /// Where a token's feature 0 lies in a buffer of `features`; feature f is f * lanes further on.
  size_t Offset(uint32_t token, size_t features) const {
    const Place at = Find(token);
    return at.panel * features * lanes + at.lane;
  }
  Place Find(uint32_t token) const;
  /// Tokens in one of a segment's panels.
  uint32_t TokensOf(const Segment& s, uint32_t panel) const {
    const uint32_t left = s.tokens - panel * lanes;
    return left < lanes ? left : lanes;
  }
};

/// Tokens as panels of 32, or of 1 when there are at most `few` of them.
Layout MakeLayout(std::span<const Sequence> sequences, uint64_t few);

/// Tokens of a buffer, put together as panels of `lanes` (1 or 32); lanes past the last one are
/// zero.
absl::Status GatherTokens(const Layout& layout, const float* x, size_t features,
                          std::span<const uint32_t> tokens, uint32_t lanes, float* out);

}  // namespace smelt::cpu
