#include "formats/ollama/tar.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <utility>

#include "lib/base/status.h"

namespace smelt::ollama {
namespace {

// Fields of a header: offset and length.
struct Field {
  size_t at, length;
};
constexpr Field kName = {0, 100}, kMode = {100, 8}, kUser = {108, 8}, kGroup = {116, 8},
                kSize = {124, 12}, kTime = {136, 12}, kSum = {148, 8}, kMagic = {257, 8},
                kPrefix = {345, 155};
constexpr size_t kType = 156;
constexpr std::string_view kUstar{
    "ustar\0"
    "00",
    8},
    kGnu{"ustar  \0", 8};
/// Extended headers hold paths and numbers.
constexpr uint64_t kMostExtended = 1 << 20;
constexpr uint64_t kMostSize = uint64_t{1} << 62;

using Block = std::span<std::byte>;

char* At(Block block, Field field) { return reinterpret_cast<char*>(block.data()) + field.at; }

/// The text of a field up to its first zero.
std::string_view TextOf(Block block, Field field) {
  const char* text = At(block, field);
  return {text, strnlen(text, field.length)};
}

void PutOctal(Block block, Field field, uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof(text), "%0*llo", static_cast<int>(field.length - 1),
                static_cast<unsigned long long>(value));
  std::memcpy(At(block, field), text, field.length - 1);
}

/// The sum of a header's bytes, its own field counted as spaces.
uint64_t SumOf(Block block) {
  uint64_t sum = 0;
  for (size_t i = 0; i < kTarBlock; ++i) {
    const bool own = i >= kSum.at && i < kSum.at + kSum.length;
    sum += own ? uint64_t{' '} : std::to_integer<uint64_t>(block[i]);
  }
  return sum;
}

std::optional<uint64_t> NumberOf(Block block, Field field) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(At(block, field));
  if (bytes[0] == 0x80) {  // base 256
    uint64_t value = 0;
    for (size_t i = 1; i < field.length; ++i) {
      if (value >> 54 != 0) return std::nullopt;
      value = value << 8 | bytes[i];
    }
    return value;
  }
  std::string_view text = TextOf(block, field);
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 8);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

absl::StatusOr<std::vector<std::byte>> TarHeader(std::string_view path, uint64_t size) {
  std::vector<std::byte> header(kTarBlock);
  size_t cut = 0;  // of the prefix
  if (path.size() > kName.length) {
    cut = path.find('/', path.size() - kName.length - 1);
    if (cut == path.npos || cut > kPrefix.length) {
      return Error(ErrorCode::kUnsupported, Escape(path, 60),
                   ": this name is too long for a bundle; smelt store cp gives the model another");
    }
    std::memcpy(At(header, kPrefix), path.data(), cut);
    path.remove_prefix(cut + 1);
  }
  std::memcpy(At(header, kName), path.data(), path.size());
  PutOctal(header, kMode, 0644);
  PutOctal(header, kUser, 0);
  PutOctal(header, kGroup, 0);
  PutOctal(header, kTime, 0);
  if (size < uint64_t{1} << 33) {
    PutOctal(header, kSize, size);
  } else {
    header[kSize.at] = std::byte{0x80};
    for (size_t i = 0; i < 8; ++i)
      header[kSize.at + kSize.length - 1 - i] = static_cast<std::byte>(size >> 8 * i);
  }
  header[kType] = std::byte{'0'};
  std::memcpy(At(header, kMagic), kUstar.data(), kUstar.size());
  PutOctal(header, {kSum.at, 7}, SumOf(header));  // six digits, a zero, a space
  header[kSum.at + 7] = std::byte{' '};
  return header;
}

struct TarReader::Longer {
  std::optional<std::string> path;
  std::optional<uint64_t> size;
};

absl::StatusOr<std::string> TarReader::SmallContent(const TarEntry& entry) {
  if (entry.size > kMostExtended) {
    return Error(ErrorCode::kInvalidInput, Escape(file_.name()), ": an extended header of ",
                 entry.size, " bytes");
  }
  std::string content(entry.size, '\0');
  SMELT_ASSIGN_OR_RETURN(const size_t got, Read(std::as_writable_bytes(std::span(content))));
  content.resize(got);
  return content;
}

