// Multi-head latent attention as GGUF files hold it.
#pragma once

#include "lib/model/block_reader.h"

namespace smelt {

/// Reads its keys once, then block after block.
class LatentReader {
 public:
  /// `blocks` has its attention prepared.
  static absl::StatusOr<LatentReader> Create(SpecReader& reader, BlockReader& blocks,
                                             const Architecture& architecture);
  absl::StatusOr<LatentAttention> Read(uint64_t layer);

 private:
  LatentReader(SpecReader& reader, BlockReader& blocks) : reader_(reader), blocks_(blocks) {}

  SpecReader& reader_;
  BlockReader& blocks_;
  uint64_t q_rank_ = 0, rank_ = 0, key_size_ = 0, value_size_ = 0;
  double scale_ = 0, epsilon_ = 0;
};

}  // namespace smelt
