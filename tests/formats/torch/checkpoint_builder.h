// Bytes of checkpoints for tests: pickles from their opcodes, zip archives with any field set
// wrong.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace smelt::testing {

/// Little-endian bytes of a number.
std::string Bytes(uint64_t value, int count);

// Fragments of a pickle of protocol 2; each leaves one value on the stack.
std::string Str(std::string_view text);
std::string Int(int64_t value);
std::string Tuple(std::string_view items);
std::string Dict(std::string_view keys_and_values);
std::string Global(std::string_view module, std::string_view name);
std::string Call(std::string_view module, std::string_view name, std::string_view arguments);
std::string OrderedDict(std::string_view keys_and_values);
/// A persistent id of a storage.
std::string StorageId(std::string_view type, std::string_view key, int64_t elements);
std::string Ints(const std::vector<int64_t>& values);
/// _rebuild_tensor_v2 of a storage with `elements` elements.
std::string Tensor(std::string_view type, std::string_view key, int64_t elements, int64_t offset,
                   const std::vector<int64_t>& size, const std::vector<int64_t>& stride);
/// The same with everything that a vector of `elements` elements needs.
std::string Vector(std::string_view type, std::string_view key, int64_t elements);
/// PROTO 2, the value, STOP.
std::string PickleOf(std::string_view value);

/// One member, and what is to be wrong about it.
struct Member {
  std::string name, data;
  bool deflate = false;
  bool descriptor = false, wide_descriptor = false, zip64 = false;
  uint16_t flags = 0;
  std::optional<std::string> local_name = {};
  std::optional<uint16_t> local_flags = {};
  std::optional<uint32_t> crc = {};
  std::optional<uint64_t> claimed_size = {};
};

struct ZipOptions {
  bool end64 = false;                 ///< write the zip64 end record too
  std::string gap = {}, suffix = {};  ///< between the members and the directory; after everything
};

std::string Zip(const std::vector<Member>& members, const ZipOptions& options = {});

/// An archive as torch.save writes it: archive/data.pkl, archive/data/KEY, archive/version.
std::string Archive(std::string_view value,
                    const std::vector<std::pair<std::string, std::string>>& storages);

/// The form before PyTorch 1.6; `storages`: key, element count, bytes.
struct LegacyStorage {
  std::string key;
  uint64_t elements;
  std::string data;
};
std::string Legacy(std::string_view value, const std::vector<LegacyStorage>& storages);

}  // namespace smelt::testing
