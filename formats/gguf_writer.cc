#include <cstring>
#include <string_view>
#include <type_traits>
#include <variant>

#include "formats/gguf.h"
#include "lib/base/checked.h"
#include "lib/base/status.h"
#include "lib/base/text_hash.h"

namespace smelt {
namespace {

class Writer {
 public:
  explicit Writer(std::vector<std::byte>& out) : out_(out) {}

  void Bytes(const void* data, size_t size) {
    if (size == 0) return;
    const size_t at = out_.size();
    out_.resize(at + size);
    std::memcpy(out_.data() + at, data, size);
  }
  template <typename T>
  void Number(T value) {
    Bytes(&value, sizeof(value));
  }
  void String(std::string_view text) {
    Number<uint64_t>(text.size());
    Bytes(text.data(), text.size());
  }

  void Value(const MetadataValue& value) {
    Number(static_cast<uint32_t>(value.type()));
    if (value.is_array()) {
      Number(static_cast<uint32_t>(value.element_type()));
      Number<uint64_t>(value.size());
    }
    std::visit([this](const auto& stored) { Put(stored); }, value.storage());
  }

 private:
  void Put(bool value) { Number<uint8_t>(value ? 1 : 0); }
  void Put(const std::string& value) { String(value); }
  void Put(const std::vector<std::string>& values) {
    for (const std::string& value : values) String(value);
  }
  template <typename T>
  requires std::is_arithmetic_v<T>
  void Put(T value) { Number(value); }
  template <typename T>
  void Put(const std::vector<T>& values) {
    Bytes(values.data(), values.size() * sizeof(T));
  }

  std::vector<std::byte>& out_;
};

absl::Status CheckAlignment(const Metadata& metadata, uint64_t alignment) {
  const MetadataValue* key = metadata.Find("general.alignment");
  const uint64_t written = key == nullptr ? kGgufDefaultAlignment : key->AsUint().value_or(0);
  if (written == alignment && alignment != 0 && (alignment & (alignment - 1)) == 0) {
    return absl::OkStatus();
  }
  return Error(ErrorCode::kInternal, "general.alignment says ", written, ", the layout uses ",
               alignment);
}

absl::StatusOr<uint64_t> SpecBytes(const GgufTensorSpec& tensor) {
  std::optional<uint64_t> bytes = RowBytes(tensor.type, tensor.ne[0]);
  if (tensor.ne[0] % Info(tensor.type).block_elements != 0) {
    return Error(ErrorCode::kInvalidInput, "tensor \"", Escape(tensor.name), "\" cannot be ",
                 Info(tensor.type).name, ": its ", tensor.ne[0], " columns are no multiple of ",
                 Info(tensor.type).block_elements);
  }
  for (int i = 1; i < kGgufMaxDims; ++i) bytes = bytes ? CheckedMul(*bytes, tensor.ne[i]) : bytes;
  if (!bytes) {
    return Error(ErrorCode::kInvalidInput, "tensor \"", Escape(tensor.name),
                 "\" has a size in bytes that overflows 64 bits");
  }
  return *bytes;
}

}  // namespace

absl::StatusOr<GgufLayout> SerializeGgufHeader(const Metadata& metadata,
                                               std::span<const GgufTensorSpec> tensors,
                                               uint64_t alignment) {
  SMELT_RETURN_IF_ERROR(CheckAlignment(metadata, alignment));
  GgufLayout layout;
  Writer writer(layout.header);
  writer.Bytes("GGUF", 4);
  writer.Number(kGgufVersion);
  writer.Number<uint64_t>(tensors.size());
  writer.Number<uint64_t>(metadata.entries().size());
  for (const Metadata::Entry& entry : metadata.entries()) {
    if (entry.key.empty() || entry.key.size() > 65535) {
      return Error(ErrorCode::kInvalidInput, "metadata key \"", Escape(entry.key), "\" has ",
                   entry.key.size(), " bytes; 1 to 65535 are allowed");
    }
    writer.String(entry.key);
    writer.Value(entry.value);
  }

  TextSet<std::string_view> names;
  uint64_t offset = 0;
  for (const GgufTensorSpec& tensor : tensors) {
    if (tensor.name.size() > kGgufMaxName) {
      return Error(ErrorCode::kUnsupported, "tensor name \"", Escape(tensor.name), "\" has ",
                   tensor.name.size(), " bytes; readers of GGUF allow at most ", kGgufMaxName);
    }
    if (!names.insert(tensor.name).second) {
      return Error(ErrorCode::kInvalidInput, "tensor \"", Escape(tensor.name), "\" is there twice");
    }
    writer.String(tensor.name);
    writer.Number(static_cast<uint32_t>(tensor.dims));
    writer.Bytes(tensor.ne.data(), tensor.dims * sizeof(uint64_t));
    writer.Number(static_cast<uint32_t>(tensor.type));
    writer.Number(offset);

    SMELT_ASSIGN_OR_RETURN(const uint64_t bytes, SpecBytes(tensor));
    layout.offsets.push_back(offset);
    layout.bytes.push_back(bytes);
    const std::optional<uint64_t> end = CheckedAdd(offset, bytes);
    const std::optional<uint64_t> next = end ? CheckedAlign(*end, alignment) : std::nullopt;
    if (!next || *next > uint64_t{1} << 62) {
      return Error(ErrorCode::kInvalidInput, "tensor \"", Escape(tensor.name),
                   "\" would end beyond 2^62 bytes");
    }
    offset = *next;
  }
  layout.header.resize(*CheckedAlign(layout.header.size(), alignment));
  for (uint64_t& at : layout.offsets) at += layout.header.size();
  layout.file_size = layout.header.size() + offset;
  return layout;
}

}  // namespace smelt
