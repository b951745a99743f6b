#include "infer/cpu/experts.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "infer/cpu/kernels.h"
#include "infer/cpu/watch.h"
#include "infer/cpu/weights.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"

namespace smelt::cpu {
namespace {

// Tokens of one expert, with their weights.
struct Route {
  std::vector<uint32_t> tokens;
  std::vector<float> weights;
};

float SigmoidOf(float x) { return 1.0f / (1.0f + std::exp(-x)); }

// exp(x - max) / sum over `count` values, in place.
void Softmax(float* x, size_t count) {
  const float top = *std::max_element(x, x + count);
  float sum = 0;
  for (size_t i = 0; i < count; ++i) sum += x[i] = std::exp(x[i] - top);
  for (size_t i = 0; i < count; ++i) x[i] /= sum;
}

// Takes the groups with the lower scores out of the selection.
void KeepGroups(const ExpertsOp& op, std::vector<float>& selection) {
  const uint32_t size = op.count / op.groups;
  std::vector<std::pair<float, uint32_t>> groups;  // minus the score, so that the best sort first
  for (uint32_t g = 0; g < op.groups; ++g) {
    const float* first = selection.data() + static_cast<size_t>(g) * size;
    std::vector<float> sorted(first, first + size);
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    const float second = op.group_by_two_best && size > 1 ? sorted[1] : 0;
    groups.emplace_back(-(sorted[0] + second), g);
  }
  std::sort(groups.begin(), groups.end());
  for (uint32_t i = op.groups_used; i < op.groups; ++i) {
    std::fill_n(selection.begin() + static_cast<std::ptrdiff_t>(groups[i].second * size), size,
                -std::numeric_limits<float>::infinity());
  }
}

// SparseMixer's experts; `logits` of those that are taken become -infinity.
void MixSparsely(const ExpertsOp& op, std::vector<float>& logits, std::vector<uint32_t>& chosen,
                 std::vector<float>& weights) {
  const std::vector<float> all = logits;
  for (uint32_t i = 0; i < op.used; ++i) {
    const auto best = std::max_element(logits.begin(), logits.end());
    chosen[i] = static_cast<uint32_t>(best - logits.begin());
    const float top = *best;
    float sum = 0;
    for (uint32_t e = 0; e < op.count; ++e) {
      const bool far = (top - logits[e]) / std::max(std::abs(all[e]), top) > op.nearness;
      if (!far) sum += std::exp(logits[e] - top);
    }
    weights[i] = 1 / sum;
    *best = -std::numeric_limits<float>::infinity();
  }
}

// Those with the highest scores, bias included; the lower number of equals.
void TakeBest(const ExpertsOp& op, const std::vector<float>& score, std::vector<uint32_t>& chosen,
              std::vector<float>& weights) {
  std::vector<float> selection = score;
  if (const float* bias = ValuesOf(op.selection_bias); bias != nullptr)
    for (uint32_t e = 0; e < op.count; ++e) selection[e] += bias[e];
  if (op.groups > 1) KeepGroups(op, selection);
  std::partial_sort(chosen.begin(), chosen.begin() + op.used, chosen.end(),
                    [&](uint32_t a, uint32_t b) {
                      return selection[a] > selection[b] || (selection[a] == selection[b] && a < b);
                    });
  float sum = 0;
  for (uint32_t i = 0; i < op.used; ++i) sum += weights[i] = score[chosen[i]];
  if (op.gating == Experts::Gating::kSoftmaxOfTopK) {
    Softmax(weights.data(), weights.size());
  } else if (op.normalize) {
    for (float& w : weights) w /= sum + op.sum_epsilon;
  }
}

// The experts of one token from its router logits, which it works on.
void ChooseExperts(const ExpertsOp& op, std::vector<float>& score, std::vector<uint32_t>& chosen,
                   std::vector<float>& weights) {
  if (op.gating == Experts::Gating::kSoftmax) {
    Softmax(score.data(), score.size());
  } else if (op.gating == Experts::Gating::kSigmoid) {
    for (float& s : score) s = SigmoidOf(s);
  }
  chosen.resize(op.count);
  for (uint32_t e = 0; e < op.count; ++e) chosen[e] = e;
  // NaN has no place in an order; it goes on through whichever experts.
  if (std::any_of(score.begin(), score.end(), [](float s) { return std::isnan(s); })) {
    weights.assign(op.used, NAN);
    return;
  }
  weights.resize(op.used);
  if (op.gating == Experts::Gating::kSparseMixer) {
    MixSparsely(op, score, chosen, weights);
  } else {
    TakeBest(op, score, chosen, weights);
  }
  for (float& w : weights) w *= op.scale;
  if (const float* own = ValuesOf(op.expert_scale); own != nullptr)
    for (uint32_t i = 0; i < op.used; ++i) weights[i] *= own[chosen[i]];
}

class ExpertRunner {
 public:
  ExpertRunner(const ExpertsOp& op, const Layout& layout, Precision precision, Input& in,
               const float* expert_in, float* out, Tap* tap)
      : op_(op),
        layout_(layout),
        precision_(precision),
        in_(in),
        expert_in_(expert_in),
        out_(out),
        tap_(tap) {
    if (tap != nullptr) tokens_ = TokensOfPanels(layout);
  }

