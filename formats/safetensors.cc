#include "formats/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <span>
#include <utility>

#include "lib/base/checked.h"
#include "lib/base/json.h"
#include "lib/base/stand_in.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

/// One member of the header, as written; nothing is believed yet.
struct HeaderEntry {
  std::string name;
  std::optional<std::string> dtype;
  std::optional<std::vector<uint64_t>> shape;
  std::optional<std::vector<uint64_t>> offsets;
};

struct Header {
  std::vector<HeaderEntry> entries;
  std::vector<std::pair<std::string, std::string>> metadata;
};

/// Collects the header's members; refuses every kind of value that does not belong where it stands.
class HeaderReader : public JsonHandler {
 public:
  explicit HeaderReader(std::string_view file) : file_(file) {}

  Header&& take() { return std::move(header_); }

  absl::Status Null() override { return Misplaced("null"); }
  absl::Status Bool(bool) override { return Misplaced("a boolean"); }
  absl::Status Double(double, std::string_view text) override {
    return Misplaced(Cat("the number ", Escape(text, 30)));
  }
  absl::Status Int(int64_t value) override {
    if (value < 0) return Misplaced(Cat("the number ", value));
    return Uint(static_cast<uint64_t>(value));
  }
  absl::Status Uint(uint64_t value) override {
    if (place_ != Place::kShapeItems && place_ != Place::kOffsetItems) {
      return Misplaced(Cat("the number ", value));
    }
    HeaderEntry& entry = header_.entries.back();
    (place_ == Place::kShapeItems ? entry.shape : entry.offsets)->push_back(value);
    return absl::OkStatus();
  }
  absl::Status String(std::string&& value) override {
    if (place_ == Place::kDtype) {
      header_.entries.back().dtype = std::move(value);
      place_ = Place::kTensor;
    } else if (place_ == Place::kMetadata && !key_.empty_slot) {
      header_.metadata.emplace_back(std::move(key_.text), std::move(value));
      key_.empty_slot = true;
    } else {
      return Misplaced(Cat("the string \"", Escape(value, 40), "\""));
    }
    return absl::OkStatus();
  }
  absl::Status StartObject() override {
    if (place_ == Place::kStart) {
      place_ = Place::kTop;
    } else if (place_ == Place::kMetadataValue) {
      place_ = Place::kMetadata;
    } else if (place_ == Place::kTensorValue) {
      place_ = Place::kTensor;
    } else {
      return Misplaced("an object");
    }
    return absl::OkStatus();
  }
  absl::Status EndObject() override {
    place_ = place_ == Place::kTop ? Place::kEnd : Place::kTop;
    return absl::OkStatus();
  }
  absl::Status StartArray() override {
    HeaderEntry* entry = header_.entries.empty() ? nullptr : &header_.entries.back();
    if (place_ == Place::kShape) {
      entry->shape.emplace();
      place_ = Place::kShapeItems;
    } else if (place_ == Place::kOffsets) {
      entry->offsets.emplace();
      place_ = Place::kOffsetItems;
    } else {
      return Misplaced("an array");
    }
    return absl::OkStatus();
  }
  absl::Status EndArray() override {
    place_ = Place::kTensor;
    return absl::OkStatus();
  }
  absl::Status Key(std::string&& key) override {
    if (place_ == Place::kTop) {
      place_ = key == "__metadata__" ? Place::kMetadataValue : Place::kTensorValue;
      if (place_ == Place::kTensorValue) {
        header_.entries.emplace_back();
        header_.entries.back().name = std::move(key);
      }
    } else if (place_ == Place::kTensor) {
      if (key == "dtype") {
        place_ = Place::kDtype;
      } else if (key == "shape") {
        place_ = Place::kShape;
      } else if (key == "data_offsets") {
        place_ = Place::kOffsets;
      } else {
        return Bad(Cat("tensor ", Tensor(), " has the unknown field \"", Escape(key, 40), "\""));
      }
    } else {
      key_ = {std::move(key), false};
    }
    return absl::OkStatus();
  }

 private:
  enum class Place {
    kStart,
    kTop,
    kEnd,
    kMetadataValue,
    kMetadata,
    kTensorValue,
    kTensor,
    kDtype,
    kShape,
    kShapeItems,
    kOffsets,
    kOffsetItems,
  };

