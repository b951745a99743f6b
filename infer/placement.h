// Which layers a device runs, where its memory has no room for all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "lib/model/layer_spec.h"

namespace smelt {

/// Of each layer and of the head, a number among a pipeline's backends.
struct Placement {
  std::vector<size_t> layers;
  size_t head = 0;

  size_t layers_on(size_t backend) const;
};

/// The first layers go to backend 0: `wanted` of them, or as many as find room with what each
/// takes; the others to backend 1. Layers that attend to another one's keys are where that is. The
/// head follows where all layers are on 0 and it has room, or all were wanted.
Placement PlaceLayers(const ModelSpec& spec, std::span<const uint64_t> layer_bytes,
                      uint64_t head_bytes, uint64_t room, std::optional<uint64_t> wanted);

}  // namespace smelt
