#include "lib/jobs/output_name.h"

#include "lib/base/status.h"
#include "lib/base/unicode.h"
#include "lib/base/utf8.h"

namespace smelt {
namespace {

constexpr size_t kLongest = 120;  // bytes; a file system takes 255, endings included

}  // namespace

std::string SafeFileName(std::string_view text) {
  constexpr std::string_view kMarks = "._+,=@%-";
  std::string out;
  bool replaced = false;  // one dash for a run of them
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = DecodeUtf8(text.substr(i));
    const std::string_view bytes = text.substr(i, c.length);
    const bool letter = c.valid && (CodePointFlags(c.code_point) & (kUnicodeL | kUnicodeN)) != 0;
    const bool mark = c.length == 1 && kMarks.find(text[i]) != std::string_view::npos;
    i += c.length;
    if (!letter && (out.empty() || (!mark && replaced))) continue;
    if (out.size() + bytes.size() > kLongest) break;
    replaced = !letter && !mark;
    out += replaced ? "-" : bytes;
  }
  while (out.ends_with('-')) out.pop_back();
  return out.empty() ? "model" : out;
}

absl::Status RefuseStandardOutput(std::string_view path, std::string_view option) {
  if (path != "-") return absl::OkStatus();
  return Error(ErrorCode::kUsage, option,
               " -: standard output cannot take this file, which is not written from begin to end; "
               "name a file");
}

}  // namespace smelt
