// zstd in frames of their own with a table of where they are, so that a reader can jump. Any zstd
// decompresses it. Format: zstd's contrib/seekable_format/zstd_seekable_compression_format.md
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/storage.h"

namespace smelt::ollama {

/// Bytes of content in each frame but the last.
inline constexpr size_t kZstdFrameBytes = 8 << 20;

/// A frame of `content` bytes is not longer than this.
size_t MostZstdBytes(size_t content);
/// Bytes of the frame that `file` begins with, where its content is `content`; else 0.
size_t ZstdFrameOf(std::span<const std::byte> content, std::span<const std::byte> file);

class SeekableZstdWriter {
 public:
  using Sink = std::function<absl::Status(std::span<const std::byte>)>;
  /// Bytes of the frame of this content that the sink has already; 0: none, it is compressed.
  using Known = std::function<absl::StatusOr<size_t>(std::span<const std::byte> content)>;
  explicit SeekableZstdWriter(Sink sink, Known known = nullptr);

  absl::Status Write(std::span<const std::byte> bytes);
  /// The last frame and the table. The same content gives the same bytes, for any number of
  /// threads.
  absl::Status Finish();

 private:
  struct Frame {
    uint32_t compressed = 0, content = 0;
  };
  absl::Status WriteFrames();

  Sink sink_;
  Known known_;
  std::vector<std::byte> pending_;
  size_t most_pending_;  ///< whole frames, which are compressed in parallel
  std::vector<Frame> table_;
};

/// Reads any zstd file from front to back; one with a table skips without decompressing. A table
/// that lies makes Read() give other bytes, nothing worse.
class SeekableZstdReader {
 public:
  /// kInvalidInput when the file does not begin as zstd does.
  static absl::StatusOr<SeekableZstdReader> Open(std::shared_ptr<const Storage> file);
  SeekableZstdReader(SeekableZstdReader&&) noexcept;
  ~SeekableZstdReader();

  /// Fills `out`; fewer bytes only where the content ends. kInvalidInput when the file is damaged
  /// or ends in the middle of a frame.
  absl::StatusOr<size_t> Read(std::span<std::byte> out);
  absl::Status Skip(uint64_t bytes);

  const std::string& name() const { return file_->name(); }

 private:
  struct State;  ///< of zstd
  struct Place {
    uint64_t content = 0, file = 0;  ///< where a frame begins
  };
  explicit SeekableZstdReader(std::shared_ptr<const Storage> file);
  void ReadTable();

  std::shared_ptr<const Storage> file_;
  std::unique_ptr<State> state_;
  std::vector<Place> frames_;  ///< empty without a table
  uint64_t position_ = 0;      ///< in the content
};

}  // namespace smelt::ollama