  absl::Status Run() {
    if (!op_.add) std::fill_n(out_, layout_.Floats(op_.width), 0.0f);
    SMELT_RETURN_IF_ERROR(WatchAll({&op_.router}, 0, tokens_, in_));
    SMELT_RETURN_IF_ERROR(RouteTokens());
    if (layout_.tokens == 1 && layout_.lanes == 1 && tap_ == nullptr) {
      SMELT_RETURN_IF_ERROR(RunChosen());
    } else {
      for (uint32_t e = 0; e < op_.count; ++e) {
        if (!routes_[e].tokens.empty()) SMELT_RETURN_IF_ERROR(RunExpert(e));
      }
    }
    return op_.shared_up.present() ? RunShared() : absl::OkStatus();
  }

 private:
  absl::Status RouteTokens() {
    // The router decides; rounding its inputs would move tokens to other experts.
    Array<float> logits(layout_.Floats(op_.count));
    SMELT_RETURN_IF_ERROR(
        MatMul({.matrix = &op_.router, .in = &in_, .out = logits.data()}, Precision::kF32));
    routes_.resize(op_.count);
    std::vector<float> score(op_.count), weights;
    std::vector<uint32_t> chosen;
    for (uint32_t t = 0; t < layout_.tokens; ++t) {
      const float* at = logits.data() + layout_.Offset(t, op_.count);
      for (uint32_t e = 0; e < op_.count; ++e)
        score[e] = op_.router_scale * at[static_cast<size_t>(e) * layout_.lanes];
      ChooseExperts(op_, score, chosen, weights);
      for (uint32_t i = 0; i < op_.used; ++i) {
        routes_[chosen[i]].tokens.push_back(t);
        routes_[chosen[i]].weights.push_back(weights[i]);
      }
    }
    return absl::OkStatus();
  }

  absl::Status WatchAll(std::initializer_list<const Matrix*> matrices, uint32_t index,
                        std::span<const uint32_t> tokens, Input& in) {
    if (tap_ == nullptr) return absl::OkStatus();
    for (const Matrix* matrix : matrices) {
      if (matrix->present()) SMELT_RETURN_IF_ERROR(Watch(*tap_, *matrix, index, tokens, in));
    }
    return absl::OkStatus();
  }

  // Expert e's part of a stacked weight.
  static Matrix Of(const Matrix& all, uint32_t e) {
    Matrix one = all;
    one.first_row += e * all.expert_rows;
    return one;
  }

