#include "formats/safetensors.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using smelt::fuzz::Require;
  const auto got = smelt::ReadSafetensors(smelt::fuzz::InMemory(data, size));
  if (!got.ok()) {
    smelt::fuzz::RequireGoodMessage(got.status());
    return 0;
  }
  uint64_t total = 0;
  for (const smelt::RawTensor& tensor : got->tensors) {
    const uint64_t bytes = tensor.elements() * smelt::BitsOf(tensor.dtype) / 8;
    Require(tensor.offset <= size && bytes <= size - tensor.offset,
            "a tensor lies inside the file");
    Require(tensor.contiguous(), "a tensor is contiguous");
    total += bytes;
  }
  Require(total < size, "tensors share no bytes");
  return 0;
}
