// Files in tiktoken's format: lines of base64 and rank.
#include <algorithm>
#include <charconv>
#include <utility>

#include "lib/base/status.h"
#include "lib/text/published/ranked_vocabulary.h"
#include "lib/text/published/readers.h"
#include "lib/text/published/side_files.h"
#include "lib/text/published/tiktoken_vocabularies.h"
#include "lib/text/spec/base64.h"

namespace smelt {

bool LooksLikeTiktoken(std::string_view text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || space == 0 || line.size() > 200 ||
      space + 1 >= line.size())
    return false;
  return DecodeBase64(line.substr(0, space)).ok() &&
         line.find_first_not_of("0123456789\r", space + 1) == std::string_view::npos;
}

absl::StatusOr<PipelineSpec> ReadTiktoken(std::string_view text, const std::string& file,
                                          TokenizerFolder& folder) {
  TokenTable ranks;
  size_t number = 0;
  const size_t limit = text.size();
  while (!text.empty()) {
    ++number;
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const size_t space = line.find(' ');
    int32_t rank = -1;
    if (space != std::string_view::npos) {
      const char* end_of_line = line.data() + line.size();
      const auto read = std::from_chars(line.data() + space + 1, end_of_line, rank);
      if (read.ec != std::errc() || read.ptr != end_of_line) rank = -1;
    }
    const absl::StatusOr<std::string> bytes =
        DecodeBase64(line.substr(0, std::min(space, line.size())));
    if (!bytes.ok() || bytes->empty() || bytes->size() > kMaxRankedBytes || rank < 0 ||
        static_cast<size_t>(rank) > limit) {
      return Error(ErrorCode::kInvalidInput, file, ": line ", number, " \"", Escape(line, 60),
                   "\" is not base64 (of at most ", kMaxRankedBytes, " bytes) and a rank");
    }
    if (ranks.Add(rank, *bytes) != TokenTable::Added::kOk)
      return Error(ErrorCode::kInvalidInput, file, ": line ", number, " repeats a token or a rank");
  }
  SMELT_ASSIGN_OR_RETURN(TiktokenVocabulary known, FindTiktokenVocabulary(ranks, folder, file));
  SMELT_RETURN_IF_ERROR(LeaveOutRowless(folder, ranks.size(), known.special));
  if (!folder.config.is_object()) folder.config = std::move(known.config);
  return MakeRankedSpec(ranks,
                        {.pattern = known.pattern,
                         .nfc = known.nfc,
                         .ignore_merges = known.ignore_merges,
                         .added = std::move(known.special)},
                        file);
}

}  // namespace smelt
