// The CPU backend's own forms of the engine's objects.
#pragma once

#include <memory>
#include <vector>

#include "infer/backend.h"
#include "infer/cpu/layout.h"
#include "infer/cpu/matmul.h"
#include "infer/cpu/memory.h"
#include "infer/cpu/state.h"

namespace smelt::cpu {

/// Angles of one Rope for the positions of a batch: cos and sin, [panel][pair][lane].
struct RopeTable {
  RopeStyle style = RopeStyle::kNone;
  std::vector<double> frequency;
  double magnitude = 1;
  Array<float> cos, sin;
};

class CpuBatch : public Batch {
 public:
  using Batch::Batch;
  Layout layout;
  uint64_t length = 0;  ///< positions of the sequence in use
  Array<float> scratch;
  std::vector<std::unique_ptr<RopeTable>> ropes;
  Input
      input;  ///< of the current product; its 8-bit form is reused by products with the same input

  absl::StatusOr<const RopeTable*> TableFor(const Rope& rope);
};

class CpuBuffer : public Buffer {
 public:
  absl::StatusOr<std::unique_ptr<Buffer>> Copy(Place place) const override;

  Array<float> values;
  uint32_t features = 0;
};

class CpuProgram : public Program {
 public:
  Graph graph;
  Precision precision = Precision::kF32;
};

}  // namespace smelt::cpu
