// Vector kernels of attention for few queries, each a row.
#pragma once

#include <cstddef>
#include <cstdint>

namespace smelt::cpu {

inline constexpr size_t kKeysAtOnce = 64;  ///< of one call, at most: scores stay in the first cache

struct RowAttention {
  size_t heads = 0;  ///< queries that look at the same keys
  size_t key_size = 0, value_size = 0;
  float scale = 1, softcap = 0;
};

/// One block of the online softmax: `q` [heads][key_size] looks at `count` rows of keys, and
/// weighted rows of values are added to `out` [heads][value_size]. `maximum` and `sum` of each head
/// are brought up to date, and `out` is scaled accordingly; they begin with kMasked, 0 and zeros.
/// A row is read from memory once for all heads.
void AttendKeys(const RowAttention& a, const float* q, const float* keys, size_t key_stride,
                const float* values, size_t value_stride, size_t count, float* maximum, float* sum,
                float* out);

}  // namespace smelt::cpu
