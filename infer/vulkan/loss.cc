#include "infer/vulkan/loss.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "infer/log_add.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"

namespace smelt::vulkan {
namespace {

constexpr uint32_t kPart = 1024;               // rows of the vocabulary that one workgroup sums up
constexpr uint64_t kLogitBytes = 64ull << 20;  // of all sides together
constexpr uint64_t kMostTokens = 64;           // at once

struct SumsPush {
  uint64_t logits, to;
  uint32_t rows, part_rows, stride;
  float scale, softcap;
  uint32_t unused;
};

struct KlPush {
  uint64_t model, reference, log_sums, to;
  uint32_t rows, part_rows, model_stride, reference_stride;
};

/// Of one part of the vocabulary, as shaders/loss_sums.comp writes it.
struct PartSums {
  float top, sum;
  uint32_t best, broken;
};

uint32_t Parts(uint32_t rows) { return (rows + kPart - 1) / kPart; }

/// Of some rows of one token's logits: ln of the sum of exp, the best row, whether all are numbers.
struct LogSum {
  double value = -std::numeric_limits<double>::infinity();
  uint32_t best = 0;
  bool finite = true;
};

LogSum Merge(std::span<const PartSums> parts) {
  LogSum out;
  float top = -std::numeric_limits<float>::infinity();
  for (const PartSums& part : parts) {
    if (part.broken != 0) out.finite = false;
    if (part.top > top) top = part.top, out.best = part.best;
  }
  double sum = 0;
  for (const PartSums& part : parts)
    sum += part.sum * std::exp(static_cast<double>(part.top) - static_cast<double>(top));
  if (!parts.empty()) out.value = static_cast<double>(top) + std::log(sum);
  return out;
}

/// The activations of some tokens, side by side: [token][feature].
absl::StatusOr<Memory> Gather(Device& device, const DeviceBuffer& x,
                              std::span<const uint32_t> tokens) {
  const uint64_t row = uint64_t{x.features} * sizeof(float);
  SMELT_ASSIGN_OR_RETURN(Memory gathered, device.Allocate(tokens.size() * row));
  for (size_t first = 0; first < tokens.size();) {
    size_t count = 1;  // those that follow each other go together
    while (first + count < tokens.size() && tokens[first + count] == tokens[first] + count) ++count;
    SMELT_RETURN_IF_ERROR(
        device.Copy(x.memory, tokens[first] * row, gathered, first * row, count * row));
    first += count;
  }
  return gathered;
}

/// to = the head's product with some tokens' activations.
absl::Status MultiplyHead(Kernels& kernels, const LossSide& side, std::span<const uint32_t> tokens,
                          Precision precision, const Memory& to) {
  const Matrix& head = side.head->output;
  const uint32_t inputs = static_cast<uint32_t>(tokens.size());
  SMELT_ASSIGN_OR_RETURN(const Memory x, Gather(kernels.device(), *side.x, tokens));
  Memory rounded;
  if (precision == Precision::kQ8 && TakesRounded(head)) {
    SMELT_ASSIGN_OR_RETURN(
        rounded,
        kernels.device().Allocate(uint64_t{inputs} * RoundedWords(head.columns) * sizeof(float)));
    SMELT_RETURN_IF_ERROR(kernels.Round(x.address(), inputs, head.columns, rounded.address()));
  }
  return kernels.Multiply({.matrix = &head,
                           .x = x.address(),
                           .to = to.address(),
                           .inputs = inputs,
                           .codes = rounded.address()});
}

/// One side's logits of some tokens, and what became of them.
class Side {
 public:
  Side(Kernels& kernels, const LossSide& from, Precision precision)
      : kernels_(kernels), from_(from), precision_(precision) {}

  uint32_t rows() const { return from_.head->output.rows; }
  Range logits() const { return RangeOf(logits_); }
  const LogSum& common(size_t token) const { return common_[token]; }
  double target(size_t token) const { return targets_[token]; }

