#include "lib/jobs/fallbacks.h"

#include <algorithm>
#include <cstdio>
#include <set>

#include "lib/base/status.h"

namespace smelt {
namespace {

/// "256", or "32 or 256" where types with blocks of both lengths did not fit.
std::string BlockLengths(const Fallbacks& fallbacks) {
  std::set<uint32_t> lengths;
  for (const FallbackGroup& f : fallbacks.kinds) lengths.insert(Info(f.instead_of).block_elements);
  std::string text;
  for (const uint32_t n : lengths) text += Cat(text.empty() ? "" : " or ", n);
  return text;
}

}  // namespace

Fallbacks CountFallbacks(const ModelSource& source, const std::vector<TypeChoice>& choices) {
  Fallbacks out;
  for (size_t i = 0; i < choices.size(); ++i) {
    const TypeChoice& choice = choices[i];
    if (choice.kept || !choice.option.empty()) continue;
    if (Info(choice.type).quantized || choice.misfit) ++out.matrices;
    if (!choice.misfit) continue;
    ++out.tensors;
    const auto same = std::find_if(out.kinds.begin(), out.kinds.end(), [&](const FallbackGroup& f) {
      return f.type == choice.type && f.instead_of == *choice.misfit;
    });
    if (same != out.kinds.end()) {
      ++same->tensors;
      continue;
    }
    const TensorInfo& tensor = source.tensors()[i];
    out.kinds.push_back({choice.type, *choice.misfit, 1, tensor.name, tensor.shape.columns()});
  }
  return out;
}

std::string FallbackNote(const Fallbacks& fallbacks, double bits_per_weight) {
  const FallbackGroup& first = fallbacks.kinds.front();
  std::string text = Cat(fallbacks.tensors, " of ", fallbacks.matrices,
                         " matrices have rows that are no multiple of ", BlockLengths(fallbacks),
                         " (", Escape(first.first, 60), ": ", first.first_columns, "): ");
  for (const FallbackGroup& f : fallbacks.kinds) {
    text += Cat(&f == &first ? "" : ", ", Info(f.type).name, " instead of ",
                Info(f.instead_of).name, " in ", f.tensors);
  }
  char bits[40];
  std::snprintf(bits, sizeof(bits), "%.2f", bits_per_weight);
  return Cat(text, "; ", bits, " bits per weight in all (--no-fallback refuses this)");
}

absl::Status RefuseFallbacks(const ModelSource& source, const std::vector<TypeChoice>& choices) {
  for (size_t i = 0; i < choices.size(); ++i) {
    const TypeChoice& choice = choices[i];
    if (!choice.misfit) continue;
    const TensorInfo& tensor = source.tensors()[i];
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(tensor.name), " has rows of ",
                 tensor.shape.columns(), " columns, no multiple of the ",
                 Info(*choice.misfit).block_elements, " of ", Info(*choice.misfit).name,
                 ", and --no-fallback forbids ", Info(choice.type).name,
                 " instead; choose a type that fits (--dry-run without --no-fallback lists every "
                 "tensor), or leave --no-fallback out");
  }
  return absl::OkStatus();
}

}  // namespace smelt