  // hidden = act(gate in) * (up in), or act(up in): adds the products.
  static void AddHidden(const Matrix& gate, const Matrix& up, Activation activation, Input& in,
                        float* hidden, std::vector<Product>& products) {
    const bool gated = gate.present();
    if (gated) products.push_back({.matrix = &gate, .in = &in, .out = hidden});
    products.push_back(
        {&up, &in, gated ? Store::kMultiplyAct : Store::kActivate, activation, hidden});
  }

  // The chosen experts of a single token: all first products at once, then all second ones.
  absl::Status RunChosen() {
    std::vector<uint32_t> chosen;
    for (uint32_t e = 0; e < op_.count; ++e)
      if (!routes_[e].tokens.empty()) chosen.push_back(e);
    const size_t count = chosen.size();
    std::vector<Matrix> gates, ups, downs;
    for (const uint32_t e : chosen) {
      gates.push_back(Of(op_.gate, e));
      ups.push_back(Of(op_.up, e));
      downs.push_back(Of(op_.down, e));
    }
    float* hidden = hidden_.Reserve(count * op_.hidden);
    float* linear = op_.clamped ? up_.Reserve(count * op_.hidden) : nullptr;
    float* result = result_.Reserve(count * op_.width);
    input_.Set(expert_in_, op_.width, 1, 1);
    std::vector<Product> products;
    for (size_t i = 0; i < count; ++i) {
      float* own = hidden + i * op_.hidden;
      if (op_.clamped) {
        products.push_back({.matrix = &gates[i], .in = &input_, .out = own});
        products.push_back({.matrix = &ups[i], .in = &input_, .out = linear + i * op_.hidden});
      } else {
        AddHidden(gates[i], ups[i], op_.activation, input_, own, products);
      }
    }
    SMELT_RETURN_IF_ERROR(MatMul(products, precision_));
    if (op_.clamped) ClampedGate(linear, count * op_.hidden, hidden);
    std::vector<Input> inputs(count);
    products.clear();
    for (size_t i = 0; i < count; ++i) {
      inputs[i].Set(hidden + i * op_.hidden, op_.hidden, 1, 1);
      products.push_back({.matrix = &downs[i], .in = &inputs[i], .out = result + i * op_.width});
    }
    SMELT_RETURN_IF_ERROR(MatMul(products, precision_));
    for (size_t i = 0; i < count; ++i) {
      const float weight = routes_[chosen[i]].weights[0], *from = result + i * op_.width;
      for (size_t f = 0; f < op_.width; ++f) out_[f] += weight * from[f];
    }
    return absl::OkStatus();
  }

  absl::Status RunExpert(uint32_t e) {
    const Route& route = routes_[e];
    const uint32_t count = static_cast<uint32_t>(route.tokens.size());
    const uint32_t lanes = layout_.lanes == 1 || count <= 3 ? 1 : kPanel;
    const uint32_t panels = (count + lanes - 1) / lanes;
    const size_t slots = static_cast<size_t>(panels) * lanes;
    float* x = gathered_.Reserve(slots * op_.width);
    float* hidden = hidden_.Reserve(slots * op_.hidden);
    float* result = result_.Reserve(slots * op_.width);
    SMELT_RETURN_IF_ERROR(GatherTokens(layout_, expert_in_, op_.width, route.tokens, lanes, x));
    input_.Set(x, op_.width, panels, lanes);
    const std::vector<uint32_t> tokens = TokensOfPanels(count, lanes);
    SMELT_RETURN_IF_ERROR(WatchAll({&op_.gate, &op_.up}, e, tokens, input_));
    const Matrix gate = Of(op_.gate, e), up = Of(op_.up, e);
    float* linear = op_.clamped ? up_.Reserve(slots * op_.hidden) : nullptr;
    std::vector<Product> products;
    if (op_.clamped) {
      products = {{.matrix = &gate, .in = &input_, .out = hidden},
                  {.matrix = &up, .in = &input_, .out = linear}};
    } else {
      AddHidden(gate, up, op_.activation, input_, hidden, products);
    }
    SMELT_RETURN_IF_ERROR(MatMul(products, precision_));
    if (op_.clamped) ClampedGate(linear, slots * op_.hidden, hidden);
    hidden_input_.Set(hidden, op_.hidden, panels, lanes);
    SMELT_RETURN_IF_ERROR(WatchAll({&op_.down}, e, tokens, hidden_input_));
    const Matrix down = Of(op_.down, e);
    SMELT_RETURN_IF_ERROR(
        MatMul({.matrix = &down, .in = &hidden_input_, .out = result}, precision_));
    return Scatter(route, lanes, result);
  }

