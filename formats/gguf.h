// The GGUF container: reading (also split files as one) and laying out a new one.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/metadata.h"
#include "lib/base/storage.h"
#include "lib/base/tensor_type.h"

namespace smelt {

inline constexpr uint32_t kGgufVersion = 3;  ///< the one to write; 2 and 3 are read
inline constexpr uint64_t kGgufDefaultAlignment = 32;
inline constexpr size_t kGgufMaxName = 63;  ///< bytes of a tensor name that llama.cpp reads
inline constexpr int kGgufMaxDims = 4;

/// A tensor in a GGUF file. `bytes` from `offset` of `storage` exist (when the file was opened) and
/// equal RowBytes(type, ne[0]) * ne[1] * ne[2] * ne[3]; no extent is 0; the number of elements is
/// below 2^63.
struct GgufTensor {
  std::string name;
  std::array<uint64_t, 4> ne = {1, 1, 1, 1};  ///< ne[0] = columns; unused ones are 1
  int dims = 0;                               ///< as written, 0..4
  TensorType type = TensorType::kF32;
  uint64_t offset = 0;  ///< from the start of `storage`
  uint64_t bytes = 0;
  std::shared_ptr<const Storage> storage;

  uint64_t elements() const { return ne[0] * ne[1] * ne[2] * ne[3]; }
};

struct GgufFile {
  uint32_t version = kGgufVersion;
  uint64_t alignment = kGgufDefaultAlignment;  ///< of the first file
  /// In file order, without the split.* keys: the parts are one model.
  Metadata metadata;
  std::vector<GgufTensor> tensors;
  std::vector<std::shared_ptr<const Storage>> files;  ///< one, or all parts in order
};

/// Beside a file whose header is being replaced, or was when something interrupted that (smelt set
/// finishes it): until then the file is not to be read.
inline constexpr std::string_view kGgufJournalSuffix = ".set-journal";

/// Opens a GGUF. `path` may be the first file of a split one (PREFIX-00001-of-0000N.gguf): the
/// other parts are found beside it by name and read as one. Everything in the header is checked
/// before use (see gguf_reader.cc): memory stays within a small multiple of the header, and nothing
/// in the result needs to be checked again.
absl::StatusOr<GgufFile> OpenGguf(const std::string& path);

/// The same of parts whose places are known, whatever their names.
absl::StatusOr<GgufFile> OpenGgufParts(const std::vector<std::string>& paths);

/// Keys of the parts of a split file.
inline constexpr std::string_view kSplitNumberKey = "split.no";  ///< from 0
inline constexpr std::string_view kSplitCountKey = "split.count";
inline constexpr std::string_view kSplitTensorsKey = "split.tensors.count";  ///< of all parts
/// split.count is written in 16 bits.
inline constexpr uint64_t kGgufMaxParts = 65535;

/// "PREFIX-00001-of-00003.gguf": the name of part `number` (from 0) of `count`.
std::string GgufPartName(std::string_view prefix, uint64_t number, uint64_t count);

/// One file, whether it is a part of a split or not; split.* keys are kept.
absl::StatusOr<GgufFile> ReadGguf(std::shared_ptr<const Storage> storage);

/// kUnsupported when the file is no model by itself: a LoRA adapter, a projector, an importance
/// matrix, a control vector.
absl::Status CheckIsModel(const GgufFile& file);

/// True when the file begins with GGUF's magic. False on any error.
bool LooksLikeGguf(const Storage& storage);

/// What a writer must know of a tensor.
struct GgufTensorSpec {
  std::string name;
  std::array<uint64_t, 4> ne = {1, 1, 1, 1};
  int dims = 0;
  TensorType type = TensorType::kF32;
};

/// A GGUF laid out before its data exist.
struct GgufLayout {
  std::vector<std::byte> header;  ///< everything before the data section, padding included
  std::vector<uint64_t> offsets;  ///< of every tensor, from the start of the file
  std::vector<uint64_t> bytes;    ///< of every tensor, without padding
  uint64_t file_size = 0;         ///< every tensor padded, also the last; padding is zeros
};

/// Version 3. The same arguments give the same bytes. `alignment` other than the default needs the
/// key general.alignment in `metadata` with that value (an error otherwise). Errors name the key or
/// tensor: names over 63 bytes, duplicates, rows that no whole number of blocks fills, sizes that
/// overflow.
absl::StatusOr<GgufLayout> SerializeGgufHeader(const Metadata& metadata,
                                               std::span<const GgufTensorSpec> tensors,
                                               uint64_t alignment = kGgufDefaultAlignment);

}  // namespace smelt
