#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <string_view>
#include <type_traits>
#include <utility>

#include "formats/gguf.h"
#include "lib/base/checked.h"
#include "lib/base/stand_in.h"
#include "lib/base/status.h"
#include "lib/base/text_hash.h"

namespace smelt {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF data are used in place");

// Limits of the format's reference reader.
constexpr uint64_t kMaxStringBytes = 1ull << 30;
constexpr uint64_t kMaxArrayElements = 1ull << 30;
constexpr uint64_t kMaxKeyBytes = 65535;
// The least that a key/value and a tensor info can take: bounds the counts before anything is
// allocated.
constexpr uint64_t kMinKeyValueBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorInfoBytes = 8 + 4 + 4 + 8;

/// Reads the header from front to back through a window. Every read says what it reads, for the
/// message at the end of the file.
class Cursor {
 public:
  explicit Cursor(const Storage& storage) : storage_(storage), file_(Escape(storage.name())) {}

  const std::string& file() const { return file_; }
  uint64_t position() const { return position_; }
  uint64_t remaining() const { return storage_.size() - position_; }

  template <typename... Parts>
  absl::Status Bad(const Parts&... parts) const {
    return Error(ErrorCode::kInvalidInput, file_, ": ", parts...);
  }

  absl::Status Truncated(std::string_view what) const {
    return Bad("truncated: the file ends inside ", what, " (", storage_.size(),
               " bytes); download it again");
  }

  absl::Status Read(void* out, uint64_t bytes, std::string_view what) {
    if (bytes > remaining()) return Truncated(what);
    std::byte* to = static_cast<std::byte*>(out);
    while (bytes > 0) {
      if (position_ < window_start_ || position_ >= window_start_ + window_.size()) {
        SMELT_RETURN_IF_ERROR(Refill());
      }
      const uint64_t at = position_ - window_start_;
      const uint64_t n = std::min<uint64_t>(bytes, window_.size() - at);
      std::memcpy(to, window_.data() + at, n);
      to += n;
      position_ += n;
      bytes -= n;
    }
    return absl::OkStatus();
  }

  template <typename T>
  absl::Status Read(T& out, std::string_view what) {
    return Read(&out, sizeof(T), what);
  }

  absl::Status ReadString(std::string& out, uint64_t limit, std::string_view what) {
    uint64_t length = 0;
    SMELT_RETURN_IF_ERROR(Read(length, what));
    if (length > remaining()) {
      return Bad("truncated or damaged: the length of ", what, " is ", length, ", but only ",
                 remaining(), " bytes are left");
    }
    if (length > limit) {
      return Bad("the length of ", what, " is ", length, "; at most ", limit, " bytes are allowed");
    }
    out.resize(length);
    return Read(out.data(), length, what);
  }

 private:
  static constexpr uint64_t kWindow = 256 << 10;

  absl::Status Refill() {
    window_start_ = position_;
    window_.resize(std::min<uint64_t>(kWindow, remaining()));
    return storage_.ReadAt(window_start_, window_);
  }

  const Storage& storage_;
  std::string file_;
  uint64_t position_ = 0;
  uint64_t window_start_ = 0;
  std::vector<std::byte> window_;
};

template <typename T>
absl::StatusOr<MetadataValue> ReadScalar(Cursor& cursor, std::string_view what) {
  T value;
  SMELT_RETURN_IF_ERROR(cursor.Read(value, what));
  return MetadataValue(value);
}

template <typename T>
absl::StatusOr<MetadataValue> ReadNumbers(Cursor& cursor, uint64_t count, std::string_view what) {
  const std::optional<uint64_t> bytes = CheckedMul(count, sizeof(T));
  if (!bytes || *bytes > cursor.remaining()) {
    return cursor.Bad("truncated or damaged: ", what, " is an array of ", count,
                      " elements, but only ", cursor.remaining(), " bytes are left");
  }
  std::vector<T> values(count);
  SMELT_RETURN_IF_ERROR(cursor.Read(values.data(), *bytes, what));
  return MetadataValue(std::move(values));
}

absl::StatusOr<MetadataValue> ReadStrings(Cursor& cursor, uint64_t count, std::string_view what) {
  if (count > cursor.remaining() / 8) {
    return cursor.Bad("truncated or damaged: ", what, " is an array of ", count,
                      " strings, but only ", cursor.remaining(), " bytes are left");
  }
  std::vector<std::string> values;
  values.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    SMELT_RETURN_IF_ERROR(cursor.ReadString(values.emplace_back(), kMaxStringBytes, what));
  }
  return MetadataValue(std::move(values));
}

