#include "infer/watch.h"

#include <vector>

#include "infer/cpu/layout.h"
#include "infer/cpu/watch.h"
#include "lib/base/status.h"

namespace smelt {

// Panels of one token, as the processor's own products have them.
absl::Status WatchRows(Tap& tap, std::span<const Matrix* const> matrices, uint64_t index,
                       std::span<const float> rows) {
  cpu::Input in;
  for (const Matrix* matrix : matrices) {
    if (!matrix->present()) continue;
    const uint32_t tokens = static_cast<uint32_t>(rows.size() / matrix->columns);
    if (in.x == nullptr) in.Set(rows.data(), matrix->columns, tokens, 1);
    SMELT_RETURN_IF_ERROR(cpu::Watch(tap, *matrix, index, cpu::TokensOfPanels(tokens, 1), in));
  }
  return absl::OkStatus();
}

absl::Status WatchRowsOfHeads(Tap& tap, const Matrix& matrix, uint32_t heads, uint32_t stride,
                              std::span<const float> rows) {
  cpu::Layout layout;
  layout.lanes = 1;
  layout.tokens = layout.panels = static_cast<uint32_t>(rows.size() / (uint64_t{heads} * stride));
  layout.segments = {{.panels = layout.panels, .tokens = layout.tokens}};
  return cpu::WatchHeads(tap, matrix, heads, stride, layout, rows.data());
}

absl::Status WatchExperts(Tap& tap, const ExpertsOp& op, std::span<const uint32_t> chosen,
                          std::span<const float> in, std::span<const float> hidden) {
  std::vector<std::vector<uint32_t>> choices(op.count);
  for (uint32_t i = 0; i < chosen.size(); ++i)
    if (chosen[i] < op.count) choices[chosen[i]].push_back(i);
  std::vector<float> inputs, hiddens;
  for (uint32_t e = 0; e < op.count; ++e) {
    inputs.clear();
    hiddens.clear();
    for (const uint32_t i : choices[e]) {
      const auto row = in.subspan(uint64_t{i / op.used} * op.width, op.width);
      const auto made = hidden.subspan(uint64_t{i} * op.hidden, op.hidden);
      inputs.insert(inputs.end(), row.begin(), row.end());
      hiddens.insert(hiddens.end(), made.begin(), made.end());
    }
    if (inputs.empty()) continue;
    SMELT_RETURN_IF_ERROR(WatchRows(tap, {&op.gate, &op.up}, e, inputs));
    SMELT_RETURN_IF_ERROR(WatchRows(tap, {&op.down}, e, hiddens));
  }
  return absl::OkStatus();
}

}  // namespace smelt