  absl::Status Prepare(uint64_t tokens) {
    SMELT_ASSIGN_OR_RETURN(logits_, device().Allocate(tokens * rows() * sizeof(float)));
    return absl::OkStatus();
  }

  /// Logits of these tokens; sums over rows [0, common) and over the rest.
  absl::Status Run(std::span<const uint32_t> tokens, std::span<const Target> targets,
                   uint32_t common) {
    SMELT_RETURN_IF_ERROR(MultiplyHead(kernels_, from_, tokens, precision_, logits_));
    SMELT_ASSIGN_OR_RETURN(common_, Sums(0, common, tokens.size()));
    SMELT_ASSIGN_OR_RETURN(rest_, Sums(common, rows() - common, tokens.size()));
    // The next tokens' logits.
    SMELT_ASSIGN_OR_RETURN(const Memory next, device().Allocate(targets.size() * sizeof(float)));
    for (size_t i = 0; i < targets.size(); ++i) {
      const uint64_t at = i * rows() + static_cast<uint64_t>(targets[i].next);
      SMELT_RETURN_IF_ERROR(
          device().Copy(logits_, at * sizeof(float), next, i * sizeof(float), sizeof(float)));
    }
    targets_.resize(targets.size());
    return device().Read(next, 0, std::as_writable_bytes(std::span(targets_)));
  }

  double Nll(size_t token, bool& finite) const {
    const double nll = LogAdd(common_[token].value, rest_[token].value) - targets_[token];
    finite = common_[token].finite && rest_[token].finite && std::isfinite(nll);
    return nll;
  }

 private:
  Device& device() const { return kernels_.device(); }

  absl::StatusOr<std::vector<LogSum>> Sums(uint32_t first, uint32_t count, size_t tokens) {
    std::vector<LogSum> sums(tokens);
    if (count == 0) return sums;
    const uint32_t parts = Parts(count);
    SMELT_ASSIGN_OR_RETURN(const Memory to, device().Allocate(tokens * parts * sizeof(PartSums)));
    const SumsPush push{logits_.address() + first * sizeof(float),
                        to.address(),
                        count,
                        kPart,
                        rows(),
                        from_.head->scale,
                        from_.head->softcap,
                        0};
    SMELT_RETURN_IF_ERROR(device().Dispatch(
        Shader("loss_sums"), push, {parts, static_cast<uint32_t>(tokens)},
        20.0 * count * static_cast<double>(tokens), {.writes = {RangeOf(logits_), RangeOf(to)}}));
    std::vector<PartSums> read(tokens * parts);
    SMELT_RETURN_IF_ERROR(device().Read(to, 0, std::as_writable_bytes(std::span(read))));
    for (size_t t = 0; t < tokens; ++t)
      sums[t] = Merge(std::span<const PartSums>(read).subspan(t * parts, parts));
    return sums;
  }