absl::StatusOr<MetadataValue> ReadArray(Cursor& cursor, const std::string& what) {
  uint32_t type = 0;
  uint64_t count = 0;
  SMELT_RETURN_IF_ERROR(cursor.Read(type, what));
  SMELT_RETURN_IF_ERROR(cursor.Read(count, what));
  if (count > kMaxArrayElements) {
    return cursor.Bad(what, " is an array of ", count, " elements; at most ", kMaxArrayElements,
                      " are allowed");
  }
  switch (static_cast<ValueType>(type)) {
    case ValueType::kU8:
      return ReadNumbers<uint8_t>(cursor, count, what);
    case ValueType::kI8:
      return ReadNumbers<int8_t>(cursor, count, what);
    case ValueType::kU16:
      return ReadNumbers<uint16_t>(cursor, count, what);
    case ValueType::kI16:
      return ReadNumbers<int16_t>(cursor, count, what);
    case ValueType::kU32:
      return ReadNumbers<uint32_t>(cursor, count, what);
    case ValueType::kI32:
      return ReadNumbers<int32_t>(cursor, count, what);
    case ValueType::kF32:
      return ReadNumbers<float>(cursor, count, what);
    case ValueType::kU64:
      return ReadNumbers<uint64_t>(cursor, count, what);
    case ValueType::kI64:
      return ReadNumbers<int64_t>(cursor, count, what);
    case ValueType::kF64:
      return ReadNumbers<double>(cursor, count, what);
    case ValueType::kString:
      return ReadStrings(cursor, count, what);
    case ValueType::kBool: {
      SMELT_ASSIGN_OR_RETURN(MetadataValue bytes, ReadNumbers<uint8_t>(cursor, count, what));
      std::vector<uint8_t> values = *bytes.get_if<std::vector<uint8_t>>();
      for (uint8_t& value : values) value = value != 0;
      return MetadataValue::BoolArray(std::move(values));
    }
    case ValueType::kArray:
      return cursor.Bad(what, " is an array of arrays; nested arrays are not supported");
  }
  return cursor.Bad(what, " is an array of the unknown element type ", type);
}

absl::StatusOr<MetadataValue> ReadValue(Cursor& cursor, uint32_t type, const std::string& what) {
  switch (static_cast<ValueType>(type)) {
    case ValueType::kU8:
      return ReadScalar<uint8_t>(cursor, what);
    case ValueType::kI8:
      return ReadScalar<int8_t>(cursor, what);
    case ValueType::kU16:
      return ReadScalar<uint16_t>(cursor, what);
    case ValueType::kI16:
      return ReadScalar<int16_t>(cursor, what);
    case ValueType::kU32:
      return ReadScalar<uint32_t>(cursor, what);
    case ValueType::kI32:
      return ReadScalar<int32_t>(cursor, what);
    case ValueType::kF32:
      return ReadScalar<float>(cursor, what);
    case ValueType::kU64:
      return ReadScalar<uint64_t>(cursor, what);
    case ValueType::kI64:
      return ReadScalar<int64_t>(cursor, what);
    case ValueType::kF64:
      return ReadScalar<double>(cursor, what);
    case ValueType::kArray:
      return ReadArray(cursor, what);
    case ValueType::kBool: {
      uint8_t value = 0;  // any byte but 0 counts as true, as in the reference
      SMELT_RETURN_IF_ERROR(cursor.Read(value, what));
      return MetadataValue(value != 0);
    }
    case ValueType::kString: {
      std::string value;
      SMELT_RETURN_IF_ERROR(cursor.ReadString(value, kMaxStringBytes, what));
      return MetadataValue(std::move(value));
    }
  }
  return cursor.Bad(what, " has the unknown value type ", type);
}

/// A tensor info as written; nothing is believed yet.
struct RawInfo {
  std::string name;
  uint32_t dims = 0;
  std::array<uint64_t, kGgufMaxDims> ne = {1, 1, 1, 1};
  uint32_t type = 0;
  uint64_t offset = 0;
};

struct Counts {
  uint64_t tensors = 0;
  uint64_t keys = 0;
};

absl::StatusOr<Counts> ReadPreamble(Cursor& cursor, uint32_t& version) {
  if (cursor.remaining() == 0) return cursor.Bad("not a GGUF file: it is empty (truncated?)");
  char magic[4] = {};
  SMELT_RETURN_IF_ERROR(cursor.Read(magic, 4, "the magic"));
  if (std::memcmp(magic, "GGUF", 4) != 0) {
    return cursor.Bad("not a GGUF file: it begins with \"", Escape({magic, 4}),
                      "\" instead of the magic \"GGUF\"");
  }
  SMELT_RETURN_IF_ERROR(cursor.Read(version, "the version"));
  if (version != 0 && (version & 0xffff) == 0) {
    return Error(ErrorCode::kUnsupported, cursor.file(), ": a big-endian GGUF file (version ",
                 __builtin_bswap32(version), "); only little-endian byte order is read here");
  }
  if (version != 2 && version != 3) {
    return Error(ErrorCode::kUnsupported, cursor.file(), ": GGUF version ", version,
                 " is not supported; versions 2 and 3 are");
  }
  Counts counts;
  SMELT_RETURN_IF_ERROR(cursor.Read(counts.tensors, "the tensor count"));
  SMELT_RETURN_IF_ERROR(cursor.Read(counts.keys, "the key count"));
  if (counts.keys > cursor.remaining() / kMinKeyValueBytes) {
    return cursor.Bad("truncated or damaged: it claims ", counts.keys,
                      " metadata keys, more than its size can hold");
  }
  if (counts.tensors > cursor.remaining() / kMinTensorInfoBytes) {
    return cursor.Bad("truncated or damaged: it claims ", counts.tensors,
                      " tensors, more than its size can hold");
  }
  return counts;
}

