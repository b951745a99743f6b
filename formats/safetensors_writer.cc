#include "formats/safetensors_writer.h"

#include <bit>
#include <utility>

#include "lib/base/checked.h"
#include "lib/base/json.h"
#include "lib/base/status.h"

namespace smelt {

static_assert(std::endian::native == std::endian::little,
              "values are written as they lie in memory");

absl::StatusOr<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::Create(
    const std::string& path, std::string_view name, const std::vector<uint64_t>& shape,
    bool force) {
  std::optional<uint64_t> bytes = sizeof(float);
  std::string extents;
  for (uint64_t extent : shape) {
    bytes = bytes ? CheckedMul(*bytes, extent) : bytes;
    extents += Cat(extents.empty() ? "" : ",", extent);
  }
  if (!bytes) return Error(ErrorCode::kInvalidInput, Escape(path), ": the tensor is too big");

  std::string header = Cat("{", JsonQuote(name), ":{\"dtype\":\"F32\",\"shape\":[", extents,
                           "],\"data_offsets\":[0,", *bytes, "]}}");
  header.resize(*CheckedAlign(header.size(), 8), ' ');  // so that the data are aligned
  const uint64_t length = header.size();
  const uint64_t start = sizeof(length) + length;

  const std::optional<uint64_t> size = CheckedAdd(start, *bytes);
  if (!size) return Error(ErrorCode::kInvalidInput, Escape(path), ": the tensor is too big");
  std::unique_ptr<SafetensorsWriter> writer(new SafetensorsWriter(start));
  SMELT_ASSIGN_OR_RETURN(writer->file_, AtomicFile::Open(path, *size, force));
  SMELT_RETURN_IF_ERROR(
      writer->file_->WriteAt(0, std::as_bytes(std::span<const uint64_t>(&length, 1))));
  SMELT_RETURN_IF_ERROR(writer->file_->WriteAt(sizeof(length), std::as_bytes(std::span(header))));
  return writer;
}

SafetensorsWriter::~SafetensorsWriter() {
  if (file_ != nullptr) file_->Discard();
}

absl::Status SafetensorsWriter::Append(std::span<const float> values) {
  SMELT_RETURN_IF_ERROR(file_->WriteAt(position_, std::as_bytes(values)));
  position_ += values.size_bytes();
  return absl::OkStatus();
}

absl::Status SafetensorsWriter::Finish() {
  if (position_ != file_->size()) {
    return Error(ErrorCode::kInternal, Escape(file_->path()), ": ", file_->size() - position_,
                 " bytes of the tensor were never written");
  }
  return file_->Commit();
}

}  // namespace smelt
