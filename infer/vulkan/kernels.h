// The shaders as functions: what they read and write are addresses of f32 in the device's memory.
#pragma once

#include <cstdint>
#include <span>

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
  uint64_t x = 0, to = 0;
  Range weight = {}, bias = {};
  uint32_t in_stride = 0, out_stride = 0;  ///< floats from token to token
  uint32_t tokens = 0, groups = 0, group = 0, weights = 1;
  bool centred = false, add = false;
  float epsilon = 0, scale = 1;
};

/// Of every group of so many tokens.
struct CopyCall {
  CopyOp op = {};
  uint64_t x = 0, to = 0;
  uint32_t tokens = 0;
  bool halves = false;  ///< whole rows, an even number of values, become f16
};

/// out = store(matrix in + bias).
struct ProductCall {
  const Matrix* matrix = nullptr;
  uint64_t x = 0, to = 0;
  uint32_t inputs = 0;
  uint32_t in_stride = 0, out_stride = 0;  ///< 0: the matrix's columns, and rows
  uint64_t codes = 0;  ///< address of the inputs rounded to 8 bits, for matrices of integers; or 0
  Store store = Store::kSet;
  Activation activation = Activation::kSilu;
  bool clamped = false;  ///< with kMultiplyAct: as gpt-oss gates, in place of the activation
  uint64_t chosen = 0;   ///< address of the matrix of each input; 0: the first
  uint64_t sorted = 0;   ///< of many: address of what SortChoices made of them
  uint32_t share = 1;    ///< inputs that read the same
  /// All matrices of a stack: so many, each with its own part of inputs and outputs.
  uint32_t matrices = 1, in_step = 0, out_step = 0;
};

/// Those of a stack that are there.
struct ExpertRange {
  uint32_t first = 0, count = UINT32_MAX;
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
  /// Inputs of so many columns, side by side, rounded to 8 bits: words of RoundedWords, for
  /// ProductCall::codes.
  absl::Status Round(uint64_t x, uint32_t inputs, uint32_t columns, uint64_t to);
  /// A weight that the device has no room for comes in parts.
  absl::Status Multiply(const ProductCall& call);
  /// Plain products of the same inputs, in few dispatches where the inputs are few.
  absl::Status MultiplyAll(std::span<const ProductCall> calls);
  /// to = act(gate in) * (call.matrix in), in one dispatch where the inputs are few and both
  /// matrices of one format.
  absl::Status MultiplyGated(const Matrix& gate, const ProductCall& call);
  /// So many choices among so many experts at most, sorted to `to`: words of ChoiceWords.
  absl::Status SortChoices(uint64_t chosen, uint32_t choices, uint32_t experts, uint64_t to);
  /// Both, which are independent of each other; the second may be empty.
  absl::Status Copy(const CopyCall& call, const CopyCall& other = {});
  /// Rows of a weight that is there as f32, for tests of the formats.
  absl::Status Decode(const WeightPtr& weight, uint64_t to);

 private:
  /// Rows [first, first + count) of the matrix, which are among `rows`; of inputs that chose one of
  /// the given experts.
  absl::Status MultiplyRows(const ProductCall& call, const DeviceRows& rows, uint32_t first,
                            uint32_t count, ExpertRange experts = {});
  /// Of many inputs whose choices are sorted.
  absl::Status MultiplySorted(const ProductCall& call, const DeviceRows& rows, ExpertRange experts);
  /// In parts: of a matrix some rows, of a stack some experts.
  absl::Status MultiplyInParts(const ProductCall& call);
  /// Inputs of one dispatch at most, in whole workgroups of so many and with those that share one;
  /// `work`: operations of an input.
  uint32_t MostInputs(const ProductCall& call, double work, uint32_t together) const;
  /// Whether the products can be parts of one dispatch.
  absl::StatusOr<bool> Join(const ProductCall& one, const ProductCall& other);
  absl::Status MultiplyParts(std::span<const ProductCall* const> calls);

  Device& device_;
  Memory tables_;
};

/// Of an input of so many columns, a multiple of 32.
inline uint32_t RoundedWords(uint32_t columns) { return columns / 32 * 9; }
/// Whether the matrix takes inputs rounded to 8 bits.
bool TakesRounded(const Matrix& matrix);
/// From how many inputs on, and up to how many experts, choices are sorted.
bool WorthSorting(uint64_t choices, uint32_t tokens, uint32_t experts);
uint64_t ChoiceWords(uint64_t choices, uint32_t experts);
/// Workgroups for `count` invocations that stride over what is left.
Groups GroupsFor(uint64_t count);
/// So many floats.
inline Range FloatRange(uint64_t address, uint64_t count) {
  return {address, address == 0 ? 0 : count * sizeof(float)};
}
/// The values of an optional small weight, brought to the device; 0: there is none.
absl::StatusOr<Range> ValuesAt(Device& device, const WeightPtr& weight);

}  // namespace smelt::vulkan
