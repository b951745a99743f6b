// Writes safetensors front to back, for results such as logits.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/atomic_file.h"

namespace smelt {

/// One F32 tensor whose values arrive in row-major order. The file appears under its name with
/// Finish; without it nothing stays.
class SafetensorsWriter {
 public:
  static absl::StatusOr<std::unique_ptr<SafetensorsWriter>> Create(
      const std::string& path, std::string_view name, const std::vector<uint64_t>& shape,
      bool force);
  ~SafetensorsWriter();

  /// The next values. More than the shape holds is an error.
  absl::Status Append(std::span<const float> values);
  /// An error when fewer values came than the shape holds.
  absl::Status Finish();

 private:
  explicit SafetensorsWriter(uint64_t position) : position_(position) {}

  std::unique_ptr<AtomicFile> file_;
  uint64_t position_;
};

}  // namespace smelt
