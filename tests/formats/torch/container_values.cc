#include "tests/formats/torch/container_values.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace smelt::testing {

std::string Dense(const RawTensor& tensor) {
  const size_t width = BitsOf(tensor.dtype) / 8;
  std::string out;
  std::vector<uint64_t> index(tensor.shape.size());
  for (uint64_t n = tensor.elements(); n > 0; --n) {
    uint64_t place = 0;
    for (size_t i = 0; i < index.size(); ++i) {
      place += index[i] * static_cast<uint64_t>(tensor.strides[i]);
    }
    std::string element(width, '\0');
    EXPECT_TRUE(
        tensor.storage
            ->ReadAt(tensor.offset + place * width, std::as_writable_bytes(std::span(element)))
            .ok());
    out += element;
    for (size_t i = index.size(); i-- > 0 && ++index[i] == tensor.shape[i];) index[i] = 0;
  }
  return out;
}

void ExpectSameTensors(const Container& got, const Container& expected) {
  std::map<std::string, const RawTensor*> by_name;
  for (const RawTensor& tensor : got.tensors) by_name[tensor.name] = &tensor;
  for (const RawTensor& tensor : expected.tensors) {
    ASSERT_TRUE(by_name.contains(tensor.name)) << tensor.name;
    const RawTensor& other = *by_name[tensor.name];
    EXPECT_EQ(other.dtype, tensor.dtype) << tensor.name;
    EXPECT_EQ(other.shape, tensor.shape) << tensor.name;
    EXPECT_TRUE(Dense(other) == Dense(tensor)) << tensor.name;
  }
}

}  // namespace smelt::testing
