#include "infer/cpu/attention_kernel.h"

#include <algorithm>
#include <type_traits>

#include "infer/cpu/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "infer/cpu/attention_kernel.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "infer/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace smelt::cpu {
namespace HWY_NAMESPACE {

constexpr size_t kRows = 4;  // keys, or values, of a tile

// Heads of a tile: with four rows of keys, sums and operands fill 16 registers, or 32.
#if HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM
constexpr size_t kTileHeads = 4;
#else
constexpr size_t kTileHeads = 2;
#endif

#if HWY_TARGET == HWY_SCALAR
HWY_INLINE void StoreSums(D, V a, V b, V c, V e, float* out) {
  out[0] = hn::GetLane(a), out[1] = hn::GetLane(b), out[2] = hn::GetLane(c);
  out[3] = hn::GetLane(e);
}
#else
// Adds up the blocks of four lanes.
template <class DD>
HWY_INLINE void StoreSumOfBlocks(DD d, hn::Vec<DD> v, float* out) {
  if constexpr (hn::MaxLanes(DD()) > 4) {
    const hn::Half<DD> half;
    StoreSumOfBlocks(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)), out);
  } else {
    hn::StoreU(v, d, out);
  }
}

// out[i] = sum of the lanes of the i-th of four vectors.
HWY_INLINE void StoreSums(D d, V a, V b, V c, V e, float* out) {
  const hn::Repartition<uint64_t, D> pairs;
  const auto ab =
      hn::BitCast(pairs, hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b)));
  const auto ce =
      hn::BitCast(pairs, hn::Add(hn::InterleaveLower(d, c, e), hn::InterleaveUpper(d, c, e)));
  StoreSumOfBlocks(d,
                   hn::Add(hn::BitCast(d, hn::InterleaveLower(pairs, ab, ce)),
                           hn::BitCast(d, hn::InterleaveUpper(pairs, ab, ce))),
                   out);
}
#endif

// Four rows, of which the last may be there several times.
struct FourRows {
  FourRows(const float* first, size_t stride, size_t count) {
    for (size_t i = 0; i < kRows; ++i) row[i] = first + std::min(i, count - 1) * stride;
  }
  const float* row[kRows];
};

// scores[head][0 .. 4) = q . keys
template <size_t kHeads>
HWY_INLINE void ScoreTile(const float* HWY_RESTRICT q, const FourRows& keys, size_t size,
                          float* HWY_RESTRICT scores) {
  const D d;
  const size_t n = hn::Lanes(d);
  V sum[kHeads][kRows];
  for (size_t h = 0; h < kHeads; ++h) {
    for (size_t r = 0; r < kRows; ++r) sum[h][r] = hn::Zero(d);
  }
  const float *k0 = keys.row[0], *k1 = keys.row[1], *k2 = keys.row[2], *k3 = keys.row[3];
  size_t i = 0;
  for (; i + n <= size; i += n) {
    const V key0 = hn::LoadU(d, k0 + i), key1 = hn::LoadU(d, k1 + i), key2 = hn::LoadU(d, k2 + i),
            key3 = hn::LoadU(d, k3 + i);
    for (size_t h = 0; h < kHeads; ++h) {
      const V query = hn::LoadU(d, q + h * size + i);
      sum[h][0] = hn::MulAdd(query, key0, sum[h][0]);
      sum[h][1] = hn::MulAdd(query, key1, sum[h][1]);
      sum[h][2] = hn::MulAdd(query, key2, sum[h][2]);
      sum[h][3] = hn::MulAdd(query, key3, sum[h][3]);
    }
  }
  for (size_t h = 0; h < kHeads; ++h) {
    float* to = scores + h * kKeysAtOnce;
    StoreSums(d, sum[h][0], sum[h][1], sum[h][2], sum[h][3], to);
    for (size_t j = i; j < size; ++j) {
      for (size_t r = 0; r < kRows; ++r) to[r] += q[h * size + j] * keys.row[r][j];
    }
  }
}

// out[head] += weights[head][0 .. 4) . values
template <size_t kHeads>
HWY_INLINE void ValueTile(const float* HWY_RESTRICT weights, const FourRows& values, size_t size,
                          float* HWY_RESTRICT out) {
  const D d;
  const size_t n = hn::Lanes(d);
  V weight[kHeads][kRows];
  for (size_t h = 0; h < kHeads; ++h) {
    for (size_t r = 0; r < kRows; ++r) weight[h][r] = hn::Set(d, weights[h * kKeysAtOnce + r]);
  }
  const float *v0 = values.row[0], *v1 = values.row[1], *v2 = values.row[2], *v3 = values.row[3];
  size_t i = 0;
  for (; i + n <= size; i += n) {
    const V value0 = hn::LoadU(d, v0 + i), value1 = hn::LoadU(d, v1 + i),
            value2 = hn::LoadU(d, v2 + i), value3 = hn::LoadU(d, v3 + i);
    for (size_t h = 0; h < kHeads; ++h) {
      V sum = hn::LoadU(d, out + h * size + i);
      sum = hn::MulAdd(weight[h][0], value0, sum);
      sum = hn::MulAdd(weight[h][1], value1, sum);
      sum = hn::MulAdd(weight[h][2], value2, sum);
      sum = hn::MulAdd(weight[h][3], value3, sum);
      hn::StoreU(sum, d, out + h * size + i);
    }
  }
  for (; i < size; ++i) {
    for (size_t h = 0; h < kHeads; ++h) {
      for (size_t r = 0; r < kRows; ++r)
        out[h * size + i] += weights[h * kKeysAtOnce + r] * values.row[r][i];
    }
  }
}

