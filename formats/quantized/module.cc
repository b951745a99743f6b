#include "formats/quantized/module.h"

#include <algorithm>
#include <utility>

#include "lib/base/status.h"
#include "lib/base/storage.h"

namespace smelt {
namespace {

/// What else members are called: by AutoAWQ's own files and old GPTQ programs.
struct OtherName {
  std::string_view name, other;
};
constexpr OtherName kOtherNames[] = {{"bits", "w_bit"},
                                     {"bits", "wbits"},
                                     {"group_size", "q_group_size"},
                                     {"group_size", "groupsize"}};

const JsonValue* Member(const QuantizationConfig& config, std::string_view name) {
  if (config.dictionary == nullptr) return nullptr;
  if (const JsonValue* value = config.dictionary->FindNonNull(name)) return value;
  for (const OtherName& row : kOtherNames) {
    if (row.name != name) continue;
    if (const JsonValue* value = config.dictionary->FindNonNull(row.other)) return value;
  }
  return nullptr;
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

std::vector<const JsonValue*> QuantizationConfig::WeightsOfGroups() const {
  std::vector<const JsonValue*> found;
  const JsonValue* groups = Member(*this, "config_groups");
  if (groups == nullptr || groups->as_object() == nullptr) return found;
  for (const auto& [name, group] : *groups->as_object()) {
    const JsonValue* weights = group.is_object() ? group.FindNonNull("weights") : nullptr;
    if (weights != nullptr && weights->is_object()) found.push_back(weights);
  }
  return found;
}

bool QuantizationConfig::HasZeroPoints(uint32_t bits) const {
  bool has = false;
  for (const JsonValue* weights : WeightsOfGroups()) {
    const JsonValue *number = weights->FindNonNull("num_bits"),
                    *symmetric = weights->FindNonNull("symmetric");
    if (number == nullptr || number->as_int() != std::optional<int64_t>(bits)) continue;
    if (symmetric == nullptr || symmetric->as_bool() == nullptr || *symmetric->as_bool())
      return false;
    has = true;
  }
  return has;
}

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

absl::StatusOr<RawTensor> Repeated(const RawTensor& one, uint64_t times) {
  const uint64_t size = BitsOf(one.dtype) / 8;
  std::vector<std::byte> element(size), all(size * times);
  SMELT_RETURN_IF_ERROR(one.storage->ReadAt(one.offset, element));
  for (uint64_t i = 0; i < times; ++i) std::ranges::copy(element, all.begin() + i * size);
  RawTensor repeated = one;
  repeated.storage = MemoryStorage(one.name, std::move(all));
  repeated.offset = 0;
  repeated.shape = {times, 1};
  repeated.strides = ContiguousStrides(repeated.shape);
  return repeated;
}

}  // namespace smelt
