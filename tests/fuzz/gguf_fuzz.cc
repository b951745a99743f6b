#include "formats/gguf.h"
#include "tests/fuzz/fuzz.h"

namespace smelt::fuzz {
namespace {

/// What was read, written again, reads as the same.
void RequireRoundTrip(const GgufFile& file) {
  std::vector<GgufTensorSpec> specs;
  for (const GgufTensor& tensor : file.tensors) {
    specs.push_back({tensor.name, tensor.ne, tensor.dims, tensor.type});
  }
  const auto layout = SerializeGgufHeader(file.metadata, specs, file.alignment);
  if (!layout.ok()) {  // names longer than llama.cpp's limit are read, but not written
    RequireGoodMessage(layout.status());
    return;
  }
  Require(layout->file_size < 64 << 20, "the layout is as small as the file");
  std::vector<std::byte> bytes = layout->header;
  bytes.resize(layout->file_size);
  const auto again = ReadGguf(MemoryStorage("again", std::move(bytes)));
  Require(again.ok(), "what was written is read");
  Require(again->tensors.size() == file.tensors.size(), "the number of tensors stays");
  for (size_t i = 0; i < file.tensors.size(); ++i) {
    Require(again->tensors[i].name == file.tensors[i].name, "names stay");
    Require(again->tensors[i].bytes == file.tensors[i].bytes, "sizes stay");
    Require(again->tensors[i].offset == layout->offsets[i], "offsets are those of the layout");
  }
  const auto second = SerializeGgufHeader(again->metadata, specs, again->alignment);
  Require(second.ok() && second->header == layout->header, "the header stays");
}

}  // namespace
}  // namespace smelt::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using smelt::fuzz::Require;
  const auto got = smelt::ReadGguf(smelt::fuzz::InMemory(data, size));
  if (!got.ok()) {
    smelt::fuzz::RequireGoodMessage(got.status());
    return 0;
  }
  for (const smelt::GgufTensor& tensor : got->tensors) {
    Require(tensor.bytes > 0, "a tensor has bytes");
    Require(tensor.offset % got->alignment == 0, "a tensor is aligned");
    Require(tensor.offset <= size && tensor.bytes <= size - tensor.offset,
            "a tensor lies inside the file");
  }
  smelt::fuzz::RequireRoundTrip(*got);
  return 0;
}
