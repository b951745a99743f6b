#include "lib/text/published/sources.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/text/components/byte_level.h"
#include "lib/text/components/normalizer.h"
#include "lib/text/models/merges.h"
#include "lib/text/published/base64.h"
#include "lib/text/published/byte_level_classes.h"
#include "lib/text/published/side_files.h"
#include "lib/text/published/tiktoken_vocabularies.h"

namespace smelt {
namespace {

/// Bytes of a token that is known by its rank: the ways to split a token are looked at one by one,
/// which takes its length squared. Published ones have up to 128.
constexpr size_t kMaxRankedBytes = 512;
/// Published files have 1,000 special tokens.
constexpr int64_t kMaxTekkenSpecial = 1 << 16;

absl::Status ReadMerges(std::string_view text, const std::string& file, MergeList& merges) {
  size_t number = 0;
  while (!text.empty()) {
    ++number;
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with("#version")) continue;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos || space == 0 || space + 1 == line.size() ||
        line.find(' ', space + 1) != std::string_view::npos) {
      return Error(ErrorCode::kInvalidInput, file, ": line ", number, " \"", Escape(line, 60),
                   "\" is not a merge of two parts");
    }
    merges.Add(line.substr(0, space), line.substr(space + 1));
  }
  return absl::OkStatus();
}

// A vocabulary of byte strings whose ids are their ranks (tiktoken) as merges: every way to split a
// token into two others, tokens by rank, the ways of one token by the ranks of their parts.
void AppendAllWays(const TokenTable& ranks, MergeList& merges) {
  struct Way {
    int32_t left, right;
    size_t middle;
  };
  std::vector<Way> ways;
  std::string left, right;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    const std::string_view bytes = ranks.Text(static_cast<int32_t>(rank));
    ways.clear();
    for (size_t i = 1; i < bytes.size(); ++i) {
      const Way way{ranks.Find(bytes.substr(0, i)), ranks.Find(bytes.substr(i)), i};
      if (way.left >= 0 && way.right >= 0) ways.push_back(way);
    }
    std::stable_sort(ways.begin(), ways.end(), [](const Way& a, const Way& b) {
      return std::pair(a.left, a.right) < std::pair(b.left, b.right);
    });
    for (const Way& way : ways) {
      left.clear();
      right.clear();
      AppendByteLevel(left, bytes.substr(0, way.middle));
      AppendByteLevel(right, bytes.substr(way.middle));
      merges.Add(left, right);
    }
  }
}

// The same with one way per token: the two parts that merging everything of a lower rank leaves of
// it.
void AppendOneWay(const TokenTable& ranks, MergeList& merges) {
  SymbolList symbols;
  std::string left, right;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    const std::string_view bytes = ranks.Text(static_cast<int32_t>(rank));
    if (bytes.size() < 2) continue;
    symbols.Clear();
    for (size_t i = 0; i < bytes.size(); ++i) symbols.Add(0);
    MergeSymbols(symbols, [&](uint32_t a, uint32_t b) -> std::optional<Merge> {
      const int32_t id = ranks.Find(bytes.substr(a, symbols.Next(b) - a));
      if (id < 0 || id >= static_cast<int32_t>(rank)) return std::nullopt;
      return Merge{static_cast<uint32_t>(id), id};
    });
    const uint32_t second = symbols.Next(0);
    if (second == symbols.size() || symbols.Next(second) != symbols.size())
      continue;  // reached as a whole only
    left.clear();
    right.clear();
    AppendByteLevel(left, bytes.substr(0, second));
    AppendByteLevel(right, bytes.substr(second));
    merges.Add(left, right);
  }
}

// How a text is cut before ranks count, and what surrounds them.
struct RankedForm {
  std::string_view pattern;
  bool nfc = false;
  bool ignore_merges = true;  ///< a word that is a token is that token
  bool all_ways = false;      ///< every way to split a token is a merge, not only one
  int32_t first_id = 0;       ///< of the rank 0
  std::vector<AddedToken> added;
};