absl::Status ReadMetadata(Cursor& cursor, uint64_t count, Metadata& metadata) {
  for (uint64_t i = 0; i < count; ++i) {
    std::string key;
    SMELT_RETURN_IF_ERROR(cursor.ReadString(key, kMaxKeyBytes, Cat("key ", i)));
    if (key.empty()) return cursor.Bad("key ", i, " is empty");
    const std::string what = Cat("key ", Escape(key));
    if (metadata.Has(key)) return cursor.Bad(what, " is there twice");
    uint32_t type = 0;
    SMELT_RETURN_IF_ERROR(cursor.Read(type, what));
    SMELT_ASSIGN_OR_RETURN(MetadataValue value, ReadValue(cursor, type, what));
    metadata.Set(key, std::move(value));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<RawInfo>> ReadTensorInfos(Cursor& cursor, uint64_t count) {
  std::vector<RawInfo> infos;
  for (uint64_t i = 0; i < count; ++i) {
    RawInfo& info = infos.emplace_back();
    SMELT_RETURN_IF_ERROR(
        cursor.ReadString(info.name, kMaxStringBytes, Cat("the name of tensor ", i)));
    const std::string what = Cat("tensor \"", Escape(info.name), "\"");
    SMELT_RETURN_IF_ERROR(cursor.Read(info.dims, what));
    if (info.dims > kGgufMaxDims) {
      return cursor.Bad(what, " has ", info.dims, " dimensions; at most 4 are allowed");
    }
    SMELT_RETURN_IF_ERROR(cursor.Read(info.ne.data(), info.dims * sizeof(uint64_t), what));
    SMELT_RETURN_IF_ERROR(cursor.Read(info.type, what));
    SMELT_RETURN_IF_ERROR(cursor.Read(info.offset, what));
  }
  return infos;
}

absl::StatusOr<uint64_t> Alignment(const Cursor& cursor, const Metadata& metadata) {
  const MetadataValue* value = metadata.Find("general.alignment");
  if (value == nullptr) return kGgufDefaultAlignment;
  const uint32_t* alignment = value->get_if<uint32_t>();
  if (alignment == nullptr) {
    return cursor.Bad("general.alignment must be a u32, but is a ", Name(value->type()));
  }
  if (!std::has_single_bit(*alignment)) {
    return cursor.Bad("general.alignment is ", *alignment, "; a power of two is expected");
  }
  return *alignment;
}

/// Bytes of a tensor whose extents and type are as written; checks both.
absl::StatusOr<uint64_t> TensorBytes(const Cursor& cursor, const RawInfo& info,
                                     std::string_view what) {
  const TensorTypeInfo* type = FindTensorType(info.type);
  if (type == nullptr) {
    const std::string_view removed = RemovedTensorTypeName(info.type);
    if (removed.empty()) {
      return Error(ErrorCode::kUnsupported, cursor.file(), ": ", what, " has the unknown type id ",
                   info.type);
    }
    return Error(ErrorCode::kUnsupported, cursor.file(), ": ", what, " has the type ", removed,
                 " (id ", info.type, "), which was removed from the format");
  }
  std::optional<uint64_t> elements = 1;
  for (uint64_t extent : info.ne) {
    if (extent == 0) return cursor.Bad(what, " has a dimension of 0: it has no elements");
    elements = elements ? CheckedMul(*elements, extent) : std::nullopt;
  }
  if (!elements || *elements > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return cursor.Bad(what, " has dimensions whose product overflows (", info.ne[0], " x ",
                      info.ne[1], " x ", info.ne[2], " x ", info.ne[3], ")");
  }
  if (info.ne[0] % type->block_elements != 0) {
    return cursor.Bad(what, " has ", info.ne[0], " columns, no multiple of the block of ",
                      type->block_elements, " elements of ", type->name);
  }
  const std::optional<uint64_t> bytes =
      CheckedMul(*elements / type->block_elements, type->block_bytes);
  if (!bytes) return cursor.Bad(what, " has a size in bytes that overflows 64 bits");
  return *bytes;
}

/// All trust in the tensor list is established here: names unique; types known; extents positive,
/// products in range, rows whole blocks; offsets exactly the padded sums of the sizes before them;
/// all data inside the file.
absl::Status Validate(const Cursor& cursor, std::vector<RawInfo>&& infos, uint64_t file_size,
                      GgufFile& file) {
  const std::optional<uint64_t> data_start = CheckedAlign(cursor.position(), file.alignment);
  if (!data_start) return cursor.Bad("the start of the data section overflows");

  TextMap<std::string_view, size_t> seen;
  file.tensors.reserve(infos.size());
  uint64_t expected = 0;
  for (size_t i = 0; i < infos.size(); ++i) {
    RawInfo& info = infos[i];
    const std::string what = Cat("tensor \"", Escape(info.name), "\"");
    if (!seen.emplace(info.name, i).second) return cursor.Bad(what, " is there twice");
    SMELT_ASSIGN_OR_RETURN(const uint64_t bytes, TensorBytes(cursor, info, what));
    if (info.offset != expected) {
      return cursor.Bad(what, " has offset ", info.offset, "; ", expected, " is expected there ",
                        info.offset < expected ? "(it would overlap the tensor before it)"
                                               : "(a multiple of the alignment, without a gap)");
    }
    const std::optional<uint64_t> begin = CheckedAdd(*data_start, info.offset);
    const std::optional<uint64_t> end = begin ? CheckedAdd(*begin, bytes) : std::nullopt;
    const std::optional<uint64_t> padded = CheckedAdd(info.offset, bytes);
    const std::optional<uint64_t> next =
        padded ? CheckedAlign(*padded, file.alignment) : std::nullopt;
    if (!end || !next) return cursor.Bad(what, " has an offset and size that overflow 64 bits");
    if (*end > file_size) {
      return cursor.Bad("truncated: ", what, " ends at byte ", *end, ", past the end of the file (",
                        file_size, " bytes); download it again");
    }
    expected = *next;
    file.tensors.push_back({.name = info.name,
                            .ne = info.ne,
                            .dims = static_cast<int>(info.dims),
                            .type = static_cast<TensorType>(info.type),
                            .offset = *begin,
                            .bytes = bytes,
                            .storage = nullptr});
  }
  return absl::OkStatus();
}

/// Readers take no notice of bytes behind the last tensor; another file there is half of a model.
absl::Status CheckNothingJoined(const Cursor& cursor, const Storage& storage,
                                const GgufFile& file) {
  const uint64_t end = file.tensors.empty()
                           ? cursor.position()
                           : file.tensors.back().offset + file.tensors.back().bytes;
  for (const uint64_t at : {end, CheckedAlign(end, file.alignment).value_or(end)}) {
    char magic[4];
    if (at >= storage.size() || storage.size() - at < sizeof(magic)) continue;
    SMELT_RETURN_IF_ERROR(storage.ReadAt(at, std::as_writable_bytes(std::span(magic))));
    if (std::memcmp(magic, "GGUF", sizeof(magic)) != 0) continue;
    return cursor.Bad("another GGUF begins at byte ", at,
                      ", behind the end of the first: files joined with cat; parts of a split "
                      "model stay files of their own, of which the first is named");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GgufFile> ReadGguf(std::shared_ptr<const Storage> storage) {
  SMELT_ASSIGN_OR_RETURN(const std::string start, ReadStart(*storage, kStandInBytes));
  SMELT_RETURN_IF_ERROR(RefuseText(storage->name(), start));
  Cursor cursor(*storage);
  GgufFile file;
  SMELT_ASSIGN_OR_RETURN(const Counts counts, ReadPreamble(cursor, file.version));
  SMELT_RETURN_IF_ERROR(ReadMetadata(cursor, counts.keys, file.metadata));
  SMELT_ASSIGN_OR_RETURN(std::vector<RawInfo> infos, ReadTensorInfos(cursor, counts.tensors));
  SMELT_ASSIGN_OR_RETURN(file.alignment, Alignment(cursor, file.metadata));
  SMELT_RETURN_IF_ERROR(Validate(cursor, std::move(infos), storage->size(), file));
  SMELT_RETURN_IF_ERROR(CheckNothingJoined(cursor, *storage, file));
  for (GgufTensor& tensor : file.tensors) tensor.storage = storage;
  file.files.push_back(std::move(storage));
  return file;
}

bool LooksLikeGguf(const Storage& storage) {
  char magic[4];
  return storage.size() >= 4 && storage.ReadAt(0, std::as_writable_bytes(std::span(magic))).ok() &&
         std::memcmp(magic, "GGUF", 4) == 0;
}

}  // namespace smelt
