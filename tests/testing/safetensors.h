// Small safetensors files.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace smelt::testing {

/// A header and what follows it, as they are.
std::string SafetensorsFile(std::string_view header, std::string_view data);

struct StoredTensor {
  std::string name, dtype;  ///< dtype as the format spells it: "F32", "U8"
  std::vector<uint64_t> shape;
  std::string bytes;
};
/// A file of these tensors, one after the other; the header is padded to a multiple of 8 bytes, as
/// the format's own library does.
std::string SafetensorsFile(const std::vector<StoredTensor>& tensors);

/// Values as they lie in memory.
template <typename T>
std::string BytesOf(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

}  // namespace smelt::testing
