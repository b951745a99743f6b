#include "infer/readers.h"

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
/// Of one matrix, at most; the runs that are left out lie between those that are taken.
constexpr uint64_t kMostRuns = 64;

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
    const size_t tensor = static_cast<size_t>(reader_.linear.weight);
    const uint64_t all = source_.tensors()[tensor].shape.rows();
    const uint64_t rows = reader_.linear.rows != 0 ? reader_.linear.rows : all;
    const uint64_t runs = (rows + kRowsAtOnce - 1) / kRowsAtOnce;
    const uint64_t step = (runs + kMostRuns - 1) / kMostRuns;
    std::vector<float> values(std::min(rows, kRowsAtOnce) * columns_);
    for (uint64_t run = 0; run < runs; run += step) {
      SMELT_RETURN_IF_ERROR(GoOn());
      const uint64_t first = run * kRowsAtOnce, count = std::min(kRowsAtOnce, rows - first);
      SMELT_RETURN_IF_ERROR(
          source_.ReadRows(tensor, reader_.linear.first_row + first, count, values.data()));
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

// Plain sums, no matrix product of the engine: that gives other bits with other instructions.
absl::Status AddProducts(uint64_t rows, std::span<const float> values, InputGram& to) {
  const uint64_t columns = to.columns;
  to.tokens += rows;
  return ParallelFor(columns, 16, [&](uint64_t begin, uint64_t end) -> absl::Status {
    for (uint64_t i = begin; i < end; ++i) {
      float* const sums = to.sums + i * columns;
      for (uint64_t r = 0; r < rows; ++r) {
        const float* const row = values.data() + r * columns;
        const float factor = row[i];
        for (uint64_t j = 0; j <= i; ++j) sums[j] += factor * row[j];
      }
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
  if (!(squares > 0) || !std::isfinite(squares)) return absl::OkStatus();
  const float scale = static_cast<float>(std::sqrt(trace / squares));
  std::vector<float> scaled;
  return rows.ForEach([&](uint64_t count, std::span<const float> values) {
    scaled.assign(values.begin(), values.end());
    for (float& value : scaled) value *= scale;
    return AddProducts(count, scaled, to);
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
