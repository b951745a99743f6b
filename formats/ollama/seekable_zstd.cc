#include "formats/ollama/seekable_zstd.h"

#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "lib/base/job_scope.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"

namespace smelt::ollama {
namespace {

constexpr uint32_t kTableMagic = 0x184D2A5E, kSeekableMagic = 0x8F92EAB1;
constexpr size_t kFooterBytes = 9, kSkippableHeader = 8;
constexpr int kLevel = 3;
/// Frames at a time: they bound the memory, and the threads that help.
constexpr int kMostFrames = 4;
constexpr size_t kInput = 1 << 20;

void Append(std::vector<std::byte>& out, uint32_t number) {
  const size_t at = out.size();
  out.resize(at + sizeof(number));
  std::memcpy(out.data() + at, &number, sizeof(number));
}

uint32_t NumberAt(std::span<const std::byte> bytes, size_t at) {
  uint32_t number = 0;
  std::memcpy(&number, bytes.data() + at, sizeof(number));
  return number;
}

absl::StatusOr<std::vector<std::byte>> Compressed(std::span<const std::byte> content) {
  const std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context(ZSTD_createCCtx(),
                                                                   &ZSTD_freeCCtx);
  if (context == nullptr) throw std::bad_alloc();
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, kLevel);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);
  std::vector<std::byte> out(ZSTD_compressBound(content.size()));
  const size_t size =
      ZSTD_compress2(context.get(), out.data(), out.size(), content.data(), content.size());
  if (ZSTD_isError(size)) {
    if (ZSTD_getErrorCode(size) == ZSTD_error_memory_allocation) throw std::bad_alloc();
    return Error(ErrorCode::kInternal, "zstd: ", ZSTD_getErrorName(size));
  }
  out.resize(size);
  return out;
}

}  // namespace

// ---------------------------------------------------------------- writing

size_t MostZstdBytes(size_t content) { return ZSTD_compressBound(content); }

size_t ZstdFrameOf(std::span<const std::byte> content, std::span<const std::byte> file) {
  const size_t frame = ZSTD_findFrameCompressedSize(file.data(), file.size());
  if (file.empty() || ZSTD_isError(frame)) return 0;
  std::vector<std::byte> there(content.size());
  const size_t size = ZSTD_decompress(there.data(), there.size(), file.data(), frame);
  const bool same = !ZSTD_isError(size) && size == content.size() && size > 0;
  return same && std::ranges::equal(there, content) ? frame : 0;
}

SeekableZstdWriter::SeekableZstdWriter(Sink sink, Known known)
    : sink_(std::move(sink)),
      known_(std::move(known)),
      most_pending_(kZstdFrameBytes * static_cast<size_t>(std::clamp(Threads(), 1, kMostFrames))) {}

absl::Status SeekableZstdWriter::Write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    pending_.reserve(most_pending_);
    const size_t take = std::min(bytes.size(), most_pending_ - pending_.size());
    pending_.insert(pending_.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(take));
    bytes = bytes.subspan(take);
    if (pending_.size() == most_pending_) SMELT_RETURN_IF_ERROR(WriteFrames());
  }
  return absl::OkStatus();
}

absl::Status SeekableZstdWriter::WriteFrames() {
  std::vector<std::span<const std::byte>> contents;
  for (size_t at = 0; at < pending_.size(); at += kZstdFrameBytes) {
    contents.push_back(
        std::span(pending_).subspan(at, std::min(kZstdFrameBytes, pending_.size() - at)));
  }
  const auto add = [this](size_t compressed, std::span<const std::byte> content) {
    table_.push_back({static_cast<uint32_t>(compressed), static_cast<uint32_t>(content.size())});
  };
  size_t there = 0;  // of the contents, in the sink
  for (; known_ && there < contents.size(); ++there) {
    SMELT_ASSIGN_OR_RETURN(const size_t compressed, known_(contents[there]));
    if (compressed == 0) known_ = nullptr;
    if (compressed == 0) break;
    add(compressed, contents[there]);
  }
  contents.erase(contents.begin(), contents.begin() + static_cast<ptrdiff_t>(there));
  std::vector<std::vector<std::byte>> frames(contents.size());
  SMELT_RETURN_IF_ERROR(ParallelFor(contents.size(), 1, [&](uint64_t begin, uint64_t end) {
    for (uint64_t i = begin; i < end; ++i) {
      SMELT_ASSIGN_OR_RETURN(frames[i], Compressed(contents[i]));
    }
    return absl::OkStatus();
  }));
  for (size_t i = 0; i < frames.size(); ++i) {
    add(frames[i].size(), contents[i]);
    SMELT_RETURN_IF_ERROR(sink_(frames[i]));
  }
  pending_.clear();
  return absl::OkStatus();
}

absl::Status SeekableZstdWriter::Finish() {
  SMELT_RETURN_IF_ERROR(WriteFrames());
  std::vector<std::byte> table;
  Append(table, kTableMagic);
  Append(table, static_cast<uint32_t>(table_.size() * 8 + kFooterBytes));
  for (const Frame& frame : table_) {
    Append(table, frame.compressed);
    Append(table, frame.content);
  }
  Append(table, static_cast<uint32_t>(table_.size()));
  table.push_back(std::byte{0});  // no checksums: each frame has its own
  Append(table, kSeekableMagic);
  return sink_(table);
}

