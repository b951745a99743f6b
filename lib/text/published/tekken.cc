// Mistral's tekken.json: ranks of byte strings, special tokens before them.
#include <algorithm>
#include <utility>

#include "lib/base/json.h"
#include "lib/base/status.h"
#include "lib/text/published/ranked_vocabulary.h"
#include "lib/text/published/readers.h"
#include "lib/text/spec/base64.h"

namespace smelt {
namespace {

/// Published files have 1,000 special tokens.
constexpr int64_t kMaxTekkenSpecial = 1 << 16;

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
      special.push_back({.id = rank, .content = text_, .special = true});
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

}  // namespace

absl::StatusOr<PipelineSpec> ReadTekken(std::string_view text, const std::string& file,
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
  TokenTable ranks;
  for (int32_t rank = 0;
       rank < std::min<int64_t>(inner, static_cast<int64_t>(handler.ranks.size())); ++rank) {
    if (handler.ranks.Has(rank)) ranks.Add(rank, handler.ranks.Text(rank));
  }
  std::vector<AddedToken> special = std::move(handler.special);
  if (special.empty()) {
    for (const std::string_view text : kTekkenSpecial)
      special.push_back({.id = static_cast<int32_t>(special.size()),
                         .content = std::string(text),
                         .special = true});
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
      special.push_back({.id = id, .content = Cat("<SPECIAL_", id, ">"), .special = true});
  }
  std::sort(special.begin(), special.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  folder.zero_scores = true;
  if (!folder.config.is_object()) {
    const auto text_of = [](std::string_view value) { return JsonValue(std::string(value)); };
    folder.config = JsonValue(JsonValue::Object{{"bos_token", text_of("<s>")},
                                                {"eos_token", text_of("</s>")},
                                                {"unk_token", text_of("<unk>")},
                                                {"pad_token", text_of("<pad>")},
                                                {"add_bos_token", JsonValue(true)},
                                                {"add_eos_token", JsonValue(false)}});
  }
  return MakeRankedSpec(ranks,
                        {.pattern = handler.pattern,
                         .all_ways = true,
                         .first_id = count,
                         .added = std::move(special)},
                        file);
}

}  // namespace smelt
