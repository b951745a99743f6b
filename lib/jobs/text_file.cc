#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "lib/base/guard.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/base/system_error.h"
#include "lib/base/utf8.h"
#include "smelt/text.h"

namespace smelt {
namespace {

absl::StatusOr<std::string> ReadToEnd(std::FILE* stream, std::string_view name) {
  std::string text;
  char buffer[65536];
  while (size_t n = std::fread(buffer, 1, sizeof(buffer), stream)) text.append(buffer, n);
  if (std::ferror(stream))
    return Error(ErrorCode::kIo, name, ": cannot be read: ", SystemReason(errno));
  return text;
}

/// Also from a pipe: the shell's `<(...)` names one.
absl::StatusOr<std::string> ReadFileOrPipe(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_fifo(path, ignored)) return ReadTextFile(path);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(std::fopen(path.c_str(), "re"),
                                                             std::fclose);
  if (pipe == nullptr) return SystemError(path, "cannot be opened", errno);
  return ReadToEnd(pipe.get(), Escape(path));
}

/// Encodings other than UTF-8 by the mark that begins them; the longer mark first.
struct Mark {
  std::string_view bytes, encoding;
};
constexpr Mark kMarks[] = {{{"\xff\xfe\0\0", 4}, "UTF-32LE"},
                           {{"\0\0\xfe\xff", 4}, "UTF-32BE"},
                           {"\xff\xfe", "UTF-16LE"},
                           {"\xfe\xff", "UTF-16BE"}};
constexpr std::string_view kUtf8Mark = "\xef\xbb\xbf";

/// Encodings by where their zero bytes lie. In UTF-16 of nearly any language (spaces, digits, ends
/// of lines) many units have a zero as their upper byte and hardly one as their lower byte; in
/// UTF-32 every unit has one on top. UTF-8 has none but for U+0000 itself.
std::string_view EncodingByZeros(std::string_view text) {
  constexpr size_t kEnough = 1u << 16;
  const size_t length = std::min(text.size(), kEnough) / 4 * 4;
  size_t zeros[4] = {};
  for (size_t i = 0; i < length; ++i) zeros[i % 4] += text[i] == '\0' ? 1 : 0;
  const size_t units = length / 4;
  if (units == 0) return "";
  if (zeros[3] == units && zeros[2] > units / 2 && zeros[0] < units / 8) return "UTF-32LE";
  if (zeros[0] == units && zeros[1] > units / 2 && zeros[3] < units / 8) return "UTF-32BE";
  const size_t first = zeros[0] + zeros[2], second = zeros[1] + zeros[3];
  const auto upper_and_lower = [&](size_t upper, size_t lower) {
    return upper >= 2 && upper * 16 >= units && lower * 8 <= upper;
  };
  if (upper_and_lower(second, first)) return "UTF-16LE";
  if (upper_and_lower(first, second)) return "UTF-16BE";
  return "";
}

std::string_view OtherEncoding(std::string_view text) {
  for (const Mark& mark : kMarks) {
    if (text.starts_with(mark.bytes)) return mark.encoding;
  }
  return EncodingByZeros(text);
}

}  // namespace

absl::StatusOr<std::string> AcceptText(std::string text, std::string_view name,
                                       const Observer& observer) try {
  if (const std::string_view encoding = OtherEncoding(text); !encoding.empty()) {
    return Error(ErrorCode::kUnsupported, name, " is ", encoding,
                 ", and texts are read as UTF-8: save it as that, or convert it with iconv -f ",
                 encoding, " -t UTF-8");
  }
  if (text.starts_with(kUtf8Mark)) {
    text.erase(0, kUtf8Mark.size());
    observer.Note(Cat(name, ": the byte order mark in front is left out"));
  }
  if (const size_t at = FirstInvalidUtf8(text); at < text.size()) {
    observer.Warn(
        Cat(name, " is not valid UTF-8 from byte ", at,
            " on: each broken byte is read as U+FFFD; if it has another encoding, convert "
            "it to UTF-8 first"));
  }
  return text;
} catch (...) {
  return CaughtError();
}

absl::StatusOr<std::string> ReadText(const std::string& path, const Observer& observer) try {
  const bool standard_input = path == "-";
  const std::string name = standard_input ? "standard input" : Escape(path);
  SMELT_ASSIGN_OR_RETURN(std::string text,
                         standard_input ? ReadToEnd(stdin, name) : ReadFileOrPipe(path));
  return AcceptText(std::move(text), name, observer);
} catch (...) {
  return CaughtError();
}

}  // namespace smelt