absl::StatusOr<std::unique_ptr<TokenizerCore>> RankedCore(const TokenTable& ranks, RankedForm form,
                                                          const std::string& file) {
  const std::string text = Cat(
      form.all_ways ? R"({"writes_scores":true,"normalizer":)" : R"({"normalizer":)",
      form.nfc ? R"({"type":"NFC"})" : "null",
      R"(,"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":)",
      JsonQuote(form.pattern),
      R"(},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]},"post_processor":null,)",
      R"("decoder":{"type":"ByteLevel"},"model":{"type":"BPE","ignore_merges":)",
      form.ignore_merges ? "true" : "false", "}}");
  TokenizerJson json;
  SMELT_ASSIGN_OR_RETURN(json.rest, ParseJsonValue(text, file));
  std::string mapped;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    const auto id = static_cast<int32_t>(rank);
    if (!ranks.Has(id)) continue;
    mapped.clear();
    AppendByteLevel(mapped, ranks.Text(id));
    json.tokens.Add(form.first_id + id, mapped);
  }
  json.has_vocab = true;
  json.has_merges = true;
  if (form.all_ways) {
    AppendAllWays(ranks, json.merges);
  } else {
    AppendOneWay(ranks, json.merges);
  }
  json.added = std::move(form.added);
  return MakePipelineCore(std::move(json), file, RegexEngine::kAny);
}

absl::Status CheckBytes(const TokenTable& ranks, const std::string& file) {
  for (int b = 0; b < 256; ++b) {
    const char c = static_cast<char>(b);
    if (ranks.Find(std::string_view(&c, 1)) < 0)
      return Error(ErrorCode::kInvalidInput, file, ": no token is the single byte ", b);
  }
  return absl::OkStatus();
}

// Events of tekken.json: "vocab" can hold 150,000 objects, of which the first `default_vocab_size`
// less the special ones count.
class TekkenHandler : public JsonHandler {
 public:
  TekkenHandler(const std::string& file, size_t max_rank) : file_(file), max_rank_(max_rank) {}
  std::string pattern;
  int64_t vocab_size = 0, special_count = 0;
  TokenTable ranks;
  std::vector<AddedToken> special;

  absl::Status StartObject() override {
    ++depth_;
    rank_ = -1;
    text_.clear();
    is_control_ = true;
    return absl::OkStatus();
  }
  absl::Status Key(std::string&& key) override {
    key_ = std::move(key);
    if (depth_ == 1) section_ = key_;
    return absl::OkStatus();
  }
  absl::Status String(std::string&& value) override {
    if (section_ == "config" && key_ == "pattern") pattern = std::move(value);
    if (key_ == (section_ == "vocab" ? "token_bytes" : "token_str")) text_ = std::move(value);
    return absl::OkStatus();
  }
  absl::Status Bool(bool value) override {
    if (key_ == "is_control") is_control_ = value;
    return absl::OkStatus();
  }
  absl::Status Int(int64_t value) override {
    if (section_ == "config" && key_ == "default_vocab_size") vocab_size = value;
    if (section_ == "config" && key_ == "default_num_special_tokens") special_count = value;
    if (key_ == "rank") rank_ = value;
    return absl::OkStatus();
  }
  absl::Status EndObject() override {
    --depth_;
    if (depth_ != 1 || (section_ != "vocab" && section_ != "special_tokens"))
      return absl::OkStatus();
    if (rank_ < 0 || rank_ > (1 << 24) || static_cast<size_t>(rank_) > max_rank_)
      return Error(ErrorCode::kInvalidInput, file_, ": an entry of ", section_, " has the rank ",
                   rank_);
    const auto rank = static_cast<int32_t>(rank_);
    if (section_ == "special_tokens") {
      special.push_back({rank, text_, false, false, false, false, true});
      return absl::OkStatus();
    }
    const absl::StatusOr<std::string> bytes = DecodeBase64(text_);
    if (!bytes.ok())
      return Prefixed(Cat(file_, ": the token of rank ", rank, ": "), bytes.status());
    if (bytes->empty() || bytes->size() > kMaxRankedBytes ||
        ranks.Add(rank, *bytes) != TokenTable::Added::kOk) {
      return Error(ErrorCode::kInvalidInput, file_, ": the token of rank ", rank,
                   " is empty or longer than ", kMaxRankedBytes,
                   " bytes, or its rank or bytes are there twice");
    }
    return absl::OkStatus();
  }

