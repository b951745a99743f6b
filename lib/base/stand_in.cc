#include "lib/base/stand_in.h"

#include <algorithm>
#include <optional>
#include <string>

#include "lib/base/ascii.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

/// What a file in the place of another begins with: letters in any case, behind a byte order mark
/// and blanks.
struct Beginning {
  std::string_view text, what;
};
constexpr Beginning kPages[] = {
    {"<!doctype", "an HTML page"},
    {"<html", "an HTML page"},
    {"<?xml", "an XML page"},
    {"<error>", "a server's error page"},
    {"entry not found", "a server's error text"},
    {"repository not found", "a server's error text"},
    {"invalid credentials", "a server's error text"},
    {"invalid username or password", "a server's error text"},
    {"access to model", "a server's error text"},
    {"version https://hawser", "a pointer of a server of large files"},
};

constexpr Beginning kArchives[] = {
    {"\x1f\x8b\x08", "a gzip archive"},
    {"\x28\xb5\x2f\xfd", "a zstd archive"},
    {"\xfd"
     "7zXZ",
     "an xz archive"},
    {"BZh", "a bzip2 archive"},
    {"7z\xbc\xaf\x27\x1c", "a 7z archive"},
    {"Rar!\x1a\x07", "a RAR archive"},
};

bool BeginsWith(std::string_view text, std::string_view lower) {
  return SameWithoutCase(text.substr(0, lower.size()), lower);
}

std::string_view WithoutBlanks(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  return text;
}

/// Text behind a byte order mark and blanks.
std::string_view Content(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  return WithoutBlanks(text);
}

/// What a JSON object begins with: its first member's name, and the text of its value from there.
struct Member {
  std::string_view name, value;
};
std::optional<Member> FirstMember(std::string_view text) {
  if (!text.starts_with('{')) return std::nullopt;
  text = WithoutBlanks(text.substr(1));
  if (!text.starts_with('"')) return std::nullopt;
  const size_t end = text.find('"', 1);
  if (end == text.npos) return std::nullopt;
  const std::string_view value = WithoutBlanks(text.substr(end + 1));
  if (!value.starts_with(':')) return std::nullopt;
  return Member{text.substr(1, end - 1), WithoutBlanks(value.substr(1))};
}

/// A number from 400 to 599, as servers call their errors.
bool IsErrorCode(std::string_view value) {
  const size_t digits = std::min(value.find_first_not_of("0123456789"), value.size());
  return digits == 3 && (value[0] == '4' || value[0] == '5');
}

/// Whether a JSON object is a server's answer in the place of what was asked for. Vocabularies are
/// objects too, of texts and ids: a name alone says nothing.
bool IsServersError(const Member& first) {
  constexpr std::string_view kWhat[] = {
      "error",     "errors", "error_message", "errormessage",  "message", "error_code",
      "errorcode", "detail", "details",       "error_summary", "reason",  "x-error-code"};
  constexpr std::string_view kStatus[] = {"status", "statuscode", "status_code",
                                          "code",   "errno",      "http_status"};
  constexpr std::string_view kSuccess[] = {"success", "ok"};
  const auto is = [&](std::string_view name) {
    return name.size() == first.name.size() && BeginsWith(first.name, name);
  };
  if (std::ranges::any_of(kSuccess, is)) return first.value.starts_with("false");
  if (std::ranges::any_of(kStatus, is))
    return IsErrorCode(first.value) || BeginsWith(first.value, "\"err") ||
           BeginsWith(first.value, "\"fail");
  return std::ranges::any_of(kWhat, is) && !first.value.empty() &&
         std::string_view("-0123456789").find(first.value[0]) == std::string_view::npos;
}

/// What the server says: the first text that the object gives for a message; empty: none.
std::string_view ServersWords(std::string_view text) {
  for (std::string_view name : {"\"message\"", "\"error\"", "\"detail\"", "\"msg\""}) {
    const size_t at = text.find(name);
    if (at == text.npos) continue;
    std::string_view value = WithoutBlanks(text.substr(at + name.size()));
    if (!value.starts_with(':')) continue;
    value = WithoutBlanks(value.substr(1));
    if (value.size() > 2 && value[0] == '"') return value.substr(1, value.find('"', 1) - 1);
  }
  return "";
}

absl::Status RefuseServersError(std::string_view file, std::string_view text) {
  const std::optional<Member> first = FirstMember(text);
  if (!first || !IsServersError(*first)) return absl::OkStatus();
  const std::string_view words = ServersWords(text);
  return Error(ErrorCode::kInvalidInput, Escape(file), ": is a server's error text",
               words.empty() ? "" : Cat(" (\"", Escape(words, 80), "\")"),
               " in the place of the file; download it again (a gated model needs a login)");
}

}  // namespace

absl::Status RefusePointer(std::string_view file, std::string_view start) {
  const std::string_view text = Content(start);
  if (text.starts_with("version https://git-lfs") || text.starts_with("version http://git-media")) {
    return Error(ErrorCode::kInvalidInput, Escape(file),
                 ": is a Git LFS pointer, not the file itself; run `git lfs pull` in its folder, "
                 "or download the file");
  }
  if (text.starts_with("/annex/objects/")) {
    return Error(
        ErrorCode::kInvalidInput, Escape(file),
        ": is a git-annex pointer, not the file itself; run `git annex get` in its folder");
  }
  return absl::OkStatus();
}

absl::Status RefuseStandIn(std::string_view file, std::string_view start) {
  SMELT_RETURN_IF_ERROR(RefusePointer(file, start));
  const std::string_view text = Content(start);
  for (const Beginning& page : kPages) {
    if (!SameWithoutCase(text.substr(0, page.text.size()), page.text)) continue;
    return Error(ErrorCode::kInvalidInput, Escape(file), ": is ", page.what,
                 " in the place of the file; download it again (a gated model needs a login)");
  }
  SMELT_RETURN_IF_ERROR(RefuseServersError(file, text));
  constexpr size_t kZeros = 16;  // fewer begin a file of many a format
  if (start.size() >= kZeros && start.find_first_not_of('\0') == start.npos) {
    return Error(ErrorCode::kInvalidInput, Escape(file),
                 ": begins with nothing but zero bytes: the download is incomplete; download it "
                 "again");
  }
  return absl::OkStatus();
}

absl::Status RefuseText(std::string_view file, std::string_view start) {
  SMELT_RETURN_IF_ERROR(RefuseStandIn(file, start));
  const std::string_view text = Content(start);
  if (FirstMember(text)) {
    return Error(ErrorCode::kInvalidInput, Escape(file), ": is a JSON text (\"", Escape(text, 40),
                 "\") and holds no weights; if they were to be in it, download it again");
  }
  constexpr size_t kLength = 8;  // of a safetensors header, which may be any bytes
  if (start.size() > kLength && start[kLength] == '{') return absl::OkStatus();
  for (const Beginning& archive : kArchives) {
    if (!start.starts_with(archive.text)) continue;
    return Error(ErrorCode::kInvalidInput, Escape(file), ": is ", archive.what,
                 "; unpack it, and name what is in it");
  }
  return absl::OkStatus();
}

}  // namespace smelt
