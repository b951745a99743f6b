#include "infer/stream_readers.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "lib/base/job_scope.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr uint64_t kRowsAtOnce = 256;
/// Of one tensor, at most.
constexpr uint64_t kMostRuns = 64;

/// The i-th run that is taken of so many: all, or one of each of kMostRuns equal parts. Not the
/// same one of each: of experts that would be the same rows.
uint64_t ChosenRun(uint64_t i, uint64_t runs) {
  if (runs <= kMostRuns) return i;
  constexpr uint64_t kPhases = 16, kStep = 11;  // without a common divisor
  const uint64_t first = i * runs / kMostRuns, part = (i + 1) * runs / kMostRuns - first;
  return first + i * kStep % kPhases * part / kPhases;
}

struct Reader {
  Linear linear;
  Norm norm;  ///< of the stream
};

void Add(const Linear& linear, const Norm& norm, std::vector<Reader>& to) {
  if (linear.present()) to.push_back({linear, norm});
}

void AddMixer(const Mixer& mixer, const Norm& norm, std::vector<Reader>& to) {
  if (const auto* const m = std::get_if<Attention>(&mixer)) {
    for (const Linear& linear : {m->q, m->k, m->v}) Add(linear, norm, to);
  } else if (const auto* const m = std::get_if<LatentAttention>(&mixer)) {
    Add(m->q_a.present() ? m->q_a : m->q, norm, to);
    Add(m->kv_a, norm, to);
  } else if (const auto* const m = std::get_if<Mamba1>(&mixer)) {
    Add(m->in, norm, to);
  } else if (const auto* const m = std::get_if<Mamba2>(&mixer)) {
    Add(m->in, norm, to);
  } else if (const auto* const m = std::get_if<ShortConvolution>(&mixer)) {
    Add(m->in, norm, to);
  } else if (const auto* const m = std::get_if<DeltaNet>(&mixer)) {
    Add(m->qkv, norm, to);
    Add(m->gate, norm, to);
  }
}

void AddMlp(const Mlp& mlp, const Norm& norm, std::vector<Reader>& to) {
  Add(mlp.gate, norm, to);
  Add(mlp.up, norm, to);
}

void AddExperts(const Experts& experts, const Norm& norm, std::vector<Reader>& to) {
  if (experts.latent_down.present()) {
    Add(experts.latent_down, norm, to);
  } else {
    Add(experts.gate, norm, to);
    Add(experts.up, norm, to);
  }
  AddMlp(experts.shared, norm, to);
}

std::vector<Reader> MixerReaders(const LayerSpec& layer) {
  std::vector<Reader> out;
  AddMixer(layer.mixer, layer.mixer_norm, out);
  AddMixer(layer.beside, layer.mixer_norm, out);
  return out;
}

std::vector<Reader> FeedReaders(const LayerSpec& layer) {
  std::vector<Reader> out;
  const bool same = layer.parallel && !layer.ffn_norm.present();
  const Norm& norm = same ? layer.mixer_norm : layer.ffn_norm;
  if (const auto* const mlp = std::get_if<Mlp>(&layer.ffn)) AddMlp(*mlp, norm, out);
  if (const auto* const experts = std::get_if<Experts>(&layer.ffn)) AddExperts(*experts, norm, out);
  if (layer.experts_beside.present())
    AddExperts(layer.experts_beside.experts, layer.experts_beside.in_norm, out);
  return out;
}

/// Goes through the rows of a reader, as they act on the stream but for its length.
class ReaderRows {
 public:
  ReaderRows(const ModelSource& source, const Reader& reader, uint64_t columns)
      : source_(source), reader_(reader), columns_(columns) {}

  absl::Status Open() {
    const TensorRef weight = reader_.norm.weight;
    if (weight == kNoTensor) return absl::OkStatus();
    const size_t tensor = static_cast<size_t>(weight);
    const Shape& shape = source_.tensors()[tensor].shape;
    if (shape.elements() != columns_ || shape.rows() != 1) return absl::OkStatus();  // of heads
    gain_.resize(columns_);
    return source_.ReadRows(tensor, 0, 1, gain_.data());
  }

  /// f: absl::Status(rows, values).
  template <typename F>
  absl::Status ForEach(const F& f) {
    const Linear& linear = reader_.linear;
    const size_t tensor = static_cast<size_t>(linear.weight);
    const Shape& shape = source_.tensors()[tensor].shape;
    // Experts are matrices of one tensor, each with rows of its own.
    const uint64_t height = shape.ne[1], rows = linear.rows != 0 ? linear.rows : height;
    const uint64_t runs_of_matrix = (rows + kRowsAtOnce - 1) / kRowsAtOnce;
    const uint64_t runs = shape.rows() / height * runs_of_matrix;
    std::vector<float> values(std::min(rows, kRowsAtOnce) * columns_);
    for (uint64_t i = 0; i < std::min(runs, kMostRuns); ++i) {
      SMELT_RETURN_IF_ERROR(GoOn());
      const uint64_t run = ChosenRun(i, runs);
      const uint64_t matrix = run / runs_of_matrix, row = run % runs_of_matrix * kRowsAtOnce;
      const uint64_t count = std::min(kRowsAtOnce, rows - row);
      SMELT_RETURN_IF_ERROR(
          source_.ReadRows(tensor, matrix * height + linear.first_row + row, count, values.data()));
      for (uint64_t r = 0; r < count; ++r)
        ThroughNorm(std::span(values).subspan(r * columns_, columns_));
      SMELT_RETURN_IF_ERROR(f(count, std::span(values).first(count * columns_)));
    }
    return absl::OkStatus();
  }

