// What the reader makes of a checkpoint in memory.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/torch/torch.h"
#include "lib/base/storage.h"

namespace smelt::testing {

inline absl::StatusOr<Container> ReadArchive(const std::string& bytes) {
  const auto view = std::as_bytes(std::span(bytes));
  std::vector<std::byte> copy(view.begin(), view.end());
  return ReadTorch(MemoryStorage("model.pt", std::move(copy)));
}

}  // namespace smelt::testing
