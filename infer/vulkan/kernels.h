// The shaders as functions: what they read and write are addresses of f32 in the device's memory.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "infer/graph.h"
#include "infer/vulkan/device.h"
#include "infer/vulkan/weights.h"

namespace smelt::vulkan {

/// What shaders/element.comp does, by number.
enum class Element : uint32_t {
  kAddScaled,    ///< x += a other
  kScale,        ///< x *= a
  kGate,         ///< x *= act(other)
  kMultiply,     ///< x *= other
  kClamp,        ///< x in [-a, a]
  kXielu,        ///< a = alpha_p, b = alpha_n, c = beta, d = eps
  kClampedGate,  ///< gpt-oss: x = gate, other = up
  kScaleTokens,  ///< x *= other[token]
};
struct ElementCall {
  uint64_t x = 0, other = 0;
  uint64_t count = 0;
  Element kind = Element::kScale;
  Activation activation = Activation::kSilu;
  uint32_t features = 1;
  float a = 1, b = 0, c = 0, d = 0;
};

struct NormCall {
  uint64_t x = 0, to = 0, weight = 0, bias = 0;
  uint32_t in_stride = 0, out_stride = 0;  ///< floats from token to token
  uint32_t tokens = 0, groups = 0, group = 0, weights = 1;
  bool centred = false, add = false;
  float epsilon = 0, scale = 1;
};

/// out = store(matrix in + bias).
struct ProductCall {
  const Matrix* matrix = nullptr;
  uint64_t x = 0, to = 0;
  uint32_t inputs = 0;
  uint32_t in_stride = 0, out_stride = 0;  ///< 0: the matrix's columns, and rows
  Store store = Store::kSet;
  Activation activation = Activation::kSilu;
  uint64_t chosen = 0;  ///< address of the matrix of each input; 0: the first
  uint32_t share = 1;   ///< inputs that read the same
  /// All matrices of a stack: so many, each with its own part of inputs and outputs.
  uint32_t matrices = 1, in_step = 0, out_step = 0;
};

/// What runs shaders of one device.
class Kernels {
 public:
  explicit Kernels(Device& device) : device_(device) {}
  /// Brings the tables that shaders look up.
  absl::Status Open();

  Device& device() const { return device_; }
  absl::Status Apply(const ElementCall& call);
  absl::Status Norm(const NormCall& call);
  /// A weight that the device has no room for comes in parts.
  absl::Status Multiply(const ProductCall& call);
  absl::Status Copy(const CopyOp& op, uint64_t x, uint64_t to, uint32_t tokens);
  /// Rows of a weight that is there as f32, for tests of the formats.
  absl::Status Decode(const WeightPtr& weight, uint64_t to);

 private:
  /// Rows [first, first + count) of the matrix, which are among `rows`.
  absl::Status MultiplyRows(const ProductCall& call, const DeviceRows& rows, uint32_t first,
                            uint32_t count);

  Device& device_;
  Memory tables_;
};

/// Workgroups for `count` invocations that stride over what is left.
Groups GroupsFor(uint64_t count);
/// The values of an optional small weight, brought to the device; 0: there is none.
absl::StatusOr<uint64_t> ValuesAt(Device& device, const WeightPtr& weight);

}  // namespace smelt::vulkan
