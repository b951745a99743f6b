#include "infer/cpu/layout.h"

#include <algorithm>

#include "lib/base/parallel.h"

namespace smelt::cpu {

Layout MakeLayout(std::span<const Sequence> sequences, uint64_t few) {
  Layout layout;
  uint64_t total = 0;
  for (const Sequence& s : sequences) total += s.tokens;
  layout.lanes = total <= few ? 1 : kPanel;
  uint32_t token = 0;
  for (const Sequence& s : sequences) {
    Layout::Segment segment;
    segment.first_panel = layout.panels;
    segment.tokens = static_cast<uint32_t>(s.tokens);
    segment.panels = (segment.tokens + layout.lanes - 1) / layout.lanes;
    segment.first_token = token;
    segment.position = s.position;
    layout.panels += segment.panels;
    token += segment.tokens;
    layout.segments.push_back(segment);
  }
  layout.tokens = token;
  return layout;
}

Layout::Place Layout::Find(uint32_t token) const {
  const auto after =
      std::upper_bound(segments.begin(), segments.end(), token,
                       [](uint32_t t, const Segment& s) { return t < s.first_token; });
  const Segment& s = *(after - 1);
  const uint32_t local = token - s.first_token;
  return {s.first_panel + local / lanes, local % lanes};
}

absl::Status GatherTokens(const Layout& layout, const float* x, size_t features,
                          std::span<const uint32_t> tokens, uint32_t lanes, float* out) {
  const size_t panels = (tokens.size() + lanes - 1) / lanes;
  return ParallelForWorkers(panels, 1, [&](uint64_t first, uint64_t last, int) {
    for (uint64_t p = first; p < last; ++p) {
      float* panel = out + p * lanes * features;
      for (uint32_t lane = 0; lane < lanes; ++lane) {
        const size_t i = p * lanes + lane;
        const float* from = i < tokens.size() ? x + layout.Offset(tokens[i], features) : nullptr;
        for (size_t f = 0; f < features; ++f)
          panel[f * lanes + lane] = from == nullptr ? 0.0f : from[f * layout.lanes];
      }
    }
  });
}

}  // namespace smelt::cpu
