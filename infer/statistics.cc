#include "infer/statistics.h"

#include <algorithm>
#include <cmath>

namespace smelt {
namespace {

// Mean, and the square of the mean's standard error, of f over the losses.
struct Moments {
  double mean = 0, error_squared = 0;
};

template <typename F>
Moments MomentsOf(std::span<const TokenLoss> losses, const F& f) {
  const double n = static_cast<double>(losses.size());
  double sum = 0, squares = 0;
  for (const TokenLoss& l : losses) sum += f(l);
  const double mean = sum / n;
  // Around the mean: sum (v - mean)^2 / n = mean square - square of the mean, without its
  // cancellation.
  for (const TokenLoss& l : losses) squares += (f(l) - mean) * (f(l) - mean);
  return {mean, losses.size() > 1 ? squares / n / (n - 1) : 0.0};
}

// Nothing can be said about a divergence when either side is not finite: NaN passes no limit.
void SetUnknown(ScoreFigures::Reference& r) {
  for (double* value : {&r.kl_mean, &r.kl_median, &r.kl_p99, &r.kl_p999, &r.kl_max,
                        &r.top1_agreement, &r.ln_ratio, &r.ln_ratio_error}) {
    *value = std::nan("");
  }
}

void SummarizeReference(std::span<const TokenLoss> losses, bool finite,
                        ScoreFigures::Reference& r) {
  const double n = static_cast<double>(losses.size());
  std::vector<double> kl(losses.size());
  double same = 0;
  for (size_t i = 0; i < losses.size(); ++i) {
    kl[i] = losses[i].kl;
    same += losses[i].same_top ? 1 : 0;
    r.finite = r.finite && losses[i].reference_finite;
  }
  r.mean_nll = MomentsOf(losses, [](const TokenLoss& l) { return l.reference_nll; }).mean;
  r.perplexity = std::exp(r.mean_nll);
  if (!finite || !r.finite) return SetUnknown(r);
  r.kl_mean = MomentsOf(losses, [](const TokenLoss& l) { return l.kl; }).mean;
  std::sort(kl.begin(), kl.end());
  r.kl_median = Percentile(kl, 0.5);
  r.kl_p99 = Percentile(kl, 0.99);
  r.kl_p999 = Percentile(kl, 0.999);
  r.kl_max = kl.back();
  r.top1_agreement = same / n;
  // The error of paired differences is that of sqrt(var_q + var_base - 2 cov).
  const Moments ratio =
      MomentsOf(losses, [](const TokenLoss& l) { return l.nll - l.reference_nll; });
  r.ln_ratio = ratio.mean;
  r.ln_ratio_error = std::sqrt(ratio.error_squared);
}

}  // namespace

double Percentile(std::span<const double> sorted, double f) {
  if (sorted.empty()) return 0;
  const double at = f * static_cast<double>(sorted.size() - 1);
  const size_t low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

void Summarize(std::span<const TokenLoss> losses, bool with_reference, ScoreFigures& result) {
  result.tokens_scored = losses.size();
  result.finite = true;
  if (losses.empty()) return;
  for (const TokenLoss& l : losses) result.finite = result.finite && l.finite;
  const Moments nll = MomentsOf(losses, [](const TokenLoss& l) { return l.nll; });
  result.mean_nll = nll.mean;
  result.perplexity = std::exp(nll.mean);
  result.perplexity_error = result.perplexity * std::sqrt(nll.error_squared);
  if (!with_reference) return;
  result.reference.emplace();
  SummarizeReference(losses, result.finite, *result.reference);
}

}  // namespace smelt
