#include "lib/jobs/stages.h"

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

namespace smelt {
namespace {

// A norm, a bias, the filters of a convolution: whole in memory a few MiB at most.
constexpr uint64_t kSmall = 1 << 20;  // elements

/// N of "blk.N.".
std::optional<size_t> LayerOf(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  size_t layer = 0;
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + kPrefix.size(), end, layer);
  if (error != std::errc() || stop == end || *stop != '.') return std::nullopt;
  return layer;
}

}  // namespace

Stages StagesOf(const ModelSource& source, std::span<const Plan* const> plans, size_t layers) {
  std::vector<bool> quantized(source.tensors().size());
  for (const Plan* const plan : plans) {
    for (const PlannedTensor& t : plan->tensors)
      if (Info(t.type).quantized) quantized[t.source] = true;
  }
  Stages stages;
  stages.layers.resize(layers);
  for (size_t i = 0; i < quantized.size(); ++i) {
    const TensorInfo& t = source.tensors()[i];
    const std::optional<size_t> layer = LayerOf(t.name);
    if (!quantized[i] && t.shape.elements() <= kSmall) {
      stages.embedding.push_back(i);
    } else if (layer) {
      (*layer < layers ? stages.layers[*layer] : stages.head).push_back(i);
    } else {
      (t.name == "output.weight" ? stages.head : stages.embedding).push_back(i);
    }
  }
  return stages;
}

}  // namespace smelt
