#include "infer/placement.h"

#include <algorithm>

#include "infer/model_pipeline.h"

namespace smelt {

size_t Placement::layers_on(size_t backend) const {
  return static_cast<size_t>(std::ranges::count(layers, backend));
}

Placement PlaceLayers(const ModelSpec& spec, std::span<const uint64_t> layer_bytes,
                      uint64_t head_bytes, uint64_t room, std::optional<uint64_t> wanted) {
  const size_t count = layer_bytes.size();
  size_t fit = 0;
  uint64_t left = room;
  while (fit < count && layer_bytes[fit] <= left) left -= layer_bytes[fit++];
  const uint64_t first = wanted ? std::min<uint64_t>(*wanted, count) : fit;
  Placement placement;
  for (size_t i = 0; i < count; ++i) placement.layers.push_back(StateOf(spec, i) < first ? 0 : 1);
  const bool all = placement.layers_on(0) == count;
  placement.head = all && (wanted || head_bytes <= left) ? 0 : 1;
  return placement;
}

}  // namespace smelt
