#include "infer/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace smelt {
namespace {

using Candidate = std::pair<float, int32_t>;

// Most probable first, lower id of equals: a total order, so that every sort gives the same.
bool Before(const Candidate& a, const Candidate& b) {
  return a.first > b.first || (a.first == b.first && a.second < b.second);
}

// In [0, 1), from the generator's bits alone: std distributions differ between libraries.
double Uniform(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1p-53; }

}  // namespace

Sampler::Sampler(const SamplerOptions& options) : options_(options), random_(options.seed) {}

int32_t Sampler::Next(std::span<const float> logits, std::span<const int32_t> history) {
  candidates_.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    const float logit = std::isnan(logits[i]) ? -std::numeric_limits<float>::infinity() : logits[i];
    candidates_[i] = {logit, static_cast<int32_t>(i)};
  }
  Penalize(history);
  if (candidates_.empty()) return 0;
  if (options_.temperature <= 0)
    return std::min_element(candidates_.begin(), candidates_.end(), Before)->second;
  return Draw();
}

void Sampler::Penalize(std::span<const int32_t> history) {
  if (options_.repeat_penalty == 1.0 || options_.repeat_last <= 0) return;
  const size_t last = std::min<size_t>(history.size(), static_cast<size_t>(options_.repeat_last));
  std::vector<int32_t> ids(history.end() - static_cast<ptrdiff_t>(last), history.end());
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  const float penalty = static_cast<float>(options_.repeat_penalty);
  for (int32_t id : ids) {
    if (id < 0 || static_cast<size_t>(id) >= candidates_.size()) continue;
    float& logit = candidates_[static_cast<size_t>(id)].first;
    logit = logit > 0 ? logit / penalty : logit * penalty;
  }
}

int32_t Sampler::Draw() {
  // top-k, then top-p, then min-p, then temperature: the order of llama.cpp.
  size_t count = candidates_.size();
  if (options_.top_k > 0) count = std::min(count, static_cast<size_t>(options_.top_k));
  std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<ptrdiff_t>(count),
                    candidates_.end(), Before);
  weights_.resize(count);
  double total = 0;
  const double top = candidates_[0].first;
  for (size_t i = 0; i < count; ++i)
    total += weights_[i] = std::exp(static_cast<double>(candidates_[i].first) - top);
  if (options_.top_p < 1) {
    double sum = 0;
    size_t keep = 0;
    while (keep < count && (keep == 0 || sum < options_.top_p * total)) sum += weights_[keep++];
    count = keep;
  }
  // weights_[0] is 1: a share of the most probable one.
  while (count > 1 && weights_[count - 1] < options_.min_p) --count;
  total = 0;
  for (size_t i = 0; i < count; ++i)
    total += weights_[i] =
        std::exp((static_cast<double>(candidates_[i].first) - top) / options_.temperature);
  double at = Uniform(random_) * total;
  for (size_t i = 0; i < count; ++i) {
    at -= weights_[i];
    if (at < 0) return candidates_[i].second;
  }
  return candidates_[count - 1].second;
}

}  // namespace smelt
