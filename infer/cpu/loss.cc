#include "infer/cpu/loss.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "infer/cpu/loss_kernel.h"
#include "infer/cpu/matmul.h"
#include "infer/cpu/weights.h"
#include "infer/log_add.h"
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
constexpr size_t kFewTargets = 5;

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

// `floats`: of a tile.
uint32_t TileRowsFor(const Side& side, uint64_t floats = kTileFloats) {
  const uint64_t fit = floats / side.head->output.columns / 12 * 12;
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
  std::vector<WeightTile> tiles;  ///< of each side
  Array<float> logits, reference_logits;
};
const PerThread<LossScratch> loss_scratch;

/// Models and, where there is one, the reference behind them.
struct Sides {
  std::span<const Side> models;
  const Side* reference = nullptr;

  uint32_t panels() const { return models[0].input.panels; }
  size_t count() const { return models.size() + (reference != nullptr ? 1 : 0); }
  /// Rows of a tile, such that those of all sides take what two of a pair do.
  uint32_t tile_rows() const {
    const uint64_t floats = 2 * kTileFloats / std::max<uint64_t>(count(), 2);
    uint32_t rows = reference != nullptr ? TileRowsFor(*reference, floats) : kMaxTileRows;
    for (const Side& model : models) rows = std::min(rows, TileRowsFor(model, floats));
    return rows;
  }
};

// The next token's logit of each position of a panel, where it is among the rows from `first` on.
void TakeTargets(const float* logits, uint64_t first, uint64_t rows,
                 std::span<const Target> of_panel, float* target) {
  for (size_t lane = 0; lane < of_panel.size(); ++lane) {
    const uint64_t row = static_cast<uint64_t>(of_panel[lane].next) - first;
    if (row < rows) target[lane] = logits[row * kPanel + lane];
  }
}

std::span<const Target> OfPanel(std::span<const Target> targets, uint32_t panel) {
  const size_t begin = size_t{panel} * kPanel;
  return targets.subspan(begin, std::min<size_t>(kPanel, targets.size() - begin));
}

// Statistics of one part of the vocabulary, [model][panel].
absl::Status Part(const Sides& sides, uint64_t begin, uint64_t end, std::span<const Target> targets,
                  std::vector<PanelStats>& stats) {
  const uint64_t tile_rows = sides.tile_rows();
  const size_t models = sides.models.size();
  std::vector<WeightTile>& tiles = loss_scratch->tiles;
  if (tiles.size() < sides.count()) tiles.resize(sides.count());
  float* a = loss_scratch->logits.Reserve(kMaxTileRows * kPanel);
  float* b = sides.reference == nullptr
                 ? nullptr
                 : loss_scratch->reference_logits.Reserve(kMaxTileRows * kPanel);
  for (PanelStats& s : stats) ClearStats(s);
  for (uint64_t first = begin; first < end; first += tile_rows) {
    const uint64_t rows = std::min(tile_rows, end - first);
    for (size_t i = 0; i < sides.count(); ++i) {
      const Side& side = i < models ? sides.models[i] : *sides.reference;
      SMELT_RETURN_IF_ERROR(tiles[i].Load(side.head->output, first, rows, side.q8));
    }
    for (uint32_t panel = 0; panel < sides.panels(); ++panel) {
      if (MustStop()) return GoOn();
      const std::span<const Target> of_panel = OfPanel(targets, panel);
      if (b != nullptr) TileLogits(*sides.reference, tiles[models], panel, first, rows, b);
      for (size_t i = 0; i < models; ++i) {
        PanelStats& s = stats[i * sides.panels() + panel];
        TileLogits(sides.models[i], tiles[i], panel, first, rows, a);
        UpdateStats(a, b, rows, static_cast<int32_t>(first), s);
        TakeTargets(a, first, rows, of_panel, s.model.target);
        if (b != nullptr) TakeTargets(b, first, rows, of_panel, s.reference.target);
      }
    }
  }
  return absl::OkStatus();
}

