#include "infer/self_check.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/status.h"
#include "quant/codec.h"
#include "quant/encoder.h"

namespace smelt {
namespace {

constexpr uint32_t kWidth = 256, kHidden = 2080, kHeads = 3, kHeadSize = 40, kVocabulary = 1100;
constexpr uint32_t kPrompt = 19;
constexpr uint64_t kDistinctRows = 37;  // that are encoded; a matrix repeats them
// Sums of thousands in another order differ by a hundredth of this from each other, one term that
// is missing by ten times as much.
constexpr double kMostDifference = 5e-4;
// A last bit may decide to which of two codes of eight bits an activation is rounded.
constexpr double kMostRoundedDifference = 5e-3;

/// Weights that are the same every time.
class KnownWeights : public ModelSource {
 public:
  /// Values in center +- sqrt(3 / columns), so that products are of their inputs' size.
  TensorRef Add(TensorType type, uint64_t columns, uint64_t rows, float center = 0) {
    TensorInfo info;
    info.name = Cat("self-check ", tensors_.size());
    info.shape.ne = {columns, rows, 1, 1};
    info.shape.dims = rows == 1 ? 1 : 2;
    info.type = type;
    const uint64_t distinct = std::min(rows, kDistinctRows);
    std::vector<float> values(distinct * columns);
    const float spread = std::sqrt(3.0f / static_cast<float>(columns));
    for (float& v : values) v = center + spread * Next();
    const uint64_t row_bytes = RowBytes(type, columns).value_or(0);
    std::vector<std::byte> bytes(rows * row_bytes);
    EncodeScratch scratch;
    FindEncoder(type)->Encode(distinct, columns, values.data(), {}, bytes.data(), scratch);
    for (uint64_t r = distinct; r < rows; ++r)
      std::memcpy(&bytes[r * row_bytes], &bytes[r % distinct * row_bytes], row_bytes);
    tensors_.push_back(std::move(info));
    bytes_.push_back(std::move(bytes));
    return static_cast<TensorRef>(tensors_.size() - 1);
  }

  /// In [-1, 1).
  float Next() {
    random_ = random_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<float>(static_cast<double>(random_ >> 40) * 0x1p-23 - 1);
  }

  const Metadata& metadata() const override { return metadata_; }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  const std::string& name() const override { return name_; }
  std::string identity() const override { return name_; }
  absl::Status ReadRows(size_t tensor, uint64_t first, uint64_t count, float* out) const override {
    const TensorInfo& info = tensors_[tensor];
    const uint64_t columns = info.shape.columns();
    FindCodec(info.type)->Decode(&bytes_[tensor][first * RowBytes(info.type, columns).value_or(0)],
                                 count * columns, out);
    return absl::OkStatus();
  }
  absl::Status ReadRawRows(size_t, uint64_t, uint64_t, std::byte*) const override {
    return Error(ErrorCode::kUnsupported, "rows are mapped");
  }
  absl::StatusOr<MappedRows> MapRows(size_t tensor) const override {
    MappedRows rows;
    rows.base = bytes_[tensor].data();
    rows.stride = RowBytes(tensors_[tensor].type, tensors_[tensor].shape.columns()).value_or(0);
    return rows;
  }

 private:
  uint64_t random_ = 1;
  Metadata metadata_;
  const std::string name_ = "self-check";
  std::vector<TensorInfo> tensors_;
  std::vector<std::vector<std::byte>> bytes_;
};

/// A layer of every kind of product that generation and evaluation have, and a head.
struct KnownLayer {
  KnownLayer() {
    constexpr uint32_t kQuery = kHeads * kHeadSize;
    norm = weights.Add(TensorType::kF32, kWidth, 1, 1);
    q = weights.Add(TensorType::kQ4_K, kWidth, kQuery);
    k = weights.Add(TensorType::kQ4_K, kWidth, kHeadSize);
    v = weights.Add(TensorType::kQ6_K, kWidth, kHeadSize);
    output = weights.Add(TensorType::kF16, kQuery, kWidth);
    gate = weights.Add(TensorType::kIQ4_XS, kWidth, kHidden);
    up = weights.Add(TensorType::kIQ4_XS, kWidth, kHidden);
    down = weights.Add(TensorType::kQ8_0, kHidden, kWidth);
    bias = weights.Add(TensorType::kF32, kWidth, 1);
    head = weights.Add(TensorType::kQ6_K, kWidth, kVocabulary);
    for (uint32_t i = 0; i < (kPrompt + 1) * kWidth; ++i) tokens.push_back(weights.Next());
  }

