// Blocked and right-looking: every element takes the products of earlier rows one after the other,
// whatever the width of the vectors and the number of threads.
#include "quant/cholesky.h"

#include <algorithm>
#include <cmath>

#include "lib/base/parallel.h"
#include "lib/base/status.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/cholesky.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace smelt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<double, 8>;

/// Rows p0 .. p1 of the factor in columns c0 .. c1 (multiples of 8), the diagonal block being done.
void SolvePanel(uint64_t stride, uint64_t p0, uint64_t p1, uint64_t c0, uint64_t c1, double* a) {
  const D d;
  for (uint64_t c = c0; c < c1; c += hn::Lanes(d)) {
    for (uint64_t p = p0; p < p1; ++p) {
      auto value = hn::LoadU(d, a + p * stride + c);
      for (uint64_t q = p0; q < p; ++q) {
        const auto product =
            hn::Mul(hn::Set(d, a[q * stride + p]), hn::LoadU(d, a + q * stride + c));
        value = hn::Sub(value, product);
      }
      hn::StoreU(hn::Div(value, hn::Set(d, a[p * stride + p])), d, a + p * stride + c);
    }
  }
}

/// Takes the products of rows p0 .. p1 off rows r0 .. r1 from column r0 (a multiple of 8) on.
void UpdateRows(uint64_t stride, uint64_t p0, uint64_t p1, uint64_t r0, uint64_t r1, double* a) {
  const D d;
  constexpr uint64_t kRows = 4, kVectors = 2;
  const uint64_t lanes = hn::Lanes(d);
  for (uint64_t c = r0; c < stride; c += 8) {
    for (uint64_t part = 0; part < 8; part += kVectors * lanes) {
      const uint64_t vectors = std::min<uint64_t>(kVectors, (8 - part) / lanes);
      for (uint64_t r = r0; r < r1; r += kRows) {
        const uint64_t rows = std::min(kRows, r1 - r);
        hn::Vec<D> sums[kRows][kVectors];
        double* const corner = a + r * stride + c + part;
        for (uint64_t i = 0; i < kRows; ++i) {
          for (uint64_t v = 0; v < kVectors; ++v) {
            sums[i][v] = i < rows && v < vectors ? hn::LoadU(d, corner + i * stride + v * lanes)
                                                 : hn::Zero(d);
          }
        }
        for (uint64_t p = p0; p < p1; ++p) {
          const double* const row = a + p * stride;
          const auto right0 = hn::LoadU(d, row + c + part);
          const auto right1 = vectors > 1 ? hn::LoadU(d, row + c + part + lanes) : hn::Zero(d);
          for (uint64_t i = 0; i < kRows; ++i) {
            const auto left = hn::Set(d, row[r + std::min(i, rows - 1)]);
            sums[i][0] = hn::Sub(sums[i][0], hn::Mul(left, right0));
            sums[i][1] = hn::Sub(sums[i][1], hn::Mul(left, right1));
          }
        }
        for (uint64_t i = 0; i < rows; ++i)
          for (uint64_t v = 0; v < vectors; ++v)
            hn::StoreU(sums[i][v], d, corner + i * stride + v * lanes);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace smelt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace smelt {

HWY_EXPORT(SolvePanel);
HWY_EXPORT(UpdateRows);

namespace {

constexpr uint64_t kPanel = 64;

/// The block on the diagonal, by itself.
bool FactorBlock(uint64_t stride, uint64_t p0, uint64_t p1, const double* least, double* a) {
  for (uint64_t p = p0; p < p1; ++p) {
    double* const row = a + p * stride;
    if (!(row[p] >= least[p])) return false;
    row[p] = std::sqrt(row[p]);
    for (uint64_t c = p + 1; c < p1; ++c) row[c] /= row[p];
    for (uint64_t r = p + 1; r < p1; ++r)
      for (uint64_t c = r; c < p1; ++c) a[r * stride + c] -= row[r] * row[c];
  }
  return true;
}

}  // namespace

absl::StatusOr<bool> FactorCholesky(uint64_t n, const double* least, double* a) {
  const uint64_t stride = CholeskyStride(n);
  for (uint64_t p0 = 0; p0 < n; p0 += kPanel) {
    const uint64_t p1 = std::min(n, p0 + kPanel);
    if (!FactorBlock(stride, p0, p1, least, a)) return false;
    if (p1 == n) break;
    SMELT_RETURN_IF_ERROR(
        ParallelFor((stride - p1) / 8, 32, [&](uint64_t begin, uint64_t end) -> absl::Status {
          HWY_DYNAMIC_DISPATCH(SolvePanel)(stride, p0, p1, p1 + 8 * begin, p1 + 8 * end, a);
          return absl::OkStatus();
        }));
    // Of the rows below, eight at a time, since columns start at a multiple of 8.
    SMELT_RETURN_IF_ERROR(
        ParallelFor((n - p1 + 7) / 8, 4, [&](uint64_t begin, uint64_t end) -> absl::Status {
          const uint64_t last = std::min(n, p1 + 8 * end);
          HWY_DYNAMIC_DISPATCH(UpdateRows)(stride, p0, p1, p1 + 8 * begin, last, a);
          return absl::OkStatus();
        }));
  }
  return true;
}

}  // namespace smelt
#endif  // HWY_ONCE