double LogSum(const SideStats& s, size_t lane) {
  return static_cast<double>(s.top[lane]) + std::log(s.sum[lane]);
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

/// Statistics of rows [begin, end) of the vocabulary, [model][panel]. The split into parts, and so
/// every sum, does not depend on threads.
absl::StatusOr<std::vector<PanelStats>> StatsOf(const Sides& sides, uint64_t begin, uint64_t end,
                                                std::span<const Target> targets) {
  const uint64_t per_part = std::max<uint64_t>(12, ((end - begin) / kParts + 12) / 12 * 12);
  const uint64_t parts = (end - begin + per_part - 1) / per_part;
  const size_t panels = sides.panels(), count = sides.models.size() * panels;
  std::vector<std::vector<PanelStats>> stats(parts, std::vector<PanelStats>(count));
  SMELT_RETURN_IF_ERROR(ParallelFor(parts, 1, [&](uint64_t first, uint64_t last) {
    for (uint64_t p = first; p < last; ++p) {
      const uint64_t from = begin + p * per_part;
      SMELT_RETURN_IF_ERROR(Part(sides, from, std::min(end, from + per_part), targets, stats[p]));
    }
    return absl::OkStatus();
  }));
  for (size_t i = 0; i < count; ++i) {
    PanelStats& all = stats[0][i];
    const auto of_panel = OfPanel(targets, static_cast<uint32_t>(i % panels));
    for (size_t lane = 0; lane < of_panel.size(); ++lane) {
      const uint64_t row = static_cast<uint64_t>(of_panel[lane].next);
      if (row < begin || row >= end) continue;
      const PanelStats& home = stats[(row - begin) / per_part][i];
      all.model.target[lane] = home.model.target[lane];
      all.reference.target[lane] = home.reference.target[lane];
    }
    for (uint64_t p = 1; p < parts; ++p) MergeStats(stats[p][i], sides.reference != nullptr, all);
  }
  return std::move(stats[0]);
}

}  // namespace

absl::Status ComputeLoss(const Layout& layout, std::span<const LossSide> from, bool with_reference,
                         std::span<const Target> targets, Precision precision,
                         std::span<TokenLoss> losses) {
  std::vector<uint32_t> tokens(targets.size());
  for (size_t i = 0; i < targets.size(); ++i) tokens[i] = targets[i].token;
  std::vector<Side> prepared(from.size());
  for (size_t i = 0; i < from.size(); ++i)
    SMELT_RETURN_IF_ERROR(Prepare(layout, from[i], tokens, kPanel, precision, prepared[i]));
  Sides sides{prepared};
  if (with_reference) {
    sides.models = sides.models.first(prepared.size() - 1);
    sides.reference = &prepared.back();
  }

  const uint64_t rows = sides.models[0].head->output.rows;
  const uint64_t other_rows = with_reference ? sides.reference->head->output.rows : rows;
  const uint64_t common = std::min(rows, other_rows);
  SMELT_ASSIGN_OR_RETURN(const std::vector<PanelStats> stats, StatsOf(sides, 0, common, targets));
  std::vector<PanelStats> tail;  // of the models, or of the reference
  if (rows != other_rows) {
    const Sides longer{rows < other_rows ? std::span(sides.reference, 1) : sides.models};
    SMELT_ASSIGN_OR_RETURN(tail, StatsOf(longer, common, std::max(rows, other_rows), targets));
  }
  for (size_t model = 0; model < sides.models.size(); ++model) {
    for (uint32_t panel = 0; panel < sides.panels(); ++panel) {
      const size_t at = model * sides.panels() + panel;
      Tails tails;
      if (rows < other_rows) tails.reference = &tail[panel].model;
      if (rows > other_rows) tails.model = &tail[at].model;
      for (size_t lane = 0; lane < OfPanel(targets, panel).size(); ++lane) {
        losses[model * targets.size() + size_t{panel} * kPanel + lane] =
            Finish(stats[at], tails, lane, with_reference);
      }
    }
  }
  return absl::OkStatus();
}

absl::Status TokenLogits(const Layout& layout, const LossSide& from,
                         std::span<const uint32_t> tokens, Precision precision,
                         std::span<float> logits) {
  Side side;
  const uint32_t lanes = tokens.size() <= kFewTargets ? 1 : kPanel;
  SMELT_RETURN_IF_ERROR(Prepare(layout, from, tokens, lanes, precision, side));
  const Matrix& m = from.head->output;
  if (lanes == 1) {
    SMELT_RETURN_IF_ERROR(
        MatMul({.matrix = &m, .in = &side.input, .out = logits.data()}, precision));
    for (float& v : logits) {
      v *= side.head->scale;
      if (side.head->softcap > 0) v = side.head->softcap * std::tanh(v / side.head->softcap);
    }
    return absl::OkStatus();
  }
  const uint32_t tile_rows = TileRowsFor(side);
  return ParallelFor(m.rows, tile_rows, [&](uint64_t first, uint64_t last) {
    if (loss_scratch->tiles.empty()) loss_scratch->tiles.resize(1);
    SMELT_RETURN_IF_ERROR(loss_scratch->tiles[0].Load(m, first, last - first, side.q8));
    float* tile = loss_scratch->logits.Reserve(kMaxTileRows * kPanel);
    for (uint32_t panel = 0; panel < side.input.panels; ++panel) {
      TileLogits(side, loss_scratch->tiles[0], panel, first, last - first, tile);
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
