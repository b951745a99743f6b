#include "lib/jobs/trained_context.h"

#include <algorithm>
#include <string>

#include "lib/base/status.h"

namespace smelt {

uint64_t TrainedContext(const ModelSource& model) {
  const Metadata& metadata = model.metadata();
  const std::string architecture = metadata.StringOr("general.architecture", "").value_or("");
  const auto key = [&](std::string_view name) { return Cat(architecture, ".", name); };
  const uint64_t context = metadata.UintOr(key("context_length"), 0).value_or(0);
  const std::string scaling = metadata.StringOr(key("rope.scaling.type"), "none").value_or("none");
  if (scaling == "none") return context;
  const uint64_t original =
      metadata.UintOr(key("rope.scaling.original_context_length"), 0).value_or(0);
  const double factor = metadata.FloatOr(key("rope.scaling.factor"), 1).value_or(1);
  const double stretched = static_cast<double>(original) * factor;
  constexpr double kLongest = 1e15;  // no text is
  if (!(stretched > static_cast<double>(context))) return context;
  return static_cast<uint64_t>(std::min(stretched, kLongest));
}

bool WarnBeyondTrainedContext(const ModelSource& model, uint64_t tokens, const Observer& observer) {
  const uint64_t trained = TrainedContext(model);
  if (trained == 0 || tokens <= trained) return false;
  observer.Warn(Cat("a text of ", tokens, " tokens is longer than the ", trained, " that ",
                    Escape(model.name()), " was trained for; expect worse predictions beyond"));
  return true;
}

}  // namespace smelt