 private:
  const std::string& file_;
  size_t max_rank_;  ///< ranks are dense, so there are not more than the file has bytes
  int depth_ = 0;
  std::string section_, key_, text_;
  int64_t rank_ = -1;
  bool is_control_ = true;
};

// What files without a list of special tokens have (the library's own default for version 3 and
// before).
constexpr std::string_view kTekkenSpecial[] = {"<unk>",
                                               "<s>",
                                               "</s>",
                                               "[INST]",
                                               "[/INST]",
                                               "[AVAILABLE_TOOLS]",
                                               "[/AVAILABLE_TOOLS]",
                                               "[TOOL_RESULTS]",
                                               "[/TOOL_RESULTS]",
                                               "[TOOL_CALLS]",
                                               "[IMG]",
                                               "<pad>",
                                               "[IMG_BREAK]",
                                               "[IMG_END]",
                                               "[PREFIX]",
                                               "[MIDDLE]",
                                               "[SUFFIX]",
                                               "[SYSTEM_PROMPT]",
                                               "[/SYSTEM_PROMPT]",
                                               "[TOOL_CONTENT]"};

/// Every token of several characters is made by a merge, but for a few special ones: a list that is
/// much shorter is a part of one.
absl::Status CheckMergesAreWhole(const TokenizerJson& json, const std::string& merges_file) {
  constexpr size_t kFewSpecial = 64;
  size_t made = 0;
  for (int32_t id = 0; id < static_cast<int32_t>(json.tokens.size()); ++id) {
    const std::string_view text = json.tokens.Text(id);
    made += json.tokens.Has(id) && DecodeUtf8(text.empty() ? " " : text).length < text.size();
  }
  if (made < kFewSpecial || json.merges.size() >= made / 10 * 9) return absl::OkStatus();
  return Error(ErrorCode::kInvalidInput, merges_file, " has ", json.merges.size(), " merges for ",
               made, " tokens of several characters: it is not whole; download it again");
}

}  // namespace

absl::StatusOr<TokenizerJson> ReadVocabAndMerges(std::string_view vocab,
                                                 const std::string& vocab_file,
                                                 std::string_view merges,
                                                 const std::string& merges_file,
                                                 TokenizerFolder& folder) {
  SMELT_ASSIGN_OR_RETURN(
      ByteLevelClass known,
      FindByteLevelClass(folder.config, folder.model_config, Escape(folder.path, 60)));
  TokenizerJson json;
  SMELT_ASSIGN_OR_RETURN(json.rest, ParseJsonValue(known.pipeline, vocab_file));
  SMELT_ASSIGN_OR_RETURN(json.tokens, ParseVocabJson(vocab, vocab_file));
  json.has_vocab = true;
  json.has_merges = true;
  SMELT_RETURN_IF_ERROR(ReadMerges(merges, merges_file, json.merges));
  SMELT_RETURN_IF_ERROR(CheckMergesAreWhole(json, merges_file));
  folder.special_defaults = std::move(known.special);
  return json;
}

