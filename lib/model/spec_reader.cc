#include "lib/model/spec_reader.h"

#include <algorithm>

#include "lib/base/checked.h"
#include "lib/base/status.h"

namespace smelt {

SpecReader::SpecReader(const ModelSource& source, std::string architecture)
    : source_(source),
      architecture_(std::move(architecture)),
      read_tensors_(source.tensors().size()) {}

std::string SpecReader::Key(std::string_view suffix) const {
  return Cat(architecture_, ".", suffix);
}

bool SpecReader::Has(std::string_view suffix) const { return source_.metadata().Has(Key(suffix)); }

absl::Status SpecReader::Bad(std::string_view suffix, std::string_view what) const {
  return Error(ErrorCode::kInvalidInput, "metadata key ", Escape(Key(suffix)), " ", what);
}

const MetadataValue* SpecReader::Value(std::string_view suffix) {
  std::string key = Key(suffix);
  const MetadataValue* value = source_.metadata().Find(key);
  read_keys_.insert(std::move(key));
  return value;
}

absl::StatusOr<uint64_t> SpecReader::Count(std::string_view suffix, uint64_t low, uint64_t high) {
  if (!Has(suffix)) return Bad(suffix, "is missing");
  return CountOr(suffix, 0, low, high);
}

absl::StatusOr<uint64_t> SpecReader::CountOr(std::string_view suffix, uint64_t fallback,
                                             uint64_t low, uint64_t high) {
  const MetadataValue* value = Value(suffix);
  if (value == nullptr) return fallback;
  const std::optional<uint64_t> number = value->is_array() ? std::nullopt : value->AsUint();
  if (!number) {
    return Bad(suffix,
               Cat("is ", value->is_array() ? "an array" : Cat("of type ", Name(value->type())),
                   ", expected an integer that is not negative"));
  }
  if (*number < low || *number > high)
    return Bad(suffix, Cat("is ", *number, ", expected ", low, " to ", high));
  return *number;
}

absl::StatusOr<std::vector<uint64_t>> SpecReader::PerLayer(std::string_view suffix, uint64_t layers,
                                                           uint64_t low, uint64_t high) {
  const MetadataValue* value = Value(suffix);
  if (value == nullptr) return Bad(suffix, "is missing");
  if (value->is_array() && value->size() != layers) {
    return Bad(suffix,
               Cat("has ", value->size(), " values, expected one for each of ", layers, " blocks"));
  }
  std::vector<uint64_t> all(layers);
  for (uint64_t i = 0; i < layers; ++i) {
    const std::optional<int64_t> number = value->IntAt(i);
    if (!number)
      return Bad(suffix, Cat("is of type ", Name(value->element_type()), ", expected integers"));
    if (*number < 0 || static_cast<uint64_t>(*number) < low ||
        static_cast<uint64_t>(*number) > high) {
      return Bad(suffix, Cat("is ", *number, " for block ", i, ", expected ", low, " to ", high));
    }
    all[i] = static_cast<uint64_t>(*number);
  }
  return all;
}

absl::StatusOr<double> SpecReader::Real(std::string_view suffix, double low, double high) {
  if (!Has(suffix)) return Bad(suffix, "is missing");
  return RealOr(suffix, 0, low, high);
}

absl::StatusOr<double> SpecReader::RealOr(std::string_view suffix, double fallback, double low,
                                          double high) {
  const MetadataValue* value = Value(suffix);
  if (value == nullptr) return fallback;
  const std::optional<double> number = value->is_array() ? std::nullopt : value->AsFloat();
  if (!number) return Bad(suffix, Cat("is of type ", Name(value->type()), ", expected a number"));
  if (!CheckedFloat(*number) || *number < low || *number > high) {  // the engine computes in f32
    return Bad(suffix, Cat("is ", *number, ", expected a finite number of at least ", low));
  }
  return *number;
}

absl::StatusOr<bool> SpecReader::FlagOr(std::string_view suffix, bool fallback) {
  const MetadataValue* value = Value(suffix);
  if (value == nullptr) return fallback;
  const std::optional<bool> flag = value->AsBool();
  if (!flag) return Bad(suffix, Cat("is of type ", Name(value->type()), ", expected a bool"));
  return *flag;
}

absl::StatusOr<std::string> SpecReader::TextOr(std::string_view suffix, std::string_view fallback) {
  const MetadataValue* value = Value(suffix);
  if (value == nullptr) return std::string(fallback);
  if (value->AsString() == nullptr)
    return Bad(suffix, Cat("is of type ", Name(value->type()), ", expected a string"));
  return *value->AsString();
}

void SpecReader::Ignore(std::initializer_list<std::string_view> suffixes) {
  for (std::string_view suffix : suffixes) read_keys_.insert(Key(suffix));
}

void SpecReader::IgnoreTensors(std::string_view prefix) {
  for (size_t i = 0; i < read_tensors_.size(); ++i) {
    if (source_.tensors()[i].name.starts_with(prefix)) read_tensors_[i] = true;
  }
}

absl::StatusOr<TensorRef> SpecReader::Tensor(std::string_view name,
                                             std::initializer_list<uint64_t> ne,
                                             std::string_view why) {
  SMELT_ASSIGN_OR_RETURN(const TensorRef tensor, TensorIf(name, ne, why));
  if (tensor == kNoTensor)
    return Error(ErrorCode::kInvalidInput, "tensor ", name, " is missing (", why, ")");
  return tensor;
}

absl::StatusOr<TensorRef> SpecReader::TensorIf(std::string_view name,
                                               std::initializer_list<uint64_t> ne,
                                               std::string_view why) {
  const int index = source_.Find(name);
  if (index < 0) return kNoTensor;
  const Shape& shape = source_.tensors()[index].shape;
  Shape expected;
  for (uint64_t extent : ne) expected.ne[expected.dims++] = extent;
  if (shape.ne != expected.ne) {
    return Error(ErrorCode::kInvalidInput, "tensor ", name, " has shape ", shape.ToText(),
                 ", expected ", expected.ToText(), " (", why, ")");
  }
  read_tensors_[index] = true;
  return index;
}

absl::StatusOr<std::vector<float>> SpecReader::Values(TensorRef tensor) const {
  const Shape& shape = source_.tensors()[tensor].shape;
  std::vector<float> values(shape.elements());
  SMELT_RETURN_IF_ERROR(source_.ReadRows(tensor, 0, shape.rows(), values.data()));
  return values;
}

absl::Status SpecReader::Finish() const {
  for (size_t i = 0; i < read_tensors_.size(); ++i) {
    if (!read_tensors_[i] && !source_.tensors()[i].companion_of) {
      return Error(ErrorCode::kUnsupported, "tensor ", Escape(source_.tensors()[i].name),
                   " is not used by architecture ", architecture_,
                   " as its keys describe it: leaving it out would change the result");
    }
  }
  const std::string prefix = architecture_ + ".";
  for (const Metadata::Entry& entry : source_.metadata().entries()) {
    const bool ours =
        entry.key.starts_with(prefix) ||
        (entry.key.starts_with(kOwnPrefix) && !entry.key.starts_with(kOwnTokenizerPrefix));
    if (ours && !read_keys_.contains(entry.key)) {
      return Error(ErrorCode::kUnsupported, "metadata key ", Escape(entry.key),
                   " is unknown to this engine: it may change the result, so it is not ignored");
    }
  }
  return absl::OkStatus();
}

}  // namespace smelt
