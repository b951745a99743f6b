#include "lib/text/published/tiktoken_vocabularies.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <span>

#include "lib/base/hash.h"
#include "lib/base/status.h"
#include "lib/text/spec/base64.h"
#include "lib/text/spec/json_members.h"

namespace smelt {
namespace {

constexpr std::string_view kCl100k =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kO200k =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

void Add(std::vector<AddedToken>& out, size_t id, std::string text) {
  out.push_back({.id = static_cast<int32_t>(id), .content = std::move(text), .special = true});
}

// In the order of Meta's reference code.
std::vector<AddedToken> Llama3Special(size_t base) {
  constexpr std::string_view kNamed[] = {"<|begin_of_text|>",
                                         "<|end_of_text|>",
                                         "<|reserved_special_token_0|>",
                                         "<|reserved_special_token_1|>",
                                         "<|finetune_right_pad_id|>",
                                         "<|step_id|>",
                                         "<|start_header_id|>",
                                         "<|end_header_id|>",
                                         "<|eom_id|>",
                                         "<|eot_id|>",
                                         "<|python_tag|>"};
  std::vector<AddedToken> out;
  for (const std::string_view text : kNamed) Add(out, base + out.size(), std::string(text));
  for (int i = 2; out.size() < 256; ++i)
    Add(out, base + out.size(), Cat("<|reserved_special_token_", i, "|>"));
  return out;
}

std::vector<AddedToken> QwenSpecial(size_t base) {
  std::vector<AddedToken> out;
  for (const std::string_view text : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"})
    Add(out, base + out.size(), std::string(text));
  for (int i = 0; i < 205; ++i) Add(out, base + out.size(), Cat("<|extra_", i, "|>"));
  return out;
}

std::vector<AddedToken> Cl100kSpecial(size_t) {
  std::vector<AddedToken> out;
  Add(out, 100257, "<|endoftext|>");
  Add(out, 100258, "<|fim_prefix|>");
  Add(out, 100259, "<|fim_middle|>");
  Add(out, 100260, "<|fim_suffix|>");
  Add(out, 100276, "<|endofprompt|>");
  return out;
}

std::vector<AddedToken> O200kSpecial(size_t) {
  std::vector<AddedToken> out;
  Add(out, 199999, "<|endoftext|>");
  Add(out, 200018, "<|endofprompt|>");
  return out;
}

struct Row {
  std::string_view sha256;  ///< of the published file
  std::string_view pattern;
  bool nfc, ignore_merges;
  std::vector<AddedToken> (*special)(size_t base);
  bool shared;                ///< models have this vocabulary with special tokens of their own
  std::string_view bos, eos;  ///< of a folder that names none
};

constexpr Row kRows[] = {
    {"82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55", kCl100k, false, true,
     Llama3Special, false, "<|begin_of_text|>", "<|eot_id|>"},
    {"b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186", kQwen, true, false,
     QwenSpecial, false, "", "<|endoftext|>"},
    {"223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7", kCl100k, false, true,
     Cl100kSpecial, true, "", "<|endoftext|>"},
    {"446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d", kO200k, false, false,
     O200kSpecial, true, "", "<|endoftext|>"},
};

// A tokenizer_config.json for a folder that has none.
JsonValue ConfigOf(const Row& row) {
  JsonValue::Object out;
  if (!row.bos.empty()) out.emplace_back("bos_token", JsonValue(std::string(row.bos)));
  out.emplace_back("eos_token", JsonValue(std::string(row.eos)));
  if (!row.bos.empty()) {
    out.emplace_back("add_bos_token", JsonValue(true));
    out.emplace_back("add_sep_token", JsonValue(false));
  }
  return JsonValue(std::move(out));
}

// Of the file as tiktoken writes it, whatever its lines' ends and order were.
std::string Digest(const TokenTable& ranks) {
  Sha256 hash;
  std::string line;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    line = Cat(EncodeBase64(ranks.Text(static_cast<int32_t>(rank))), " ", rank, "\n");
    hash.Update(std::as_bytes(std::span(line)));
  }
  return hash.FinishHex();
}

}  // namespace

absl::StatusOr<TiktokenVocabulary> FindTiktokenVocabulary(const TokenTable& ranks,
                                                          const TokenizerFolder& folder,
                                                          const std::string& file) {
  // As many special tokens as Llama 3's, but a pattern that takes sets of characters from each
  // other.
  const std::string class_name = TextOf(folder.config, "tokenizer_class");
  if (class_name == "TikTokenTokenizer" || TextOf(folder.model_config, "model_type") == "kimi_k2") {
    return Error(ErrorCode::kUnsupported, file,
                 ": Kimi's own tokenizer (tokenization_kimi.py) is not known here, and a file in "
                 "tiktoken's format holds neither the pattern that cuts a text nor the special "
                 "tokens; save the tokenizer as tokenizer.json, which does");
  }
  const std::string digest = Digest(ranks);
  const Row* row = std::find_if(std::begin(kRows), std::end(kRows),
                                [&](const Row& r) { return r.sha256 == digest; });
  if (const JsonValue* size = folder.model_config.FindNonNull("vocab_size");
      row == std::end(kRows) && size != nullptr &&
      size->as_int() == static_cast<int64_t>(ranks.size() + 256)) {
    row = kRows;
  }
  if (row == std::end(kRows)) {
    return Error(ErrorCode::kUnsupported, file, ": these ", ranks.count(),
                 " ranks are of no vocabulary that is known, and tiktoken's format holds neither "
                 "the pattern that cuts a text nor the special tokens; save the tokenizer as "
                 "tokenizer.json, which does");
  }
  if (row->shared && folder.config.is_object() && folder.declared.empty()) {
    return Error(ErrorCode::kUnsupported, file,
                 ": nothing says which special tokens the "
                 "tokenizer_class \"",
                 Escape(TextOf(folder.config, "tokenizer_class"), 60),
                 "\" adds to these ranks; save the tokenizer as tokenizer.json, which does");
  }
  TiktokenVocabulary out{row->pattern, row->nfc, row->ignore_merges, folder.declared,
                         ConfigOf(*row)};
  if (out.special.empty()) out.special = row->special(ranks.size());
  return out;
}

}  // namespace smelt