absl::StatusOr<std::unique_ptr<TokenizerCore>> MakeTekkenCore(std::string_view text,
                                                              const std::string& file,
                                                              TokenizerFolder& folder) {
  TekkenHandler handler(file, text.size());
  SMELT_RETURN_IF_ERROR(ParseJson(text, file, handler));
  // Before the subtraction: both are any 64-bit integers here. The special tokens that the file
  // does not list are made up, so their count is bounded by itself.
  const bool sane = handler.special_count >= 0 && handler.special_count <= kMaxTekkenSpecial &&
                    handler.vocab_size >= 0 && handler.vocab_size <= (1 << 24);
  const int64_t inner = sane ? handler.vocab_size - handler.special_count : 0;
  if (handler.pattern.empty() || inner < 256) {
    return Error(ErrorCode::kInvalidInput, file,
                 ": config lacks a pattern, default_vocab_size or default_num_special_tokens that "
                 "make sense");
  }
  SMELT_RETURN_IF_ERROR(CheckBytes(handler.ranks, file));
  TokenTable ranks;
  for (int32_t rank = 0;
       rank < std::min<int64_t>(inner, static_cast<int64_t>(handler.ranks.size())); ++rank) {
    if (handler.ranks.Has(rank)) ranks.Add(rank, handler.ranks.Text(rank));
  }
  std::vector<AddedToken> special = std::move(handler.special);
  if (special.empty()) {
    for (const std::string_view text : kTekkenSpecial)
      special.push_back({static_cast<int32_t>(special.size()), std::string(text), false, false,
                         false, false, true});
  }
  const auto count = static_cast<int32_t>(handler.special_count);
  std::vector<bool> taken(static_cast<size_t>(count), false);
  for (const AddedToken& token : special) {
    if (token.id >= count || taken[static_cast<size_t>(token.id)])
      return Error(ErrorCode::kInvalidInput, file, ": special token \"", Escape(token.content, 60),
                   "\" has a bad rank");
    taken[static_cast<size_t>(token.id)] = true;
  }
  for (int32_t id = 0; id < count; ++id) {
    if (!taken[static_cast<size_t>(id)])
      special.push_back({id, Cat("<SPECIAL_", id, ">"), false, false, false, false, true});
  }
  std::sort(special.begin(), special.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  folder.added = special;
  SMELT_ASSIGN_OR_RETURN(std::unique_ptr<TokenizerCore> core,
                         RankedCore(ranks,
                                    {.pattern = handler.pattern,
                                     .nfc = false,
                                     .ignore_merges = true,
                                     .all_ways = true,
                                     .first_id = count,
                                     .added = std::move(special)},
                                    file));
  if (!folder.config.is_object()) {
    SMELT_ASSIGN_OR_RETURN(
        folder.config,
        ParseJsonValue(
            R"({"bos_token":"<s>","eos_token":"</s>","unk_token":"<unk>","pad_token":"<pad>","add_bos_token":true,"add_eos_token":false})",
            file));
  }
  return core;
}

bool LooksLikeTiktoken(std::string_view text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || space == 0 || line.size() > 200 ||
      space + 1 >= line.size())
    return false;
  return DecodeBase64(line.substr(0, space)).ok() &&
         line.find_first_not_of("0123456789\r", space + 1) == std::string_view::npos;
}

absl::StatusOr<std::unique_ptr<TokenizerCore>> MakeTiktokenCore(std::string_view text,
                                                                const std::string& file,
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
  SMELT_RETURN_IF_ERROR(CheckBytes(ranks, file));
  SMELT_ASSIGN_OR_RETURN(TiktokenVocabulary known, FindTiktokenVocabulary(ranks, folder, file));
  SMELT_RETURN_IF_ERROR(LeaveOutRowless(folder, ranks.size(), known.special));
  folder.added = known.special;
  if (!folder.config.is_object()) {
    SMELT_ASSIGN_OR_RETURN(folder.config, ParseJsonValue(known.config, file));
  }
  return RankedCore(ranks,
                    {.pattern = known.pattern,
                     .nfc = known.nfc,
                     .ignore_merges = known.ignore_merges,
                     .all_ways = false,
                     .first_id = 0,
                     .added = std::move(known.special)},
                    file);
}

}  // namespace smelt