 private:
  void ThroughNorm(std::span<float> row) const {
    for (size_t c = 0; c < gain_.size(); ++c) row[c] *= gain_[c];
    if (reader_.norm.kind != NormKind::kLayer) return;
    double sum = 0;  // the mean of what it reads is gone
    for (const float value : row) sum += static_cast<double>(value);
    const float mean = static_cast<float>(sum / static_cast<double>(columns_));
    for (float& value : row) value -= mean;
  }

  const ModelSource& source_;
  const Reader& reader_;
  const uint64_t columns_;
  std::vector<float> gain_;  ///< empty: 1
};

constexpr uint64_t kPanelColumns = 8;  // columns, whose values of all rows lie together

/// [panel][row][kPanelColumns] of [row][column], times `scale`; values too small to count become
/// zeros, which have no underflowing squares.
void PackPanels(std::span<const float> values, uint64_t rows, uint64_t columns, float scale,
                std::vector<float>& panels) {
  constexpr float kNothing = 1e-18f;
  panels.assign((columns + kPanelColumns - 1) / kPanelColumns * rows * kPanelColumns, 0);
  for (uint64_t r = 0; r < rows; ++r) {
    for (uint64_t c = 0; c < columns; ++c) {
      const float value = values[r * columns + c] * scale;
      if (std::abs(value) >= kNothing)
        panels[(c / kPanelColumns * rows + r) * kPanelColumns + c % kPanelColumns] = value;
    }
  }
}

/// sums[i][j] += for j <= i the products of columns i and j of two panels, row after row.
void AddPanels(uint64_t rows, const float* left, const float* right, uint64_t first_i,
               uint64_t first_j, uint64_t columns, float* sums) {
  constexpr uint64_t kTile = 4;  // that fits into registers
  for (uint64_t part = 0; part < kPanelColumns; part += kTile) {
    float tile[kTile][kPanelColumns] = {};
    const auto each = [&](const auto& f) {
      for (uint64_t i = 0; i < kTile; ++i) {
        const uint64_t at_i = first_i + part + i;
        if (at_i >= columns) return;
        for (uint64_t j = 0; j < kPanelColumns && first_j + j <= at_i; ++j)
          f(tile[i][j], sums[at_i * columns + first_j + j]);
      }
    };
    each([](float& in_tile, float& sum) { in_tile = sum; });
    for (uint64_t r = 0; r < rows; ++r) {
      for (uint64_t i = 0; i < kTile; ++i) {
        const float factor = left[r * kPanelColumns + part + i];
        for (uint64_t j = 0; j < kPanelColumns; ++j)
          tile[i][j] += factor * right[r * kPanelColumns + j];
      }
    }
    each([](float& in_tile, float& sum) { sum = in_tile; });
  }
}

// Plain sums, no matrix product of the engine: that gives other bits with other instructions.
absl::Status AddProducts(uint64_t rows, std::span<const float> panels, InputGram& to) {
  const uint64_t columns = to.columns, stride = rows * kPanelColumns;
  to.tokens += rows;
  return ParallelFor(panels.size() / stride, 2, [&](uint64_t begin, uint64_t end) -> absl::Status {
    for (uint64_t i = begin; i < end; ++i) {
      for (uint64_t j = 0; j <= i; ++j)
        AddPanels(rows, panels.data() + i * stride, panels.data() + j * stride, i * kPanelColumns,
                  j * kPanelColumns, columns, to.sums);
    }
    return absl::OkStatus();
  });
}

absl::Status AddReader(const ModelSource& source, const Reader& reader, double trace,
                       InputGram& to) {
  const uint64_t columns = to.columns;
  if (source.tensors()[static_cast<size_t>(reader.linear.weight)].shape.columns() != columns)
    return absl::OkStatus();
  ReaderRows rows(source, reader, columns);
  SMELT_RETURN_IF_ERROR(rows.Open());
  double squares = 0;
  SMELT_RETURN_IF_ERROR(rows.ForEach([&](uint64_t, std::span<const float> values) {
    for (const float value : values)
      squares += static_cast<double>(value) * static_cast<double>(value);
    return absl::OkStatus();
  }));
  const float scale = static_cast<float>(std::sqrt(trace / squares));
  if (!(scale > 0) || !std::isfinite(scale)) return absl::OkStatus();
  std::vector<float> panels;
  return rows.ForEach([&](uint64_t count, std::span<const float> values) {
    PackPanels(values, count, columns, scale, panels);
    return AddProducts(count, panels, to);
  });
}

}  // namespace

absl::Status AddReaders(const ModelSource& source, const ModelSpec& spec, InputGram& to) {
  if (spec.layers.empty()) return absl::OkStatus();
  for (const std::vector<Reader>& part :
       {MixerReaders(spec.layers[0]), FeedReaders(spec.layers[0])}) {
    for (const Reader& reader : part)
      SMELT_RETURN_IF_ERROR(AddReader(source, reader, 1 / static_cast<double>(part.size()), to));
  }
  return absl::OkStatus();
}

}  // namespace smelt