  std::string Tensor() const { return Cat("\"", Escape(header_.entries.back().name), "\""); }

  absl::Status Bad(std::string_view what) const {
    return Error(ErrorCode::kInvalidInput, file_, ": safetensors header: ", what);
  }

  absl::Status Misplaced(std::string_view found) const {
    switch (place_) {
      case Place::kStart:
        return Bad(Cat("expected a JSON object, found ", found));
      case Place::kMetadataValue:
        return Bad(Cat("__metadata__ must be an object of strings, found ", found));
      case Place::kMetadata:
        return Bad(Cat("__metadata__ may hold only strings, but \"", Escape(key_.text, 40),
                       "\" is ", found));
      case Place::kTensorValue:
        return Bad(Cat("tensor ", Tensor(), " must be an object, found ", found));
      case Place::kDtype:
        return Bad(Cat("dtype of tensor ", Tensor(), " must be a string, found ", found));
      case Place::kShape:
      case Place::kShapeItems:
        return Bad(Cat("shape of tensor ", Tensor(),
                       " must be an array of non-negative integers, found ", found));
      case Place::kOffsets:
      case Place::kOffsetItems:
        return Bad(Cat("data_offsets of tensor ", Tensor(),
                       " must be two non-negative integers, found ", found));
      case Place::kTop:
      case Place::kTensor:
      case Place::kEnd:
        break;
    }
    return Bad(Cat("found ", found, " in a wrong place"));
  }

  struct PendingKey {
    std::string text;
    bool empty_slot = true;
  };

  std::string file_;
  Header header_;
  Place place_ = Place::kStart;
  PendingKey key_;
};

constexpr ErrorCode kInvalid = ErrorCode::kInvalidInput;

template <typename... Parts>
absl::Status Bad(ErrorCode code, std::string_view file, const HeaderEntry& entry,
                 const Parts&... what) {
  return Error(code, file, ": tensor \"", Escape(entry.name), "\" ", what...);
}

/// A tensor by itself: a known dtype, a shape whose size does not overflow and equals its bytes,
/// all of them inside of the data.
absl::Status CheckEntry(std::string_view file, const HeaderEntry& entry, uint64_t data_size) {
  if (!entry.dtype) return Bad(kInvalid, file, entry, "has no dtype");
  if (!entry.shape) return Bad(kInvalid, file, entry, "has no shape");
  if (!entry.offsets) return Bad(kInvalid, file, entry, "has no data_offsets");
  const std::optional<RawType> dtype = ParseRawType(*entry.dtype);
  if (!dtype) {
    return Bad(ErrorCode::kUnsupported, file, entry, "has the unknown dtype \"",
               Escape(*entry.dtype, 40), "\"");
  }
  if (entry.offsets->size() != 2) {
    return Bad(kInvalid, file, entry, "has ", entry.offsets->size(),
               " data_offsets; a begin and an end are expected");
  }
  const uint64_t begin = (*entry.offsets)[0], end = (*entry.offsets)[1];
  if (end < begin) {
    return Bad(kInvalid, file, entry, "has data_offsets that end (", end, ") before they begin (",
               begin, ")");
  }

  std::optional<uint64_t> bits = BitsOf(*dtype);
  for (uint64_t extent : *entry.shape) {
    bits = bits ? CheckedMul(*bits, extent) : std::nullopt;
  }
  if (!bits) return Bad(kInvalid, file, entry, "has a shape whose size in bits overflows 64 bits");
  if (*bits % 8 != 0) return Bad(kInvalid, file, entry, "does not fill whole bytes");
  if (end - begin != *bits / 8) {
    return Bad(kInvalid, file, entry, "needs ", *bits / 8, " bytes by its shape and dtype, but ",
               "its data_offsets give ", end - begin);
  }
  if (end > data_size) {
    return Bad(kInvalid, file, entry, "ends at byte ", end,
               " of the data, past the end of the file (", data_size,
               " bytes of data): the file is truncated; download it again");
  }
  return absl::OkStatus();
}

