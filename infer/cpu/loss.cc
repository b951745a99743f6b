#include "infer/cpu/loss.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "infer/cpu/loss_kernel.h"
#include "infer/cpu/matmul.h"
#include "infer/cpu/weights.h"
#include "lib/base/job_scope.h"
#include "lib/base/parallel.h"
#include "lib/base/per_thread.h"
#include "lib/base/status.h"

namespace smelt::cpu {
namespace {

// The vocabulary in this many parts with statistics of their own, merged in order: the result does
// not depend on threads.
constexpr uint64_t kParts = 32;
constexpr uint64_t kTileFloats = 1u << 18;
constexpr uint32_t kMaxTileRows = 96;
constexpr size_t kFewTokens = 5;

// One model's gathered activations.
struct Side {
  const Head* head = nullptr;
  Array<float> x;
  Input input;
  bool q8 = false;
};

absl::Status Prepare(const Layout& layout, const LossSide& from, std::span<const uint32_t> tokens,
                     uint32_t lanes, Precision precision, Side& side) {
  const Matrix& m = from.head->output;
  const uint32_t panels = static_cast<uint32_t>((tokens.size() + lanes - 1) / lanes);
  side.head = from.head;
  side.x = Array<float>(static_cast<size_t>(panels) * lanes * m.columns);
  SMELT_RETURN_IF_ERROR(
      GatherTokens(layout, from.x->data(), m.columns, tokens, lanes, side.x.data()));
  side.input.Set(side.x.data(), m.columns, panels, lanes);
  side.q8 = UsesQ8(AsCpu(m.weight), precision);
  return side.q8 ? side.input.Quantize() : absl::OkStatus();
}

uint32_t TileRowsFor(const Side& side) {
  const uint64_t fit = kTileFloats / side.head->output.columns / 12 * 12;
  return static_cast<uint32_t>(std::clamp<uint64_t>(fit, 12, kMaxTileRows));
}

// Rows [first, first + rows) of the vocabulary for one panel.
void TileLogits(const Side& side, const WeightTile& tile, uint32_t panel, uint64_t first,
                uint64_t rows, float* logits) {
  tile.Multiply(side.input, panel, logits);
  const Matrix& m = side.head->output;
  const float* bias = m.bias == nullptr ? nullptr : ValuesOf(m.bias) + m.first_row + first;
  if (bias != nullptr || side.head->scale != 1 || side.head->softcap > 0)
    FinishLogits(logits, rows, bias, side.head->scale, side.head->softcap);
}

struct LossScratch {
  WeightTile model, reference;
  Array<float> model_logits, reference_logits;
};
const PerThread<LossScratch> scratch;

// Statistics of one part of the vocabulary for all panels.
absl::Status Part(const Side& model, const Side* reference, uint64_t begin, uint64_t end,
                  std::span<const Target> targets, std::vector<PanelStats>& stats) {
  const uint64_t tile_rows = reference == nullptr
                                 ? TileRowsFor(model)
                                 : std::min(TileRowsFor(model), TileRowsFor(*reference));
  float* a = scratch->model_logits.Reserve(kMaxTileRows * kPanel);
  float* b =
      reference == nullptr ? nullptr : scratch->reference_logits.Reserve(kMaxTileRows * kPanel);
  for (PanelStats& s : stats) ClearStats(s);
  for (uint64_t first = begin; first < end; first += tile_rows) {
    const uint64_t rows = std::min(tile_rows, end - first);
    SMELT_RETURN_IF_ERROR(scratch->model.Load(model.head->output, first, rows, model.q8));
    if (reference != nullptr)
      SMELT_RETURN_IF_ERROR(
          scratch->reference.Load(reference->head->output, first, rows, reference->q8));
    for (uint32_t panel = 0; panel < stats.size(); ++panel) {
      if (MustStop()) return GoOn();
      TileLogits(model, scratch->model, panel, first, rows, a);
      if (reference != nullptr) TileLogits(*reference, scratch->reference, panel, first, rows, b);
      UpdateStats(a, b, rows, static_cast<int32_t>(first), stats[panel]);
      const size_t lanes = std::min<size_t>(kPanel, targets.size() - panel * kPanel);
      for (size_t lane = 0; lane < lanes; ++lane) {
        const uint64_t row = static_cast<uint64_t>(targets[panel * kPanel + lane].next) - first;
        if (row >= rows) continue;
        stats[panel].model.target[lane] = a[row * kPanel + lane];
        if (reference != nullptr) stats[panel].reference.target[lane] = b[row * kPanel + lane];
      }
    }
  }
  return absl::OkStatus();
}

double LogSum(const SideStats& s, size_t lane) {
  return static_cast<double>(s.top[lane]) + std::log(s.sum[lane]);
}

/// ln(e^a + e^b), where b may be -infinity.
double LogAdd(double a, double b) {
  return std::max(a, b) + std::log1p(std::exp(-std::fabs(a - b)));
}

/// One model's nll over its whole vocabulary: `tail` holds the rows that only it has.
double Nll(const SideStats& s, const SideStats* tail, size_t lane, bool& finite) {
  const double sum = LogSum(s, lane);
  const double nll = (tail == nullptr ? sum : LogAdd(sum, LogSum(*tail, lane))) -
                     static_cast<double>(s.target[lane]);
  finite = std::isfinite(s.not_finite[lane]) && std::isfinite(nll) &&
           (tail == nullptr || std::isfinite(tail->not_finite[lane]));
  return nll;
}

/// Statistics of rows that only one of the models has.
struct Tails {
  const SideStats *model = nullptr, *reference = nullptr;
};

TokenLoss Finish(const PanelStats& s, const Tails& tails, size_t lane, bool with_reference) {
  TokenLoss loss;
  loss.nll = Nll(s.model, tails.model, lane, loss.finite);
  if (!with_reference) return loss;
  loss.reference_nll = Nll(s.reference, tails.reference, lane, loss.reference_finite);
  // KL = E_p[a - b] - lse(a) + lse(b); never below zero but for rounding.
  loss.kl = std::max(
      0.0, s.gap[lane] / s.reference.sum[lane] - LogSum(s.reference, lane) + LogSum(s.model, lane));
  loss.same_top = s.model.best[lane] == s.reference.best[lane];
  return loss;
}

/// Statistics of rows [begin, end) of the vocabulary by panel. The split into parts, and so every
/// sum, does not depend on threads.
absl::StatusOr<std::vector<PanelStats>> StatsOf(const Side& model, const Side* reference,
                                                uint64_t begin, uint64_t end,
                                                std::span<const Target> targets) {
  const uint64_t per_part = std::max<uint64_t>(12, ((end - begin) / kParts + 12) / 12 * 12);
  const uint64_t parts = (end - begin + per_part - 1) / per_part;
  std::vector<std::vector<PanelStats>> stats(parts, std::vector<PanelStats>(model.input.panels));
  SMELT_RETURN_IF_ERROR(ParallelFor(parts, 1, [&](uint64_t first, uint64_t last) {
    for (uint64_t p = first; p < last; ++p) {
      const uint64_t from = begin + p * per_part;
      SMELT_RETURN_IF_ERROR(
          Part(model, reference, from, std::min(end, from + per_part), targets, stats[p]));
    }
    return absl::OkStatus();
  }));
  for (uint32_t panel = 0; panel < model.input.panels; ++panel) {
    PanelStats& all = stats[0][panel];
    const size_t lanes = std::min<size_t>(kPanel, targets.size() - panel * kPanel);
    for (size_t lane = 0; lane < lanes; ++lane) {
      const uint64_t row = static_cast<uint64_t>(targets[panel * kPanel + lane].next);
      if (row < begin || row >= end) continue;
      const PanelStats& home = stats[(row - begin) / per_part][panel];
      all.model.target[lane] = home.model.target[lane];
      all.reference.target[lane] = home.reference.target[lane];
    }
    for (uint64_t p = 1; p < parts; ++p) MergeStats(stats[p][panel], reference != nullptr, all);
  }
  return std::move(stats[0]);
}

}  // namespace

absl::Status ComputeLoss(const Layout& layout, const LossSide& model, const LossSide* reference,
                         std::span<const Target> targets, Precision precision,
                         std::span<TokenLoss> losses) {
  std::vector<uint32_t> tokens(targets.size());
  for (size_t i = 0; i < targets.size(); ++i) tokens[i] = targets[i].token;
  Side sides[2];
  SMELT_RETURN_IF_ERROR(Prepare(layout, model, tokens, kPanel, precision, sides[0]));
  if (reference != nullptr)
    SMELT_RETURN_IF_ERROR(Prepare(layout, *reference, tokens, kPanel, precision, sides[1]));
  const Side* other = reference == nullptr ? nullptr : &sides[1];

  const uint64_t rows = model.head->output.rows;
  const uint64_t other_rows = reference == nullptr ? rows : reference->head->output.rows;
  const uint64_t common = std::min(rows, other_rows);
  SMELT_ASSIGN_OR_RETURN(const std::vector<PanelStats> stats,
                         StatsOf(sides[0], other, 0, common, targets));
  std::vector<PanelStats> tail;
  if (rows != other_rows) {
    SMELT_ASSIGN_OR_RETURN(tail, StatsOf(sides[rows < other_rows ? 1 : 0], nullptr, common,
                                         std::max(rows, other_rows), targets));
  }
  for (uint32_t panel = 0; panel < sides[0].input.panels; ++panel) {
    Tails tails;
    if (!tail.empty()) (rows < other_rows ? tails.reference : tails.model) = &tail[panel].model;
    const size_t lanes = std::min<size_t>(kPanel, targets.size() - panel * kPanel);
    for (size_t lane = 0; lane < lanes; ++lane)
      losses[panel * kPanel + lane] = Finish(stats[panel], tails, lane, reference != nullptr);
  }
  return absl::OkStatus();
}

absl::Status TokenLogits(const Layout& layout, const LossSide& from,
                         std::span<const uint32_t> tokens, Precision precision,
                         std::span<float> logits) {
  Side side;
  const uint32_t lanes = tokens.size() <= kFewTokens ? 1 : kPanel;
  SMELT_RETURN_IF_ERROR(Prepare(layout, from, tokens, lanes, precision, side));
  const Matrix& m = from.head->output;
  if (lanes == 1) {
    SMELT_RETURN_IF_ERROR(
        MatMul(m, Store::kSet, Activation::kSilu, precision, side.input, logits.data()));
    for (float& v : logits) {
      v *= side.head->scale;
      if (side.head->softcap > 0) v = side.head->softcap * std::tanh(v / side.head->softcap);
    }
    return absl::OkStatus();
  }
  const uint32_t tile_rows = TileRowsFor(side);
  return ParallelFor(m.rows, tile_rows, [&](uint64_t first, uint64_t last) {
    SMELT_RETURN_IF_ERROR(scratch->model.Load(m, first, last - first, side.q8));
    float* tile = scratch->model_logits.Reserve(kMaxTileRows * kPanel);
    for (uint32_t panel = 0; panel < side.input.panels; ++panel) {
      TileLogits(side, scratch->model, panel, first, last - first, tile);
      const size_t count = std::min<size_t>(kPanel, tokens.size() - panel * kPanel);
      for (size_t lane = 0; lane < count; ++lane) {
        float* to = logits.data() + (panel * kPanel + lane) * m.rows + first;
        for (uint64_t r = 0; r < last - first; ++r) to[r] = tile[r * kPanel + lane];
      }
    }
    return absl::OkStatus();
  });
}

}  // namespace smelt::cpu