  Kernels& kernels_;
  const LossSide from_;
  const Precision precision_;
  Memory logits_;
  std::vector<LogSum> common_, rest_;  // of each token
  std::vector<float> targets_;
};

void SplitFloats(double value, float* out) {
  out[0] = static_cast<float>(value);
  out[1] = static_cast<float>(value - static_cast<double>(out[0]));
}

/// Divergence of a model from the reference over the rows that both have, of each token.
absl::StatusOr<std::vector<double>> Divergences(Kernels& kernels, const Side& model,
                                                const Side& reference, uint32_t common,
                                                size_t tokens) {
  Device& device = kernels.device();
  std::vector<float> log_sums(4 * tokens);
  for (size_t t = 0; t < tokens; ++t) {
    SplitFloats(model.common(t).value, &log_sums[4 * t]);
    SplitFloats(reference.common(t).value, &log_sums[4 * t + 2]);
  }
  const uint32_t parts = Parts(common);
  SMELT_ASSIGN_OR_RETURN(const Memory given, device.Allocate(log_sums.size() * sizeof(float)));
  SMELT_RETURN_IF_ERROR(device.Write(given, 0, std::as_bytes(std::span(log_sums))));
  SMELT_ASSIGN_OR_RETURN(const Memory to, device.Allocate(tokens * parts * sizeof(float)));
  const KlPush push{model.logits().address,
                    reference.logits().address,
                    given.address(),
                    to.address(),
                    common,
                    kPart,
                    model.rows(),
                    reference.rows()};
  SMELT_RETURN_IF_ERROR(device.Dispatch(
      Shader("loss_kl"), push, {parts, static_cast<uint32_t>(tokens)},
      20.0 * common * static_cast<double>(tokens),
      {.reads = {model.logits(), reference.logits(), RangeOf(given)}, .writes = {RangeOf(to)}}));
  std::vector<float> read(tokens * parts);
  SMELT_RETURN_IF_ERROR(device.Read(to, 0, std::as_writable_bytes(std::span(read))));
  std::vector<double> sums(tokens);
  for (size_t i = 0; i < read.size(); ++i) sums[i / parts] += read[i];
  return sums;
}

}  // namespace

absl::Status ComputeLoss(Kernels& kernels, std::span<const LossSide> from, bool with_reference,
                         std::span<const Target> targets, Precision precision,
                         std::span<TokenLoss> losses) {
  std::vector<Side> sides;
  uint64_t row_bytes = 0;
  uint32_t common = std::numeric_limits<uint32_t>::max();
  for (const LossSide& side : from) {
    sides.emplace_back(kernels, side, precision);
    row_bytes += sides.back().rows() * sizeof(float);
    common = std::min(common, sides.back().rows());
  }
  const uint64_t at_once = std::min<uint64_t>(
      std::clamp<uint64_t>(kLogitBytes / row_bytes, 1, kMostTokens), targets.size());
  for (Side& side : sides) SMELT_RETURN_IF_ERROR(side.Prepare(at_once));
  const size_t models = with_reference ? sides.size() - 1 : sides.size();
  std::vector<uint32_t> tokens;
  for (size_t first = 0; first < targets.size(); first += at_once) {
    SMELT_RETURN_IF_ERROR(GoOn());
    const auto some = targets.subspan(first, std::min(at_once, targets.size() - first));
    tokens.clear();
    for (const Target& target : some) tokens.push_back(target.token);
    for (Side& side : sides) SMELT_RETURN_IF_ERROR(side.Run(tokens, some, common));
    for (size_t m = 0; m < models; ++m) {
      std::vector<double> kl;
      if (with_reference) {
        SMELT_ASSIGN_OR_RETURN(kl,
                               Divergences(kernels, sides[m], sides.back(), common, some.size()));
      }
      for (size_t t = 0; t < some.size(); ++t) {
        TokenLoss& loss = losses[m * targets.size() + first + t];
        loss = TokenLoss{};
        loss.nll = sides[m].Nll(t, loss.finite);
        if (!with_reference) continue;
        loss.reference_nll = sides.back().Nll(t, loss.reference_finite);
        loss.kl = std::max(0.0, kl[t]);
        loss.same_top = sides[m].common(t).best == sides.back().common(t).best;
      }
    }
  }
  return absl::OkStatus();
}

absl::Status TokenLogits(Kernels& kernels, const LossSide& side, std::span<const uint32_t> tokens,
                         Precision precision, std::span<float> logits) {
  Device& device = kernels.device();
  SMELT_ASSIGN_OR_RETURN(const Memory to, device.Allocate(logits.size_bytes()));
  SMELT_RETURN_IF_ERROR(MultiplyHead(kernels, side, tokens, precision, to));
  SMELT_RETURN_IF_ERROR(device.Read(to, 0, std::as_writable_bytes(logits)));
  const float scale = side.head->scale, cap = side.head->softcap;
  for (float& v : logits) {
    v *= scale;
    if (cap > 0) v = cap * std::tanh(v / cap);
  }
  return absl::OkStatus();
}

}  // namespace smelt::vulkan
