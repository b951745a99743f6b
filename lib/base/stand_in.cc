#include "lib/base/stand_in.h"

#include <algorithm>

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
    {"{\"error\"", "a server's error text"},
    {"version https://hawser", "a pointer of a server of large files"},
};

/// Text behind a byte order mark and blanks.
std::string_view Content(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  return text;
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
  constexpr size_t kZeros = 16;  // fewer begin a file of many a format
  if (start.size() >= kZeros && start.find_first_not_of('\0') == start.npos) {
    return Error(ErrorCode::kInvalidInput, Escape(file),
                 ": begins with nothing but zero bytes: the download is incomplete; download it "
                 "again");
  }
  return absl::OkStatus();
}

}  // namespace smelt