  KnownWeights weights;
  TensorRef norm, q, k, v, output, gate, up, down, bias, head;
  std::vector<float> tokens;  ///< the prompt and one more
};

struct KnownResult {
  const char* what;
  std::vector<float> values;
};

/// What a backend makes of the layer.
class LayerRun {
 public:
  LayerRun(Backend& backend, const KnownLayer& layer, Precision precision)
      : backend_(backend), layer_(layer), precision_(precision) {}

  absl::StatusOr<std::vector<KnownResult>> Run() {
    SMELT_RETURN_IF_ERROR(CompileAttention());
    SMELT_RETURN_IF_ERROR(CompileFeed());
    states_[0] = backend_.NewState(1);
    states_[1] = backend_.NewState(1);
    const std::span<const float> tokens(layer_.tokens);
    SMELT_RETURN_IF_ERROR(Tokens({kPrompt, 0}, tokens.first(kPrompt * kWidth)));
    SMELT_RETURN_IF_ERROR(Tokens({1, kPrompt}, tokens.subspan(kPrompt * kWidth)));
    return std::move(results_);
  }

 private:
  absl::StatusOr<Matrix> Load(TensorRef tensor) {
    const Shape& shape = layer_.weights.tensors()[static_cast<size_t>(tensor)].shape;
    Matrix matrix;
    SMELT_ASSIGN_OR_RETURN(matrix.weight,
                           backend_.LoadWeight(layer_.weights, tensor, WeightUse::kStream));
    matrix.rows = static_cast<uint32_t>(shape.rows());
    matrix.columns = static_cast<uint32_t>(shape.columns());
    matrix.tensor = tensor;
    return matrix;
  }

  absl::Status Multiply(Graph& graph, TensorRef tensor, Slot in, Slot out, Store store,
                        TensorRef bias = kNoTensor) {
    MatMulOp op{.in = in, .out = out, .matrix = {}, .store = store};
    SMELT_ASSIGN_OR_RETURN(op.matrix, Load(tensor));
    if (bias != kNoTensor) {
      SMELT_ASSIGN_OR_RETURN(op.matrix.bias,
                             backend_.LoadWeight(layer_.weights, bias, WeightUse::kValues));
    }
    graph.ops.push_back(std::move(op));
    return absl::OkStatus();
  }

  /// Slots of so many features, side by side, after a norm of the stream in the first one.
  absl::StatusOr<Graph> Begin(std::initializer_list<uint32_t> features) {
    Graph graph;
    graph.slots = {{kWidth, 0}, {0, 0}};
    for (const uint32_t count : features) {
      graph.slots.push_back({count, graph.scratch_features});
      graph.scratch_features += count;
    }
    NormOp norm{.out = kInputs + 1,
                .kind = NormKind::kRms,
                .epsilon = 1e-5f,
                .features = kWidth,
                .group = kWidth,
                .weights = kWidth};
    SMELT_ASSIGN_OR_RETURN(norm.weight,
                           backend_.LoadWeight(layer_.weights, layer_.norm, WeightUse::kValues));
    graph.ops.push_back(std::move(norm));
    return graph;
  }

  absl::Status CompileAttention() {
    constexpr Slot kIn = kInputs + 1, kQ = kIn + 1, kK = kQ + 1, kV = kK + 1, kOut = kV + 1;
    constexpr uint32_t kQuery = kHeads * kHeadSize;
    SMELT_ASSIGN_OR_RETURN(Graph graph, Begin({kWidth, kQuery, kHeadSize, kHeadSize, kQuery}));
    SMELT_RETURN_IF_ERROR(Multiply(graph, layer_.q, kIn, kQ, Store::kSet));
    SMELT_RETURN_IF_ERROR(Multiply(graph, layer_.k, kIn, kK, Store::kSet));
    SMELT_RETURN_IF_ERROR(Multiply(graph, layer_.v, kIn, kV, Store::kSet));
    Rope rope{
        .style = RopeStyle::kHalves, .dims = kHeadSize, .frequency = {}, .long_frequency = {}};
    for (uint32_t j = 0; j < kHeadSize / 2; ++j)
      rope.frequency.push_back(std::pow(10000.0, -2.0 * j / kHeadSize));
    graph.ops.push_back(RopeOp{.q = kQ,
                               .k = kK,
                               .rope = std::move(rope),
                               .heads = kHeads,
                               .kv_heads = 1,
                               .head_size = kHeadSize});
    graph.ops.push_back(AttentionOp{.q = kQ,
                                    .k = kK,
                                    .v = kV,
                                    .out = kOut,
                                    .heads = kHeads,
                                    .kv_heads = 1,
                                    .key_size = kHeadSize,
                                    .value_size = kHeadSize,
                                    .scale = 0.5f});
    SMELT_RETURN_IF_ERROR(Multiply(graph, layer_.output, kOut, kStream, Store::kAdd));
    SMELT_ASSIGN_OR_RETURN(programs_[0], backend_.Compile(std::move(graph), precision_));
    return absl::OkStatus();
  }