  // out[token] += weight * result; a token is at most once in a route.
  absl::Status Scatter(const Route& route, uint32_t lanes, const float* result) {
    return ParallelForWorkers(route.tokens.size(), 8, [&](uint64_t first, uint64_t last, int) {
      for (uint64_t i = first; i < last; ++i) {
        const float* from = result + i / lanes * lanes * op_.width + i % lanes;
        float* to = out_ + layout_.Offset(route.tokens[i], op_.width);
        for (size_t f = 0; f < op_.width; ++f)
          to[f * layout_.lanes] += route.weights[i] * from[f * lanes];
      }
    });
  }

  absl::Status RunShared() {
    const uint32_t panels = layout_.panels, lanes = layout_.lanes, hidden_size = op_.shared_up.rows;
    float* hidden = hidden_.Reserve(layout_.Floats(hidden_size));
    const Activation act = op_.shared_activation;
    SMELT_RETURN_IF_ERROR(
        WatchAll({&op_.shared_gate_proj, &op_.shared_up, &op_.shared_gate}, 0, tokens_, in_));
    std::vector<Product> products;
    AddHidden(op_.shared_gate_proj, op_.shared_up, act, in_, hidden, products);
    SMELT_RETURN_IF_ERROR(MatMul(products, precision_));
    hidden_input_.Set(hidden, hidden_size, panels, lanes);
    SMELT_RETURN_IF_ERROR(WatchAll({&op_.shared_down}, 0, tokens_, hidden_input_));
    if (!op_.shared_gate.present())
      return MatMul({&op_.shared_down, &hidden_input_, Store::kAdd, act, out_}, precision_);
    Array<float> gate(layout_.Floats(1));
    float* result = result_.Reserve(layout_.Floats(op_.width));
    SMELT_RETURN_IF_ERROR(
        MatMul({.matrix = &op_.shared_gate, .in = &in_, .out = gate.data()}, Precision::kF32));
    SMELT_RETURN_IF_ERROR(
        MatMul({.matrix = &op_.shared_down, .in = &hidden_input_, .out = result}, precision_));
    for (size_t i = 0; i < layout_.Floats(1); ++i) gate[i] = SigmoidOf(gate[i]);
    return ParallelForWorkers(panels, 1, [&](uint64_t first, uint64_t last, int) {
      for (uint64_t p = first; p < last; ++p) {
        const size_t size = static_cast<size_t>(op_.width) * lanes;
        if (lanes == 1) {
          AddScaled(result + p * size, gate[p], size, out_ + p * size);
        } else {
          AddScaledPanel(result + p * size, gate.data() + p * lanes, op_.width, out_ + p * size);
        }
      }
    });
  }

  const ExpertsOp& op_;
  const Layout& layout_;
  const Precision precision_;
  Input& in_;
  const float* expert_in_;
  float* out_;
  Tap* const tap_;
  std::vector<uint32_t> tokens_;  // of each of the batch's panels, where somebody watches
  std::vector<Route> routes_;
  Array<float> gathered_, hidden_, up_, result_;
  Input input_, hidden_input_;
};

}  // namespace

absl::Status RunExperts(const ExpertsOp& op, const Layout& layout, Precision precision, Input& in,
                        const float* expert_in, float* out, Tap* tap) {
  return ExpertRunner(op, layout, precision, in, expert_in, out, tap).Run();
}

}  // namespace smelt::cpu