/// Tensors that are right by themselves tile the data exactly: sorted by place, each begins where
/// the one before it ended.
absl::Status CheckTiling(std::string_view file, const Header& header, uint64_t data_size) {
  std::vector<size_t> order(header.entries.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return *header.entries[a].offsets < *header.entries[b].offsets;
  });
  uint64_t expected = 0;
  const HeaderEntry* before = nullptr;
  for (size_t i : order) {
    const HeaderEntry& entry = header.entries[i];
    const uint64_t begin = (*entry.offsets)[0];
    if (begin < expected) {
      return Bad(kInvalid, file, entry, "overlaps tensor \"", Escape(before->name),
                 "\": its data_offsets begin at ", begin, ", the other's end at ", expected);
    }
    if (begin > expected) {
      return Bad(kInvalid, file, entry, "begins at data offset ", begin, " after a hole of ",
                 begin - expected, " unused bytes");
    }
    expected = (*entry.offsets)[1];
    before = &entry;
  }
  if (expected != data_size) {
    return Error(kInvalid, file, ": ", data_size - expected,
                 " bytes after the last tensor belong to no tensor");
  }
  return absl::OkStatus();
}

/// All trust in a file's tensor list is established here. On success `tensors` is the list; offsets
/// are absolute.
absl::Status Validate(std::string_view file, const Header& header, uint64_t data_start,
                      uint64_t file_size, std::vector<RawTensor>& tensors) {
  const uint64_t data_size = file_size - data_start;
  for (const HeaderEntry& entry : header.entries)
    SMELT_RETURN_IF_ERROR(CheckEntry(file, entry, data_size));
  SMELT_RETURN_IF_ERROR(CheckTiling(file, header, data_size));
  tensors.reserve(header.entries.size());
  for (const HeaderEntry& entry : header.entries) {
    RawTensor tensor;
    tensor.name = entry.name;
    tensor.dtype = *ParseRawType(*entry.dtype);
    tensor.shape = *entry.shape;
    tensor.strides = ContiguousStrides(tensor.shape);
    tensor.offset = data_start + (*entry.offsets)[0];
    tensors.push_back(std::move(tensor));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadHeaderText(const Storage& storage, std::string_view file) {
  SMELT_ASSIGN_OR_RETURN(const std::string start, ReadStart(storage, kStandInBytes));
  SMELT_RETURN_IF_ERROR(RefuseText(storage.name(), start));
  if (storage.size() < 8) {
    return Error(ErrorCode::kInvalidInput, file,
                 ": too short for a safetensors header: ", storage.size(),
                 " bytes, of which the header's length alone takes 8 bytes");
  }
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<uint8_t>(start[i]);
  if (length > storage.size() - 8) {
    return Error(ErrorCode::kInvalidInput, file,
                 ": not a safetensors file, or truncated: its header of ", length,
                 " bytes reaches past the end of the file (", storage.size(), " bytes)");
  }
  if (length > kSafetensorsMaxHeader) {
    return Error(ErrorCode::kInvalidInput, file, ": the safetensors header has ", length,
                 " bytes; the format allows at most ", kSafetensorsMaxHeader);
  }
  std::string text(length, '\0');
  SMELT_RETURN_IF_ERROR(storage.ReadAt(8, std::as_writable_bytes(std::span(text))));
  if (!text.starts_with('{')) {
    return Error(ErrorCode::kInvalidInput, file,
                 ": the safetensors header is no JSON object (it must begin with \"{\")");
  }
  return text;
}

}  // namespace

absl::StatusOr<Container> ReadSafetensors(std::shared_ptr<const Storage> storage) {
  const std::string file = Escape(storage->name());
  SMELT_ASSIGN_OR_RETURN(std::string text, ReadHeaderText(*storage, file));
  const uint64_t data_start = 8 + text.size();
  HeaderReader reader(file);
  SMELT_RETURN_IF_ERROR(
      ParseJson(text, Cat(storage->name(), ": safetensors header"), reader, {.max_depth = 8}));
  std::string().swap(text);
  Header header = reader.take();

  Container container;
  SMELT_RETURN_IF_ERROR(Validate(file, header, data_start, storage->size(), container.tensors));
  for (RawTensor& tensor : container.tensors) tensor.storage = storage;
  container.metadata = std::move(header.metadata);
  container.files.push_back(std::move(storage));
  return container;
}

absl::StatusOr<Container> OpenSafetensors(const std::string& path) {
  SMELT_ASSIGN_OR_RETURN(std::shared_ptr<const Storage> storage, OpenFile(path));
  return ReadSafetensors(std::move(storage));
}

}  // namespace smelt
