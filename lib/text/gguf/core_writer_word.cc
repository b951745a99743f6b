// Unigram and WordPiece pipelines as tokenizer.ggml.*.
#include <algorithm>
#include <cmath>
#include <utility>

#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/text/gguf/core_writer.h"
#include "lib/text/gguf/token_types.h"
#include "lib/text/models/blank_cuts.h"
#include "lib/text/pipeline.h"
#include "lib/text/published/base64.h"

namespace smelt {
namespace {

// The JSON of a component with every precompiled_charsmap taken out (to `charsmap`, as base64).
std::string WithoutCharsmaps(const JsonValue& json, std::string& charsmap) {
  if (const JsonValue::Object* object = json.as_object()) {
    std::string out = "{";
    for (const auto& [key, value] : *object) {
      if (key == "precompiled_charsmap" && value.is_string()) {
        charsmap = *value.as_string();
        continue;
      }
      out += Cat(out.size() > 1 ? "," : "", JsonQuote(key), ":", WithoutCharsmaps(value, charsmap));
    }
    return out + "}";
  }
  if (const JsonValue::Array* array = json.as_array()) {
    std::string out = "[";
    for (const JsonValue& value : *array)
      out += Cat(out.size() > 1 ? "," : "", WithoutCharsmaps(value, charsmap));
    return out + "]";
  }
  return json.ToText();
}

bool HasStep(const JsonValue* json, std::string_view type) {
  if (json == nullptr) return false;
  if (TextOf(*json, "type") == type) return true;
  for (const std::string_view list : {"normalizers", "pretokenizers"}) {
    const JsonValue* steps = json->FindNonNull(list);
    if (steps == nullptr || !steps->is_array()) continue;
    for (const JsonValue& step : *steps->as_array()) {
      if (HasStep(&step, type)) return true;
    }
  }
  return false;
}

// Where the converter has no text for an added token (ids beyond a SentencePiece model), ours keeps
// it under keys of its own.
void WriteExtraTokens(const std::vector<AddedToken>& added, size_t pieces, Metadata& after) {
  std::vector<std::string> texts;
  std::vector<int32_t> ids, types;
  for (const AddedToken& token : added) {
    if (static_cast<size_t>(token.id) < pieces) continue;
    texts.push_back(token.content);
    ids.push_back(token.id);
    types.push_back(
        static_cast<int32_t>(token.special ? TokenType::kControl : TokenType::kUserDefined));
  }
  if (texts.empty()) return;
  WriteOwn<std::vector<std::string>>(after, "smelt.tokenizer.extra_tokens", std::move(texts));
  WriteOwn<std::vector<int32_t>>(after, "smelt.tokenizer.extra_ids", std::move(ids));
  WriteOwn<std::vector<int32_t>>(after, "smelt.tokenizer.extra_types", std::move(types));
}

}  // namespace

absl::Status Pipeline::WriteUnigram(const CoreWriteOptions& options, Metadata& out,
                                    Metadata& after) const {
  const JsonValue& m = *rest_.FindNonNull("model");
  const JsonValue* pre = rest_.FindNonNull("pre_tokenizer");
  if (!HasStep(pre, "Metaspace")) {
    return Error(
        ErrorCode::kUnsupported,
        "the tokenizer has no GGUF form: its Unigram model has no Metaspace step before it");
  }
  out.Set("tokenizer.ggml.model", "t5");
  out.Set("tokenizer.ggml.pre", "default");
  VocabularyArrays arrays(options.rows != 0 ? options.rows : size());
  const int64_t unknown =
      m.FindNonNull("unk_id") == nullptr ? -1 : m.FindNonNull("unk_id")->as_int().value_or(-1);
  if (pieces_) {
    for (size_t id = 0; id < pieces_->pieces.size(); ++id) {
      const SentencePiece& piece = pieces_->pieces[id];
      arrays.Set(static_cast<int32_t>(id), piece.text,
                 piece.type == PieceType::kUserDefined ? TokenType::kNormal
                                                       : static_cast<TokenType>(piece.type),
                 piece.score);
    }
    WriteExtraTokens(added_, pieces_->pieces.size(), after);
  } else {
    for (size_t id = 0; id < tokens().size(); ++id) {
      const auto i = static_cast<int32_t>(id);
      arrays.Set(i, std::string(tokens().Text(i)),
                 i == unknown ? TokenType::kUnknown : TokenType::kNormal,
                 static_cast<float>(scores_[id]));
    }
    for (const AddedToken& token : added_) {
      if (token.id == unknown) continue;
      const auto id = static_cast<size_t>(token.id);
      arrays.SetAdded(token, id < scores_.size() ? static_cast<float>(scores_[id]) : kAddedScore);
    }
  }
  std::move(arrays).Write(true, out);
  std::string charsmap;
  const JsonValue* normalizer = rest_.FindNonNull("normalizer");
  const std::string normalizer_text =
      normalizer == nullptr ? std::string() : WithoutCharsmaps(*normalizer, charsmap);
  SMELT_ASSIGN_OR_RETURN(const std::string rules, DecodeBase64(charsmap));
  out.Set("tokenizer.ggml.add_space_prefix", pieces_ ? pieces_->normalizer.add_dummy_prefix : true);
  out.Set("tokenizer.ggml.remove_extra_whitespaces",
          pieces_ ? pieces_->normalizer.remove_extra_whitespaces : true);
  if (!rules.empty())
    out.Set("tokenizer.ggml.precompiled_charsmap",
            std::vector<uint8_t>(rules.begin(), rules.end()));
  if (unknown >= 0) after.Set("tokenizer.ggml.unknown_token_id", static_cast<uint32_t>(unknown));
  // The library computes in double precision: where single precision is not the same, sums that tie
  // would not.
  const bool exact = std::all_of(scores_.begin(), scores_.end(), [&](const double& score) {
    const auto id = static_cast<size_t>(&score - scores_.data());
    const float written = pieces_ && id < pieces_->pieces.size() ? pieces_->pieces[id].score
                                                                 : static_cast<float>(score);
    return static_cast<double>(written) == score;
  });
  if (!exact) WriteOwn<std::vector<double>>(after, "smelt.tokenizer.scores", scores_);
  WriteOwn<std::string>(after, "smelt.tokenizer.source", "pipeline");
  if (!normalizer_text.empty())
    WriteOwn<std::string>(after, "smelt.tokenizer.normalizer", normalizer_text);
  WriteOwn<std::string>(after, "smelt.tokenizer.pre_tokenizer", pre->ToText());
  WriteOwn<double>(after, "smelt.tokenizer.unknown_score",
                   *std::min_element(scores_.begin(), scores_.end()) - 10.0);
  if (FlagOf(m, "byte_fallback", false))
    WriteOwn<bool>(after, "smelt.tokenizer.byte_fallback", true);
  WriteAddedFlags(added_, AddedTo::kPipeline, static_cast<int32_t>(unknown), after);
  return absl::OkStatus();
}

absl::Status Pipeline::WriteWordPiece(const CoreWriteOptions& options, Metadata& out,
                                      Metadata& after) const {
  const JsonValue& m = *rest_.FindNonNull("model");
  const std::string prefix = m.FindNonNull("continuing_subword_prefix") == nullptr
                                 ? "##"
                                 : TextOf(m, "continuing_subword_prefix");
  if (prefix != "##") {
    return Error(ErrorCode::kUnsupported,
                 "the tokenizer has no GGUF form: its WordPiece model continues words with \"",
                 Escape(prefix, 20), "\" instead of \"##\"");
  }
  out.Set("tokenizer.ggml.token_type_count", uint32_t{2});
  out.Set("tokenizer.ggml.model", "bert");
  out.Set("tokenizer.ggml.pre",
          "jina-v2-en");  // the name that llama.cpp's table has for BERT's own splitting
  VocabularyArrays arrays(options.rows != 0 ? options.rows : size());
  std::vector<int32_t> marked;  // continuations that look like beginnings
  for (size_t id = 0; id < tokens().size(); ++id) {
    const auto i = static_cast<int32_t>(id);
    if (!tokens().Has(i)) continue;
    const std::string_view text = tokens().Text(i);
    arrays.Set(i, text.starts_with("##") ? std::string(text.substr(2)) : Cat(kBlank, text),
               TokenType::kNormal);
    if (text.starts_with("##") && text.substr(2).starts_with(kBlank)) marked.push_back(i);
  }
  if (!marked.empty())
    WriteOwn<std::vector<int32_t>>(after, "smelt.tokenizer.continuations", std::move(marked));
  for (const AddedToken& token : added_) arrays.SetAdded(token, 0);
  std::move(arrays).Write(false, out);
  const JsonValue* normalizer = rest_.FindNonNull("normalizer");
  const JsonValue* pre = rest_.FindNonNull("pre_tokenizer");
  const bool bert = normalizer != nullptr && TextOf(*normalizer, "type") == "BertNormalizer";
  const bool lower = bert && FlagOf(*normalizer, "lowercase", true);
  after.Set("tokenizer.ggml.normalizer.lowercase", lower);
  const bool plain = bert && FlagOf(*normalizer, "clean_text", true) &&
                     FlagOf(*normalizer, "handle_chinese_chars", true) &&
                     FlagOf(*normalizer, "strip_accents", lower) == lower;
  if (!plain) {
    WriteOwn<std::string>(after, "smelt.tokenizer.normalizer",
                          normalizer == nullptr
                              ? std::string("{\"type\":\"Sequence\",\"normalizers\":[]}")
                              : normalizer->ToText());
  }
  if (pre == nullptr || TextOf(*pre, "type") != "BertPreTokenizer") {
    WriteOwn<std::string>(after, "smelt.tokenizer.pre_tokenizer",
                          pre == nullptr
                              ? std::string("{\"type\":\"Sequence\",\"pretokenizers\":[]}")
                              : pre->ToText());
  }
  const std::string unknown =
      m.FindNonNull("unk_token") == nullptr ? std::string("[UNK]") : TextOf(m, "unk_token");
  WriteOwn<std::string>(after, "smelt.tokenizer.unknown_token", unknown);
  constexpr int32_t kUsualUnknown = 100;  // what readers take where the key is missing
  if (const int32_t id = tokens().Find(unknown); id >= 0 && id != kUsualUnknown)
    after.Set("tokenizer.ggml.unknown_token_id", static_cast<uint32_t>(id));
  if (const JsonValue* n = m.FindNonNull("max_input_chars_per_word");
      n != nullptr && n->as_int().value_or(100) != 100) {
    WriteOwn<uint32_t>(
        after, "smelt.tokenizer.max_word_chars",
        static_cast<uint32_t>(std::clamp<int64_t>(n->as_int().value_or(100), 0, 1 << 30)));
  }
  const JsonValue* decoder = rest_.FindNonNull("decoder");
  if (decoder != nullptr && !FlagOf(*decoder, "cleanup", true))
    WriteOwn<bool>(after, "smelt.tokenizer.cleanup", false);
  WriteAddedFlags(added_, AddedTo::kPipeline, -1, after);
  return absl::OkStatus();
}

}  // namespace smelt
