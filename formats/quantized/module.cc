#include "formats/quantized/module.h"

#include "lib/base/status.h"

namespace smelt {
namespace {

const JsonValue* Member(const QuantizationConfig& config, std::string_view name) {
  return config.dictionary == nullptr ? nullptr : config.dictionary->FindNonNull(name);
}

}  // namespace

std::optional<int64_t> QuantizationConfig::Number(std::string_view name) const {
  const JsonValue* value = Member(*this, name);
  return value == nullptr ? std::nullopt : value->as_int();
}

std::optional<std::string> QuantizationConfig::Text(std::string_view name) const {
  const JsonValue* value = Member(*this, name);
  if (value == nullptr || value->as_string() == nullptr) return std::nullopt;
  return *value->as_string();
}

std::optional<bool> QuantizationConfig::Flag(std::string_view name) const {
  const JsonValue* value = Member(*this, name);
  if (value == nullptr || value->as_bool() == nullptr) return std::nullopt;
  return *value->as_bool();
}

bool QuantizationConfig::Has(std::string_view name) const { return Member(*this, name) != nullptr; }

QuantizedParts::QuantizedParts(const Container& container) {
  index_.reserve(container.tensors.size());
  for (const RawTensor& tensor : container.tensors) index_.emplace(tensor.name, &tensor);
}

const RawTensor* QuantizedParts::Find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : it->second;
}

const RawTensor* QuantizedModule::Find(std::string_view ending) const {
  const RawTensor* const tensor = parts_.Find(Cat(stem, ending));
  if (tensor != nullptr) parts_.Use(*tensor);
  return tensor;
}

absl::StatusOr<const RawTensor*> QuantizedModule::Need(std::string_view ending) const {
  if (const RawTensor* tensor = Find(ending)) return tensor;
  return Error(ErrorCode::kInvalidInput, "tensor ", Escape(stem), ending,
               " is missing: ", Escape(codes.name), " is quantized (", Name(codes.dtype),
               ") and means nothing without it; download the folder again");
}

bool QuantizedModule::Has(std::string_view ending) const {
  return parts_.Find(Cat(stem, ending)) != nullptr;
}

absl::Status QuantizedModule::Bad(const RawTensor& part, std::string_view what) const {
  return Error(ErrorCode::kInvalidInput, "tensor ", Escape(part.name), " (", Name(part.dtype), " ",
               ShapeText(part.shape), ") does not fit ", Escape(codes.name), " (",
               Name(codes.dtype), " ", ShapeText(codes.shape), "): ", what);
}

}  // namespace smelt
