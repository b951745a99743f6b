// Small files of weights for tests of which of them are read.
#pragma once

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/cat.h"
#include "lib/base/json.h"

namespace smelt::testing {

/// A safetensors file of vectors of bytes: name -> as many bytes, each `value`.
struct SmallTensor {
  std::string_view name;
  size_t bytes = 4;
  char value = 'x';
};
inline std::string SmallSafetensors(const std::vector<SmallTensor>& tensors) {
  std::string header, data;
  for (const SmallTensor& tensor : tensors) {
    header += Cat(header.empty() ? "" : ",", JsonQuote(tensor.name), R"(:{"dtype":"U8","shape":[)",
                  tensor.bytes, R"(],"data_offsets":[)", data.size(), ",",
                  data.size() + tensor.bytes, "]}");
    data.append(tensor.bytes, tensor.value);
  }
  header = Cat("{", header, "}");
  std::string out(8, '\0');
  const uint64_t length = header.size();
  std::memcpy(out.data(), &length, 8);
  return Cat(out, header, data);
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
