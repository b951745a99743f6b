// tar archives: headers as POSIX's ustar has them, and a reader that also takes what GNU's and
// Python's tar write for long names and large files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/ollama/seekable_zstd.h"

namespace smelt::ollama {

inline constexpr size_t kTarBlock = 512;
/// Bytes of zeros behind a file of `size` bytes.
inline constexpr size_t TarPadding(uint64_t size) {
  return static_cast<size_t>((kTarBlock - size % kTarBlock) % kTarBlock);
}
/// Zeros at the end of an archive.
inline constexpr size_t kTarEnd = 2 * kTarBlock;

/// The header of a regular file that all may read, without time or owner: the same for the same
/// arguments. Sizes of 8 GiB and more are written in base 256. kUnsupported when the path is too
/// long for ustar.
absl::StatusOr<std::vector<std::byte>> TarHeader(std::string_view path, uint64_t size);

struct TarEntry {
  std::string path;
  char type = '0';  ///< '0' file, '5' folder, '1' hard link, '2' symbolic link, ...
  uint64_t size = 0;
};

class TarReader {
 public:
  explicit TarReader(SeekableZstdReader& file) : file_(file) {}

  /// The next entry, past what is left of the present one; nothing at the archive's end.
  absl::StatusOr<std::optional<TarEntry>> Next();
  /// Of the present entry's content: fills `out`, fewer bytes only at its end.
  absl::StatusOr<size_t> Read(std::span<std::byte> out);
  absl::Status Skip(uint64_t bytes);

 private:
  struct Longer;  ///< what extended headers say of the entry behind them
  absl::Status Extend(const TarEntry& entry, Longer& longer);
  absl::StatusOr<std::string> SmallContent(const TarEntry& entry);

  SeekableZstdReader& file_;
  uint64_t left_ = 0;     ///< of the content
  uint64_t padding_ = 0;  ///< behind it
};

}  // namespace smelt::ollama
