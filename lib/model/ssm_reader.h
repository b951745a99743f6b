// State-space blocks as GGUF files hold them.
#pragma once

#include "lib/model/block_reader.h"

namespace smelt {

/// Reads ssm.* keys once, then block after block.
class SsmReader {
 public:
  /// `grouped`: the keys of Mamba-2 and of gated delta nets.
  static absl::StatusOr<SsmReader> Create(SpecReader& reader, BlockReader& blocks, bool grouped);

  /// `normed`: with norms on dt, B and C that have weights (Jamba).
  absl::StatusOr<Mamba1> ReadMamba1(uint64_t layer, bool normed);
  /// `norm_needed`: a block without norm is refused.
  absl::StatusOr<Mamba2> ReadMamba2(uint64_t layer, bool norm_needed = true);
  absl::StatusOr<DeltaNet> ReadDeltaNet(uint64_t layer, bool alternating);

 private:
  SsmReader(SpecReader& reader, BlockReader& blocks) : reader_(reader), blocks_(blocks) {}

  SpecReader& reader_;
  BlockReader& blocks_;
  uint64_t conv_ = 0, inner_ = 0, state_ = 0, rank_ = 0, groups_ = 1;
  double dt_min_ = 0, dt_max_ = 0;
  bool norm_before_gate_ = false;
  Norm plain_norm_;  // of dt, B and C, without weights
};

}  // namespace smelt
