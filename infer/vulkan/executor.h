// Runs a program's operations one after the other.
#pragma once

#include <algorithm>
#include <array>
#include <initializer_list>
#include <span>
#include <type_traits>

#include "absl/status/status.h"
#include "infer/vulkan/backend.h"
#include "infer/vulkan/kernels.h"
#include "infer/vulkan/state.h"
#include "lib/base/status.h"

namespace smelt::vulkan {

class Executor {
 public:
  Executor(Kernels& kernels, const DeviceProgram& program, DeviceBatch& batch, DeviceState& state,
           DeviceBuffer& x, DeviceBuffer* inputs, Tap* tap)
      : kernels_(kernels),
        graph_(program.graph),
        precision_(program.precision),
        batch_(batch),
        state_(state),
        x_(x),
        inputs_(inputs),
        tap_(tap) {}

  absl::Status RunAll();

 private:
  using Segment = DeviceBatch::Segment;

  Device& device() const { return kernels_.device(); }
  /// f(some of a segment's tokens), in order, so many at once that a dispatch stays short; `work`:
  /// operations of a token.
  template <typename F>
  absl::Status ForTokens(const Segment& all, double work, const F& f) const {
    const double most = std::max(1.0, device().most_work() / work);
    for (uint32_t done = 0; done < all.tokens;) {
      Segment some{all.first + done, all.tokens - done, all.position + done};
      if (some.tokens > most) some.tokens = static_cast<uint32_t>(most);
      SMELT_RETURN_IF_ERROR(f(some));
      done += some.tokens;
    }
    return absl::OkStatus();
  }
  uint64_t At(Slot slot) const;
  /// For the tap: a slot's values, and those of a temporary.
  absl::StatusOr<std::vector<float>> Fetch(Slot slot, uint32_t features);
  template <typename T>
  absl::StatusOr<std::vector<T>> Fetch(Temporary which, uint64_t count) {
    std::vector<T> values(count);
    SMELT_RETURN_IF_ERROR(
        device().Read(batch_.temporary(which), 0, std::as_writable_bytes(std::span(values))));
    return values;
  }
  /// Where a token's features begin, from the first one's on.
  static uint64_t Bytes(uint64_t token, uint64_t features) {
    return token * features * sizeof(float);
  }
  /// Address of so many inputs of the matrices, rounded to 8 bits for those that take them so; 0
  /// where none does. Until the next ones are rounded.
  absl::StatusOr<uint64_t> Rounded(std::initializer_list<const Matrix*> matrices, uint64_t x,
                                   uint32_t inputs) {
    return Rounded(std::span(matrices.begin(), matrices.size()), x, inputs);
  }
  absl::StatusOr<uint64_t> Rounded(std::span<const Matrix* const> matrices, uint64_t x,
                                   uint32_t inputs);
  absl::Status Do(const NormOp& op);
  absl::Status Do(const AddOp& op);
  absl::Status Do(const ScaleOp& op);
  /// Of the products of one input [first, first + count).
  absl::Status Multiply(size_t first, size_t count);
  absl::Status Do(const RopeOp& op);
  absl::Status Do(const TemperatureOp& op);
  absl::Status Do(const CopyOp& op);
  absl::Status Do(const GateOp& op);
  absl::Status Do(const ClampOp& op);
  absl::Status Do(const XieluOp& op);
  // attention.cc
  absl::Status Do(const AttentionOp& op);
  absl::Status Do(const LatentAttentionOp& op);
  /// A sequence's part of a slot, which goes behind what its cache holds.
  CopyCall Rows(Slot slot, uint32_t features, size_t sequence, Memory DeviceSequence::*cache) const;
  absl::Status AppendAll(Slot k, uint32_t key_columns, Slot v, uint32_t value_columns);
  absl::Status Attend(const AttentionOp& op, uint64_t q, uint64_t to);
  /// Queries, which go into the matrices of keys before a temperature scales what comes of it.
  absl::Status WatchQueries(const LatentAttentionOp& op);
  // experts.cc
  absl::Status Do(const ExpertsOp& op);
  absl::Status RunChosen(const ExpertsOp& op, uint64_t chosen, uint64_t weights);
  absl::Status RunShared(const ExpertsOp& op);
  /// hidden = act(gate in) * (up in), or act(up in).
  absl::Status Hidden(const Matrix& gate, const Matrix& up, const ProductCall& like,
                      uint64_t hidden);
  // recurrent.cc
  absl::Status Do(const ConvOp& op);
  absl::Status Do(const Scan1Op& op);
  absl::Status Do(const Scan2Op& op);
  absl::Status Do(const DeltaOp& op);

  Kernels& kernels_;
  const Graph& graph_;
  const Precision precision_;
  DeviceBatch& batch_;
  DeviceState& state_;
  DeviceBuffer& x_;
  DeviceBuffer* inputs_;
  Tap* const tap_;
  bool queries_watched_ = false;
  uint64_t scratch_ = 0;  // address
};

}  // namespace smelt::vulkan