  absl::Status CompileFeed() {
    constexpr Slot kIn = kInputs + 1, kMiddle = kIn + 1;
    SMELT_ASSIGN_OR_RETURN(Graph graph, Begin({kWidth, kHidden}));
    SMELT_RETURN_IF_ERROR(Multiply(graph, layer_.gate, kIn, kMiddle, Store::kSet));
    SMELT_RETURN_IF_ERROR(Multiply(graph, layer_.up, kIn, kMiddle, Store::kMultiplyAct));
    SMELT_RETURN_IF_ERROR(Multiply(graph, layer_.down, kMiddle, kStream, Store::kAdd, layer_.bias));
    SMELT_ASSIGN_OR_RETURN(programs_[1], backend_.Compile(std::move(graph), precision_));
    return absl::OkStatus();
  }

  absl::Status Tokens(const Sequence& sequence, std::span<const float> values) {
    SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<Batch> batch,
                           backend_.NewBatch({&sequence, 1}, kPrompt + 1));
    SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<Buffer> x, backend_.NewBuffer(*batch, kWidth));
    SMELT_RETURN_IF_ERROR(backend_.Write(*batch, 0, values, *x));
    const bool many = sequence.tokens > 1;
    const char* const names[] = {many ? "attention" : "attention of one token",
                                 many ? "the feed-forward part" : "that part of one token"};
    for (size_t i = 0; i < 2; ++i) {
      SMELT_RETURN_IF_ERROR(backend_.Run(*programs_[i], *batch, *states_[i], *x));
      std::vector<float> out(values.size());
      SMELT_RETURN_IF_ERROR(backend_.Read(*batch, 0, *x, out));
      results_.push_back({names[i], std::move(out)});
    }
    return many ? Losses(*batch, *x) : absl::OkStatus();
  }

  absl::Status Losses(const Batch& batch, const Buffer& x) {
    Head head{.output = {}, .scale = 0.25f}, flat;
    SMELT_ASSIGN_OR_RETURN(head.output, Load(layer_.head));
    flat = head;
    flat.scale = 0.125f;
    const HeadInput model{&head, &x}, reference{&flat, &x};
    std::vector<Target> targets;
    for (uint32_t t = 0; t < kPrompt; t += 4)
      targets.push_back({t, static_cast<int32_t>(t * 53 % kVocabulary)});
    std::vector<TokenLoss> losses(targets.size());
    SMELT_RETURN_IF_ERROR(
        backend_.Loss(batch, {&model, 1}, &reference, targets, precision_, losses));
    KnownResult nll{"a loss", {}}, kl{"a divergence", {}};
    for (const TokenLoss& loss : losses) {
      nll.values.push_back(static_cast<float>(loss.nll));
      nll.values.push_back(static_cast<float>(loss.reference_nll));
      kl.values.push_back(static_cast<float>(loss.kl));
    }
    results_.push_back(std::move(nll));
    results_.push_back(std::move(kl));
    return absl::OkStatus();
  }

  Backend& backend_;
  const KnownLayer& layer_;
  const Precision precision_;
  std::unique_ptr<Program> programs_[2];  ///< attention, feed-forward
  std::unique_ptr<State> states_[2];
  std::vector<KnownResult> results_;
};

/// The greatest difference, as a share of the greatest value; infinite where one is no number.
double RelativeDifference(std::span<const float> a, std::span<const float> b) {
  double most = 0, largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    most = std::max(most, std::isfinite(difference) ? difference : HUGE_VAL);
    largest = std::max(largest, std::abs(static_cast<double>(b[i])));
  }
  return most / largest;
}

}  // namespace

absl::Status CheckBackend(Backend& backend, Precision precision) {
  const double most = precision == Precision::kF32 ? kMostDifference : kMostRoundedDifference;
  const KnownLayer layer;
  const std::unique_ptr<Backend> processor = NewCpuBackend();
  SMELT_ASSIGN_OR_RETURN(const std::vector<KnownResult> expected,
                         LayerRun(*processor, layer, precision).Run());
  SMELT_ASSIGN_OR_RETURN(const std::vector<KnownResult> results,
                         LayerRun(backend, layer, precision).Run());
  for (size_t i = 0; i < expected.size(); ++i) {
    const double difference = RelativeDifference(results[i].values, expected[i].values);
    if (difference <= most) continue;
    char share[32];
    std::snprintf(share, sizeof(share), "%.1e", difference);
    return Error(ErrorCode::kUnsupported, "its results are not the processor's: ", expected[i].what,
                 " differs by ", share, " of the largest value");
  }
  return absl::OkStatus();
}

}  // namespace smelt