/// GNU's long name (L), POSIX's records "LENGTH KEY=VALUE\n" for the next entry (x) or all (g).
absl::Status TarReader::Extend(const TarEntry& entry, Longer& longer) {
  SMELT_ASSIGN_OR_RETURN(const std::string content, SmallContent(entry));
  if (entry.type == 'L') {
    longer.path = content.substr(0, content.find('\0'));
    return absl::OkStatus();
  }
  const auto bad = [&] {
    return Error(ErrorCode::kInvalidInput, Escape(file_.name()), ": a damaged extended header");
  };
  for (std::string_view rest = content; !rest.empty();) {
    size_t length = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), length);
    const size_t start = static_cast<size_t>(end - rest.data()) + 1;
    if (error != std::errc() || length > rest.size() || length <= start || rest[start - 1] != ' ' ||
        rest[length - 1] != '\n')
      return bad();
    const std::string_view record = rest.substr(start, length - start - 1);
    rest.remove_prefix(length);
    if (entry.type == 'g') continue;
    if (record.starts_with("path=")) longer.path = record.substr(5);
    if (record.starts_with("size=")) {
      uint64_t size = 0;
      const std::string_view text = record.substr(5);
      const auto [last, wrong] = std::from_chars(text.data(), text.data() + text.size(), size);
      if (wrong != std::errc() || last != text.data() + text.size()) return bad();
      longer.size = size;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<TarEntry>> TarReader::Next() {
  Longer longer;
  for (;;) {
    SMELT_RETURN_IF_ERROR(file_.Skip(left_ + padding_));
    left_ = padding_ = 0;
    std::vector<std::byte> block(kTarBlock);
    SMELT_ASSIGN_OR_RETURN(const size_t got, file_.Read(block));
    if (got < kTarBlock) {
      return Error(ErrorCode::kInvalidInput, Escape(file_.name()),
                   ": damaged: its archive has no end; was it copied whole?");
    }
    if (std::ranges::all_of(block, [](std::byte b) { return b == std::byte{0}; }))
      return std::nullopt;
    const std::string_view magic(At(block, kMagic), kMagic.length);
    const std::optional<uint64_t> sum = NumberOf(block, kSum), size = NumberOf(block, kSize);
    if (!sum || *sum != SumOf(block) || !size || (magic != kUstar && magic != kGnu)) {
      return Error(ErrorCode::kInvalidInput, Escape(file_.name()),
                   ": holds no tar archive, or a damaged one");
    }
    TarEntry entry{.path = std::string(TextOf(block, kName)),
                   .type = static_cast<char>(block[kType]),
                   .size = *size};
    if (magic == kUstar && !TextOf(block, kPrefix).empty())
      entry.path = Cat(TextOf(block, kPrefix), "/", entry.path);
    if (entry.type == '\0') entry.type = '0';
    if (longer.path) entry.path = *longer.path;
    if (longer.size) entry.size = *longer.size;
    if (entry.size > kMostSize) {
      return Error(ErrorCode::kInvalidInput, Escape(file_.name()), ": ", Escape(entry.path, 80),
                   " would have ", entry.size, " bytes");
    }
    left_ = entry.size;
    padding_ = TarPadding(entry.size);
    if (entry.type != 'x' && entry.type != 'g' && entry.type != 'L') return entry;
    SMELT_RETURN_IF_ERROR(Extend(entry, longer));
  }
}

absl::StatusOr<size_t> TarReader::Read(std::span<std::byte> out) {
  const size_t want = static_cast<size_t>(std::min<uint64_t>(out.size(), left_));
  SMELT_ASSIGN_OR_RETURN(const size_t got, file_.Read(out.first(want)));
  if (got < want) {
    return Error(ErrorCode::kInvalidInput, Escape(file_.name()),
                 ": damaged: it ends in the middle of a file; was it copied whole?");
  }
  left_ -= got;
  return got;
}

absl::Status TarReader::Skip(uint64_t bytes) {
  bytes = std::min(bytes, left_);
  SMELT_RETURN_IF_ERROR(file_.Skip(bytes));
  left_ -= bytes;
  return absl::OkStatus();
}

}  // namespace smelt::ollama
