#include "tests/testing/safetensors.h"

#include <cstring>

#include "lib/base/cat.h"
#include "lib/base/json.h"

namespace smelt::testing {

std::string SafetensorsFile(std::string_view header, std::string_view data) {
  std::string file(8, '\0');
  const uint64_t length = header.size();
  std::memcpy(file.data(), &length, sizeof(length));
  return file.append(header).append(data);
}

std::string SafetensorsFile(const std::vector<StoredTensor>& tensors) {
  std::string header, data;
  for (const StoredTensor& tensor : tensors) {
    std::string shape;
    for (const uint64_t extent : tensor.shape) shape += Cat(shape.empty() ? "" : ",", extent);
    header += Cat(header.empty() ? "" : ",", JsonQuote(tensor.name), R"(:{"dtype":")", tensor.dtype,
                  R"(","shape":[)", shape, R"(],"data_offsets":[)", data.size(), ",",
                  data.size() + tensor.bytes.size(), "]}");
    data += tensor.bytes;
  }
  header = Cat("{", header, "}");
  header.append((8 - header.size() % 8) % 8, ' ');
  return SafetensorsFile(header, data);
}

}  // namespace smelt::testing
