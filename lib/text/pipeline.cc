#include "lib/text/pipeline.h"

#include <algorithm>
#include <utility>

#include "lib/base/job_scope.h"
#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/text/components/text_start.h"

namespace smelt {

absl::StatusOr<std::unique_ptr<Pipeline>> Pipeline::Make(PipelineSpec spec, std::string_view name,
                                                         RegexEngine engine) {
  for (AddedToken& token : spec.added) token.outside = spec.tokens.Find(token.content) != token.id;
  std::unique_ptr<Pipeline> pipeline(new Pipeline(std::move(spec)));
  if (absl::Status built = pipeline->Build(engine); !built.ok())
    return Prefixed(Cat(name, ": "), built);
  return pipeline;
}

absl::Status Pipeline::Build(RegexEngine engine) {
  if (const PieceModel* pieces = std::get_if<PieceModel>(&spec_.model); pieces != nullptr) {
    for (size_t i = 0; i < pieces->types.size(); ++i) {
      const auto id = static_cast<int32_t>(i);
      if (pieces->types[i] == PieceType::kUserDefined)
        user_defined_.Insert(spec_.tokens.Text(id), id);
    }
  }
  SMELT_ASSIGN_OR_RETURN(normalizer_, Normalizer::Make(spec_.normalizers, engine, user_defined_));
  SMELT_ASSIGN_OR_RETURN(pre_tokenizer_, PreTokenizer::Make(spec_.pre_tokenizers, engine));
  SMELT_ASSIGN_OR_RETURN(model_, MakeModel(spec_.model, {spec_.tokens, user_defined_,
                                                         LeavesBytes(spec_.pre_tokenizers)}));
  if (!spec_.decoders.empty())
    sentencepiece_ = std::get_if<SentencePieceDecoder>(&spec_.decoders.front());
  if (sentencepiece_ == nullptr) {
    SMELT_ASSIGN_OR_RETURN(decoder_, Decoder::Make(spec_.decoders));
  } else {
    SMELT_ASSIGN_OR_RETURN(denormalizer_, Charsmap::Parse(sentencepiece_->charsmap));
    const ByteTokens bytes(spec_.tokens);
    for (int b = 0; b < 256; ++b) byte_of_.emplace(bytes[static_cast<char>(b)], b);
  }
  SMELT_RETURN_IF_ERROR(AddTokens());
  SMELT_RETURN_IF_ERROR(ReadPostProcessors());
  FindCuts();
  return absl::OkStatus();
}

absl::Status Pipeline::AddTokens() {
  size_ = spec_.tokens.size();
  const PieceModel* pieces = std::get_if<PieceModel>(&spec_.model);
  for (const AddedToken& token : spec_.added) {
    added_by_id_.emplace(token.id, &token);
    added_by_text_.emplace(token.content, token.id);
    size_ = std::max(size_, static_cast<size_t>(token.id) + 1);
    // SentencePiece finds its user-defined pieces itself.
    if (pieces != nullptr && !token.outside &&
        pieces->types[static_cast<size_t>(token.id)] == PieceType::kUserDefined)
      continue;
    if (!token.normalized || normalizer_.empty()) {
      (token.normalized ? normalized_matcher_ : raw_matcher_).Add(token, token.content);
      continue;
    }
    std::string pattern = token.content;
    SMELT_RETURN_IF_ERROR(normalizer_.Apply(pattern));
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

absl::Status Pipeline::ReadPostProcessors() {
  const auto check = [&](const TemplateItem& item, std::string_view type) -> absl::Status {
    for (const int32_t id : item.ids) {
      if (spec_.tokens.Has(id) || added_by_id_.contains(id)) continue;
      return Error(ErrorCode::kInvalidInput, "the post-processor ", type, " adds the token \"",
                   Escape(item.token, 60), "\" with id ", id,
                   ", which the vocabulary does not have (", size_, " ids)");
    }
    return absl::OkStatus();
  };
  for (const PostProcessorStep& step : spec_.post_processors) {
    std::vector<int32_t> before, after;
    if (const auto* whole = std::get_if<TemplateProcessing>(&step); whole != nullptr) {
      std::vector<int32_t>* side = &before;
      for (const TemplateItem& item : whole->single) {
        SMELT_RETURN_IF_ERROR(check(item, "TemplateProcessing"));
        if (!item.sequence.empty()) side = &after;
        side->insert(side->end(), item.ids.begin(), item.ids.end());
      }
    } else {
      const auto* bert = std::get_if<BertProcessing>(&step);
      const auto* roberta = std::get_if<RobertaProcessing>(&step);
      const TemplateItem& cls = bert != nullptr ? bert->cls : roberta->cls;
      const TemplateItem& sep = bert != nullptr ? bert->sep : roberta->sep;
      const std::string_view type = bert != nullptr ? "BertProcessing" : "RobertaProcessing";
      SMELT_RETURN_IF_ERROR(check(cls, type));
      SMELT_RETURN_IF_ERROR(check(sep, type));
      before = cls.ids;
      after = sep.ids;
    }
    if (before.empty() && after.empty()) continue;
    if (!prefix.empty() || !suffix.empty()) {
      // The library takes what the first one made for several texts: ids by no rule of a template.
      return Error(ErrorCode::kUnsupported,
                   "two post-processors add tokens to a text; leave the one that is meant");
    }
    prefix = std::move(before);
    suffix = std::move(after);
  }
  return absl::OkStatus();
}

void Pipeline::FindCuts() {
  if (LeavesBytes(spec_.pre_tokenizers)) return;
  if (const BpeModel* bpe = std::get_if<BpeModel>(&spec_.model); bpe != nullptr) {
    const bool dressed =
        !bpe->end_of_word_suffix.empty() || !bpe->continuing_subword_prefix.empty();
    if (bpe->merges.size() > 0 && !dressed && !bpe->ignore_merges)
      cuts_ = MetaspaceCuts(spec_.tokens);
  }
  if (const PieceModel* pieces = std::get_if<PieceModel>(&spec_.model);
      pieces != nullptr && pieces->algorithm == SentencePieceModel::Type::kBpe)
    cuts_ = MetaspaceCuts(spec_.tokens);
}

absl::StatusOr<std::vector<int32_t>> Pipeline::Encode(std::string_view text,
                                                      const EncodeOptions& options) const {
  std::vector<int32_t> ids;
  if (options.add_special) ids = prefix;
  if (IsValidUtf8(text)) {
    SMELT_RETURN_IF_ERROR(EncodeText(text, options.parse_special, ids));
  } else {
    SMELT_RETURN_IF_ERROR(EncodeText(RepairUtf8(text), options.parse_special, ids));
  }
  if (options.add_special && options.add_end) ids.insert(ids.end(), suffix.begin(), suffix.end());
  return ids;
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
        if (!normalizer_.empty()) {
          normalized = part;
          SMELT_RETURN_IF_ERROR(normalizer_.Apply(normalized, rest.start));
          rest.text = normalized;
        }
        return normalized_matcher_.Split(
            rest.text, !parse_special, [&](std::string_view words, int32_t added) -> absl::Status {
              if (added >= 0) {
                out.push_back(added);
                return absl::OkStatus();
              }
              const auto begin = static_cast<size_t>(words.data() - rest.text.data());
              return pre_tokenizer_.Split(
                  rest.Part(begin, begin + words.size()),
                  [&](TextPiece piece) { return EncodePiece(piece, cache, out); });
            });
      });
}

absl::Status Pipeline::EncodePiece(TextPiece piece, WordCache& cache,
                                   std::vector<int32_t>& out) const {
  return cuts_.Split(spec_.tokens, piece.text,
                     [&](std::string_view word) { return EncodeWord(word, cache, out); });
}

absl::Status Pipeline::EncodeWord(std::string_view word, WordCache& cache,
                                  std::vector<int32_t>& out) const {
  if (MustStop()) return GoOn();
  const uint64_t hash = word.size() <= WordCache::kMaxWord ? HashText(word) : 0;
  if (cache.Append(word, hash, out)) return absl::OkStatus();
  const size_t before = out.size();
  SMELT_RETURN_IF_ERROR(model_->Encode(word, out));
  cache.Insert(word, hash, std::span<const int32_t>(out).subspan(before));
  return absl::OkStatus();
}

void Pipeline::ForgetListOfMerges() {
  if (BpeModel* bpe = std::get_if<BpeModel>(&spec_.model); bpe != nullptr) bpe->merges = {};
}

const AddedToken* Pipeline::FindAdded(int32_t id) const {
  const auto added = added_by_id_.find(id);
  return added == added_by_id_.end() ? nullptr : added->second;
}

std::string Pipeline::Piece(int32_t id) const {
  const AddedToken* added = FindAdded(id);
  return added != nullptr ? added->content : std::string(spec_.tokens.Text(id));
}

int32_t Pipeline::Find(std::string_view text) const {
  const auto added = added_by_text_.find(text);
  return added != added_by_text_.end() ? added->second : spec_.tokens.Find(text);
}

std::string Pipeline::Decode(const std::vector<int32_t>& ids, bool show_special, bool raw) const {
  if (sentencepiece_ != nullptr) return DecodeAsSentencePiece(ids, show_special, raw);
  std::vector<std::string> texts;
  texts.reserve(ids.size());
  for (const int32_t id : ids) {
    const AddedToken* added = FindAdded(id);
    if (added == nullptr) {
      if (spec_.tokens.Has(id)) texts.emplace_back(spec_.tokens.Text(id));
      continue;
    }
    const auto normalized = normalized_text_.find(id);
    const std::string& text =
        normalized == normalized_text_.end() ? added->content : normalized->second;
    // Hidden is what reads as a special token: not one that its own normalizer changed.
    const auto same = show_special ? added_by_text_.end() : added_by_text_.find(text);
    if (same != added_by_text_.end() && added_by_id_.at(same->second)->special) continue;
    texts.push_back(text);
  }
  return decoder_.Apply(std::move(texts), raw);
}

std::string Pipeline::DecodeAsSentencePiece(const std::vector<int32_t>& ids, bool show_special,
                                            bool raw) const {
  const std::vector<PieceType>& types = std::get<PieceModel>(spec_.model).types;
  SentencePieceText text(*sentencepiece_, denormalizer_, raw);
  for (const int32_t id : ids) {
    const AddedToken* added = FindAdded(id);
    const PieceType type =
        spec_.tokens.Has(id) ? types[static_cast<size_t>(id)] : PieceType::kControl;
    if (type == PieceType::kUnknown) {
      text.Unknown();
    } else if (added != nullptr) {
      text.Beside(show_special || !added->special ? std::string_view(added->content)
                                                  : std::string_view());
    } else if (const auto byte = byte_of_.find(id);
               type == PieceType::kByte && byte != byte_of_.end()) {
      text.Byte(byte->second);
    } else if (spec_.tokens.Has(id)) {
      text.Piece(spec_.tokens.Text(id));
    }
  }
  return std::move(text).Finish();
}

}  // namespace smelt
