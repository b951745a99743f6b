// Values of containers' tensors, and their comparison.
#pragma once

#include <string>

#include "formats/container.h"

namespace smelt::testing {

/// A tensor's elements in row-major order, whatever its strides.
std::string Dense(const RawTensor& tensor);

/// Every tensor of `expected` is in `got` with the same dtype, shape and values.
void ExpectSameTensors(const Container& got, const Container& expected);

}  // namespace smelt::testing