// ---------------------------------------------------------------- reading

struct SeekableZstdReader::State {
  std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context{ZSTD_createDCtx(), &ZSTD_freeDCtx};
  std::vector<std::byte> input;
  size_t used = 0;               ///< bytes of `input` that are decompressed
  uint64_t next = 0;             ///< in the file, behind `input`
  bool in_frame = false;         ///< more of the present frame must come
  std::vector<std::byte> scrap;  ///< for what is skipped
};

SeekableZstdReader::SeekableZstdReader(std::shared_ptr<const Storage> file)
    : file_(std::move(file)), state_(std::make_unique<State>()) {}
SeekableZstdReader::SeekableZstdReader(SeekableZstdReader&&) noexcept = default;
SeekableZstdReader::~SeekableZstdReader() = default;

absl::StatusOr<SeekableZstdReader> SeekableZstdReader::Open(std::shared_ptr<const Storage> file) {
  SeekableZstdReader reader(std::move(file));
  if (reader.state_->context == nullptr) throw std::bad_alloc();
  SMELT_ASSIGN_OR_RETURN(const std::string start, ReadStart(*reader.file_, 4));
  constexpr std::string_view kMagic = "\x28\xb5\x2f\xfd";
  if (start != kMagic) {
    return Error(ErrorCode::kInvalidInput, Escape(reader.name()),
                 ": is not compressed by zstd, so it is no bundle of models");
  }
  reader.ReadTable();
  return reader;
}

/// Leaves frames_ empty where there is no table, or one that does not add up to the file.
void SeekableZstdReader::ReadTable() {
  const uint64_t size = file_->size();
  std::vector<std::byte> footer(kFooterBytes);
  if (size < kSkippableHeader + kFooterBytes || !file_->ReadAt(size - kFooterBytes, footer).ok())
    return;
  if (NumberAt(footer, 5) != kSeekableMagic || (footer[4] & std::byte{0x7f}) != std::byte{0})
    return;
  const uint64_t count = NumberAt(footer, 0);
  const size_t entry = (footer[4] & std::byte{0x80}) != std::byte{0} ? 12 : 8;
  const uint64_t bytes = count * entry + kFooterBytes;
  if (bytes + kSkippableHeader > size) return;
  const uint64_t end = size - bytes - kSkippableHeader;  // of the frames
  std::vector<std::byte> table(bytes + kSkippableHeader);
  if (!file_->ReadAt(end, table).ok()) return;
  if (NumberAt(table, 0) != kTableMagic || NumberAt(table, 4) != bytes) return;
  Place place;
  for (uint64_t i = 0; i < count; ++i) {
    frames_.push_back(place);
    place.file += NumberAt(table, kSkippableHeader + i * entry);
    place.content += NumberAt(table, kSkippableHeader + i * entry + 4);
  }
  if (place.file != end) frames_.clear();
}

absl::StatusOr<size_t> SeekableZstdReader::Read(std::span<std::byte> out) {
  State& s = *state_;
  const auto damaged = [&](const auto&... what) {
    return Error(ErrorCode::kInvalidInput, Escape(name()), ": damaged: ", what...);
  };
  ZSTD_outBuffer filled = {out.data(), out.size(), 0};
  while (filled.pos < filled.size) {
    if (s.used == s.input.size()) {
      SMELT_RETURN_IF_ERROR(GoOn());
      const uint64_t left = file_->size() - s.next;
      if (left == 0) {
        if (s.in_frame) return damaged("it ends in the middle; was it copied whole?");
        break;
      }
      s.input.resize(std::min<uint64_t>(kInput, left));
      s.used = 0;
      SMELT_RETURN_IF_ERROR(file_->ReadAt(s.next, s.input));
      s.next += s.input.size();
    }
    ZSTD_inBuffer given = {s.input.data(), s.input.size(), s.used};
    const size_t result = ZSTD_decompressStream(s.context.get(), &filled, &given);
    s.used = given.pos;
    if (ZSTD_isError(result)) {
      if (ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation) throw std::bad_alloc();
      return damaged("zstd cannot decompress it at byte ", s.next - s.input.size() + s.used, " (",
                     ZSTD_getErrorName(result), ")");
    }
    s.in_frame = result != 0;
  }
  position_ += filled.pos;
  return filled.pos;
}

absl::Status SeekableZstdReader::Skip(uint64_t bytes) {
  State& s = *state_;
  const uint64_t target = position_ + bytes;
  const auto behind = std::ranges::upper_bound(frames_, target, {}, &Place::content);
  if (behind != frames_.begin() && std::prev(behind)->content > position_) {
    const Place& frame = *std::prev(behind);
    ZSTD_DCtx_reset(s.context.get(), ZSTD_reset_session_only);
    s.input.clear();
    s.used = 0;
    s.next = frame.file;
    s.in_frame = false;
    position_ = frame.content;
  }
  s.scrap.resize(kInput);
  while (position_ < target) {
    const size_t want = static_cast<size_t>(std::min<uint64_t>(kInput, target - position_));
    SMELT_ASSIGN_OR_RETURN(const size_t got, Read(std::span(s.scrap).first(want)));
    if (got < want) {
      return Error(ErrorCode::kInvalidInput, Escape(name()),
                   ": damaged: it ends before what it should hold; was it copied whole?");
    }
  }
  return absl::OkStatus();
}

}  // namespace smelt::ollama