// f(constant number of heads, first head) for all of them.
template <size_t kHeads = kTileHeads, typename F>
HWY_INLINE void ForTiles(size_t heads, const F& f, size_t first = 0) {
  for (; first + kHeads <= heads; first += kHeads)
    f(std::integral_constant<size_t, kHeads>(), first);
  if constexpr (kHeads > 1) ForTiles<kHeads - 1>(heads, f, first);
}

// Scores become exp(score - new maximum), those past the last key 0; returns what earlier sums are
// to be multiplied by.
float SoftmaxOfBlock(const RowAttention& a, size_t count, float* HWY_RESTRICT scores,
                     float& maximum, float& sum) {
  const D d;
  const size_t n = hn::Lanes(d);
  const V scale = hn::Set(d, a.scale);
  for (size_t k = 0; k < count; k += n) {
    V v = hn::Mul(hn::Load(d, scores + k), scale);
    if (a.softcap > 0) v = SoftCap(d, v, a.softcap);
    hn::Store(v, d, scores + k);
  }
  const size_t unit = std::max(n, kRows), whole = (count + unit - 1) / unit * unit;
  std::fill(scores + count, scores + whole, kMasked);
  V top = hn::Set(d, maximum);
  for (size_t k = 0; k < whole; k += n) top = hn::Max(top, hn::Load(d, scores + k));
  const float highest = hn::GetLane(hn::MaxOfLanes(d, top));
  top = hn::Set(d, highest);
  V total = hn::Zero(d);
  for (size_t k = 0; k < whole; k += n) {
    const V e = ExpOrNan(d, hn::Sub(hn::Load(d, scores + k), top));
    hn::Store(e, d, scores + k);
    total = hn::Add(total, e);
  }
  const float correction = hn::GetLane(ExpOrNan(d, hn::Sub(hn::Set(d, maximum), top)));
  sum = sum * correction + hn::GetLane(hn::SumOfLanes(d, total));
  maximum = highest;
  return correction;
}

void AttendKeysImpl(const RowAttention& a, const float* q, const float* keys, size_t key_stride,
                    const float* values, size_t value_stride, size_t count, float* maximum,
                    float* sum, float* out) {
  constexpr size_t kMostHeads = 16;
  alignas(64) float scores[kMostHeads * kKeysAtOnce];
  for (size_t first = 0; first < a.heads; first += kMostHeads) {
    const size_t heads = std::min(kMostHeads, a.heads - first);
    for (size_t k = 0; k < count; k += kRows) {
      const FourRows rows(keys + k * key_stride, key_stride, count - k);
      ForTiles(heads, [&](auto tile, size_t h) HWY_ATTR {
        ScoreTile<tile>(q + (first + h) * a.key_size, rows, a.key_size,
                        scores + h * kKeysAtOnce + k);
      });
    }
    float* const sums = out + first * a.value_size;
    for (size_t h = 0; h < heads; ++h) {
      const float correction =
          SoftmaxOfBlock(a, count, scores + h * kKeysAtOnce, maximum[first + h], sum[first + h]);
      if (correction == 1.0f) continue;
      float* const row = sums + h * a.value_size;
      for (size_t i = 0; i < a.value_size; ++i) row[i] *= correction;
    }
    for (size_t k = 0; k < count; k += kRows) {
      const FourRows rows(values + k * value_stride, value_stride, count - k);
      ForTiles(heads, [&](auto tile, size_t h) HWY_ATTR {
        ValueTile<tile>(scores + h * kKeysAtOnce + k, rows, a.value_size, sums + h * a.value_size);
      });
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace smelt::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace smelt::cpu {

HWY_EXPORT(AttendKeysImpl);

void AttendKeys(const RowAttention& a, const float* q, const float* keys, size_t key_stride,
                const float* values, size_t value_stride, size_t count, float* maximum, float* sum,
                float* out) {
  HWY_DYNAMIC_DISPATCH(AttendKeysImpl)
  (a, q, keys, key_stride, values, value_stride, count, maximum, sum, out);
}

}  // namespace smelt::cpu
#endif  // HWY_ONCE
