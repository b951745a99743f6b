// Small random models of every shape that the engine knows.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/infer/memory_model.h"

namespace smelt::testing {

struct RandomModel {
  std::string name;
  std::unique_ptr<MemoryModel> source;
  ModelSpec spec;

  SpecifiedModel specified() const { return {source.get(), spec}; }
};

/// One model per feature, and hybrids. The same every time.
std::vector<std::string> RandomModelNames();
RandomModel MakeRandomModel(const std::string& name, TensorType type = TensorType::kF32,
                            bool mappable = true);

std::vector<int32_t> RandomIds(uint64_t seed, size_t count, uint32_t vocabulary);

}  // namespace smelt::testing
