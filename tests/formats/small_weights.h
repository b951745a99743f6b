// Small files of weights for tests of which of them are read.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/cat.h"
#include "lib/base/json.h"
#include "tests/testing/safetensors.h"

namespace smelt::testing {

/// A safetensors file of vectors of bytes: name -> as many bytes, each `value`.
struct SmallTensor {
  std::string_view name;
  size_t bytes = 4;
  char value = 'x';
};
inline std::string SmallSafetensors(const std::vector<SmallTensor>& tensors) {
  std::vector<StoredTensor> stored;
  for (const SmallTensor& tensor : tensors) {
    stored.push_back({.name = std::string(tensor.name),
                      .dtype = "U8",
                      .shape = {tensor.bytes},
                      .bytes = std::string(tensor.bytes, tensor.value)});
  }
  return SafetensorsFile(stored);
}

/// An index: tensor, shard, tensor, shard ...
inline std::string SmallIndex(const std::vector<std::pair<std::string, std::string>>& map) {
  std::string out;
  for (const auto& [tensor, shard] : map) {
    out += Cat(out.empty() ? "" : ",", JsonQuote(tensor), ":", JsonQuote(shard));
  }
  return Cat(R"({"metadata":{},"weight_map":{)", out, "}}");
}

}  // namespace smelt::testing
