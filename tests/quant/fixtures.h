// The ground truth of testdata/quant: blocks with their values, matrices to quantize, errors to
// beat.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lib/base/json.h"
#include "lib/base/tensor_type.h"

namespace smelt {

/// Types whose blocks decode.safetensors holds.
std::vector<TensorType> DecodeTypes();
std::vector<std::byte> DecodeBlocks(TensorType type);
std::vector<float> DecodeValues(TensorType type);

struct SampleMatrix {
  std::string name;
  uint64_t rows = 0, columns = 0;
  std::vector<float> x;
  std::vector<float> importance, importance_half;  ///< one per column
};
const std::vector<SampleMatrix>& Matrices();

/// A file of testdata/quant, or of the shared fixtures, as JSON.
JsonValue ReadJson(const std::string& path);

/// Finite values of many magnitudes, the same on every machine.
std::vector<float> Noise(size_t count, uint32_t seed);

/// The targets to compare: every one that this machine has.
class EachTarget {
 public:
  EachTarget();
  ~EachTarget();  ///< back to the machine's best
  const std::vector<std::string>& names() const { return names_; }
  void Use(const std::string& name);

 private:
  std::vector<std::string> names_;
};

}  // namespace smelt
