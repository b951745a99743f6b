#include "lib/text/pipeline.h"

#include <algorithm>
#include <utility>

#include "lib/base/job_scope.h"
#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/text/components/byte_level.h"
#include "lib/text/components/text_start.h"

namespace smelt {
namespace {

absl::StatusOr<int32_t> IdOf(const JsonValue* value, std::string_view what) {
  const std::optional<int64_t> id = value == nullptr ? std::nullopt : value->as_int();
  if (!id || *id < 0 || *id > INT32_MAX)
    return Error(ErrorCode::kInvalidInput, "the ", what, " has a token without an id");
  return static_cast<int32_t>(*id);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Pipeline>> Pipeline::Make(TokenizerJson json, std::string_view name,
                                                         RegexEngine engine) {
  std::unique_ptr<Pipeline> p(new Pipeline());
  const auto build = [&]() -> absl::Status {
    const JsonValue& rest = json.rest;
    SMELT_ASSIGN_OR_RETURN(p->normalizer_, MakeNormalizer(rest.Find("normalizer"), engine));
    SMELT_ASSIGN_OR_RETURN(p->pre_tokenizer_,
                           MakePreTokenizer(rest.Find("pre_tokenizer"), engine, &p->byte_level_));
    SMELT_ASSIGN_OR_RETURN(p->decoder_, MakeDecoder(rest.Find("decoder")));
    p->added_ = std::move(json.added);
    SMELT_RETURN_IF_ERROR(p->MakeModel(json));
    p->rest_ = std::move(json.rest);
    p->merges_ = std::move(json.merges);
    SMELT_RETURN_IF_ERROR(p->AddTokens());
    return p->ReadPostProcessor(p->rest_.FindNonNull("post_processor"));
  };
  if (absl::Status status = build(); !status.ok()) return Prefixed(Cat(name, ": "), status);
  p->FindCuts();
  return p;
}

absl::Status Pipeline::MakeModel(TokenizerJson& json) {
  const JsonValue& m = *json.model();
  if (json.tokens.count() == 0)
    return Error(ErrorCode::kInvalidInput, "the vocab of the model has no tokens");
  kind_ = json.kind;
  if (kind_ == ModelKind::kBpe) {
    if (!json.has_merges) {
      return Error(ErrorCode::kInvalidInput,
                   "model.merges is no list; a BPE model needs one, [] if it merges nothing");
    }
    BpeOptions options;
    options.unk_token = TextOf(m, "unk_token");
    options.prefix = TextOf(m, "continuing_subword_prefix");
    options.suffix = TextOf(m, "end_of_word_suffix");
    options.fuse_unk = FlagOf(m, "fuse_unk", false);
    options.byte_fallback = FlagOf(m, "byte_fallback", false);
    options.ignore_merges = FlagOf(m, "ignore_merges", false);
    SMELT_ASSIGN_OR_RETURN(model_,
                           MakeBpe(std::move(json.tokens), json.merges, std::move(options)));
    return absl::OkStatus();
  }
  if (kind_ == ModelKind::kUnigram) {
    if (json.scores.empty())
      return Error(ErrorCode::kInvalidInput,
                   "the Unigram model's vocab is not a list of texts and scores");
    UnigramOptions options;
    if (const JsonValue* unk = m.FindNonNull("unk_id"); unk != nullptr) {
      SMELT_ASSIGN_OR_RETURN(options.unk_id, IdOf(unk, "unk_id"));
    }
    options.byte_fallback = FlagOf(m, "byte_fallback", false);
    scores_ = json.scores;
    SMELT_ASSIGN_OR_RETURN(model_,
                           MakeUnigram(std::move(json.tokens), std::move(json.scores), options));
    return absl::OkStatus();
  }
  if (kind_ == ModelKind::kWordPiece) {
    WordPieceOptions options;
    if (m.FindNonNull("unk_token")) options.unk_token = TextOf(m, "unk_token");
    if (m.FindNonNull("continuing_subword_prefix"))
      options.prefix = TextOf(m, "continuing_subword_prefix");
    if (const JsonValue* n = m.FindNonNull("max_input_chars_per_word"); n != nullptr) {
      options.max_chars = static_cast<size_t>(std::max<int64_t>(0, n->as_int().value_or(100)));
    }
    SMELT_ASSIGN_OR_RETURN(model_, MakeWordPiece(std::move(json.tokens), std::move(options)));
    return absl::OkStatus();
  }
  SMELT_ASSIGN_OR_RETURN(model_, MakeWordLevel(std::move(json.tokens), TextOf(m, "unk_token")));
  return absl::OkStatus();
}

absl::Status Pipeline::AddTokens() {
  size_ = model_->tokens().size();
  for (AddedToken& token : added_) {
    token.outside = model_->tokens().Find(token.content) != token.id;
    added_by_id_.emplace(token.id, &token);
    added_by_text_.emplace(token.content, token.id);
    size_ = std::max(size_, static_cast<size_t>(token.id) + 1);
    if (!token.normalized || normalizer_ == nullptr) {
      (token.normalized ? normalized_matcher_ : raw_matcher_).Add(token, token.content);
      continue;
    }
    std::string pattern = token.content;
    SMELT_RETURN_IF_ERROR(normalizer_->Apply(pattern));
    if (pattern.empty()) {
      return Error(ErrorCode::kUnsupported, "the normalizer leaves nothing of the added token \"",
                   Escape(token.content, 60), "\", so that it is found at every place of a text");
    }
    if (pattern != token.content) normalized_text_.emplace(token.id, pattern);
    normalized_matcher_.Add(token, pattern);
  }
  if (size_ == 0) return Error(ErrorCode::kInvalidInput, "the vocabulary has no tokens");
  return absl::OkStatus();
}

absl::Status Pipeline::ReadPostProcessor(const JsonValue* json) {
  if (json == nullptr) return absl::OkStatus();
  const std::string type = TextOf(*json, "type");
  const auto token_id = [&](const JsonValue& value,
                            std::string_view text) -> absl::StatusOr<int32_t> {
    SMELT_ASSIGN_OR_RETURN(const int32_t id, IdOf(&value, type));
    if (model_->tokens().Has(id) || added_by_id_.contains(id)) return id;
    return Error(ErrorCode::kInvalidInput, "the post-processor ", type, " adds the token \"",
                 Escape(text, 60), "\" with id ", id, ", which the vocabulary does not have (",
                 size_, " ids)");
  };
  if (type == "ByteLevel") return absl::OkStatus();
  if (type == "Sequence") {
    const JsonValue* list = json->Find("processors");
    if (list == nullptr || !list->is_array())
      return Error(ErrorCode::kInvalidInput,
                   "the post-processor Sequence has no list \"processors\"");
    for (const JsonValue& item : *list->as_array()) SMELT_RETURN_IF_ERROR(ReadPostProcessor(&item));
    return absl::OkStatus();
  }
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    for (const bool first : {true, false}) {
      const JsonValue* pair = json->FindNonNull(first ? "cls" : "sep");
      if (pair == nullptr || !pair->is_array() || pair->as_array()->size() != 2)
        return Error(ErrorCode::kInvalidInput, type, " has no pairs \"cls\" and \"sep\"");
      const JsonValue& text = pair->as_array()->front();
      SMELT_ASSIGN_OR_RETURN(const int32_t id, token_id(pair->as_array()->back(),
                                                        text.is_string() ? *text.as_string() : ""));
      if (first) {
        prefix.insert(prefix.begin(), id);
      } else {
        suffix.push_back(id);
      }
    }
    return absl::OkStatus();
  }
  if (type != "TemplateProcessing")
    return Error(ErrorCode::kUnsupported, "the post-processor \"", Escape(type), "\" is not known");
  const JsonValue* single = json->FindNonNull("single");
  const JsonValue* special = json->FindNonNull("special_tokens");
  if (single == nullptr || !single->is_array())
    return Error(ErrorCode::kInvalidInput, "TemplateProcessing has no list \"single\"");
  bool after = false;
  std::vector<int32_t> before_ids, after_ids;
  for (const JsonValue& item : *single->as_array()) {
    if (const JsonValue* sequence = item.Find("Sequence"); sequence != nullptr) {
      if (TextOf(*sequence, "id") != "A") {
        return Error(ErrorCode::kInvalidInput,
                     "TemplateProcessing's \"single\" has a Sequence that is not A");
      }
      if (after) return Error(ErrorCode::kUnsupported, "TemplateProcessing repeats the text");
      after = true;
      continue;
    }
    const JsonValue* token = item.Find("SpecialToken");
    const std::string id_text = token == nullptr ? std::string() : TextOf(*token, "id");
    const JsonValue* entry = special == nullptr ? nullptr : special->FindNonNull(id_text);
    const JsonValue* ids = entry == nullptr ? nullptr : entry->FindNonNull("ids");
    if (ids == nullptr || !ids->is_array()) {
      return Error(ErrorCode::kInvalidInput, "TemplateProcessing uses \"", Escape(id_text, 60),
                   "\", which its special_tokens lack");
    }
    for (const JsonValue& value : *ids->as_array()) {
      SMELT_ASSIGN_OR_RETURN(const int32_t id, token_id(value, id_text));
      (after ? after_ids : before_ids).push_back(id);
    }
  }
  if (!after)
    return Error(ErrorCode::kUnsupported, "TemplateProcessing leaves the text itself out");
  prefix.insert(prefix.begin(), before_ids.begin(), before_ids.end());
  suffix.insert(suffix.end(), after_ids.begin(), after_ids.end());
  return absl::OkStatus();
}

void Pipeline::FindCuts() {
  const JsonValue& m = *rest_.FindNonNull("model");
  const bool dressed =
      !TextOf(m, "end_of_word_suffix").empty() || !TextOf(m, "continuing_subword_prefix").empty();
  if (byte_level_ || merges_.size() == 0 || dressed || kind_ != ModelKind::kBpe ||
      FlagOf(m, "ignore_merges", false))
    return;
  cuts_ = BlankCuts(model_->tokens());
}

absl::Status Pipeline::EncodeText(std::string_view text, bool parse_special,
                                  std::vector<int32_t>& out) const {
  const CachePool::Lease lease(caches_);
  WordCache& cache = *lease;
  return raw_matcher_.Split(
      text, !parse_special, [&](std::string_view part, int32_t id) -> absl::Status {
        if (id >= 0) {
          out.push_back(id);
          return absl::OkStatus();
        }
        TextPiece rest{part, part.data() == text.data() ? StartOf(part) : 0};
        std::string normalized;
        if (normalizer_ != nullptr) {
          normalized = part;
          SMELT_RETURN_IF_ERROR(normalizer_->Apply(normalized, rest.start));
          rest.text = normalized;
        }
        return normalized_matcher_.Split(
            rest.text, !parse_special, [&](std::string_view word, int32_t added) -> absl::Status {
              if (added >= 0) {
                out.push_back(added);
                return absl::OkStatus();
              }
              const auto begin = static_cast<size_t>(word.data() - rest.text.data());
              const TextPiece piece = rest.Part(begin, begin + word.size());
              if (pre_tokenizer_ == nullptr) return EncodePiece(piece, cache, out);
              return pre_tokenizer_->Split(
                  piece, [&](TextPiece part_of_it) { return EncodePiece(part_of_it, cache, out); });
            });
      });
}

absl::Status Pipeline::EncodePiece(TextPiece piece, WordCache& cache,
                                   std::vector<int32_t>& out) const {
  return cuts_.Split(model_->tokens(), piece.text,
                     [&](std::string_view word) { return EncodeWord(word, cache, out); });
}

absl::Status Pipeline::EncodeWord(std::string_view word, WordCache& cache,
                                  std::vector<int32_t>& out) const {
  if (MustStop()) return GoOn();
  if (cache.Append(word, out)) return absl::OkStatus();
  const size_t before = out.size();
  if (byte_level_) {
    std::string mapped;
    AppendByteLevel(mapped, word);
    SMELT_RETURN_IF_ERROR(model_->Encode(mapped, out));
  } else {
    SMELT_RETURN_IF_ERROR(model_->Encode(word, out));
  }
  cache.Insert(word, std::span<const int32_t>(out).subspan(before));
  return absl::OkStatus();
}

bool Pipeline::UsesBytes() const {
  const JsonValue* decoder = rest_.FindNonNull("decoder");
  return decoder != nullptr && TextOf(*decoder, "type") == "ByteLevel";
}

std::string Pipeline::Piece(int32_t id) const {
  const auto added = added_by_id_.find(id);
  return added != added_by_id_.end() ? added->second->content
                                     : std::string(model_->tokens().Text(id));
}

int32_t Pipeline::Find(std::string_view text) const {
  const auto added = added_by_text_.find(text);
  return added != added_by_text_.end() ? added->second : model_->tokens().Find(text);
}

std::string Pipeline::Decode(const std::vector<int32_t>& ids, bool show_special) const {
  std::vector<std::string> texts;
  texts.reserve(ids.size());
  for (const int32_t id : ids) {
    const auto added = added_by_id_.find(id);
    if (added == added_by_id_.end()) {
      if (model_->tokens().Has(id)) texts.emplace_back(model_->tokens().Text(id));
      continue;
    }
    const auto normalized = normalized_text_.find(id);
    const std::string& text =
        normalized == normalized_text_.end() ? added->second->content : normalized->second;
    // Hidden is what reads as a special token: not one that its own normalizer changed.
    const auto same = show_special ? added_by_text_.end() : added_by_text_.find(text);
    if (same != added_by_text_.end() && added_by_id_.at(same->second)->special) continue;
    texts.push_back(text);
  }
  std::string out;
  if (decoder_ != nullptr) decoder_->Apply(texts);
  for (size_t i = 0; i < texts.size(); ++i) {
    if (decoder_ == nullptr && i > 0) out.push_back(' ');
    out += texts[i];
  }
  return out;
}

void Pipeline::SetPieces(SentencePieceModel pieces) {
  for (size_t id = 0; id < pieces.pieces.size(); ++id) {
    if (Piece(static_cast<int32_t>(id)) != pieces.pieces[id].text) return;
  }
  pieces_ = std::move(pieces);
}

absl::StatusOr<std::unique_ptr<TokenizerCore>> MakePipelineCore(
    TokenizerJson json, std::string_view name, RegexEngine engine,
    std::optional<SentencePieceModel> pieces) {
  SMELT_ASSIGN_OR_RETURN(std::unique_ptr<Pipeline> pipeline,
                         Pipeline::Make(std::move(json), name, engine));
  if (pieces) pipeline->SetPieces(*std::move(pieces));
  return std::unique_ptr<TokenizerCore>(std::move(pipeline));
}

}  // namespace smelt
