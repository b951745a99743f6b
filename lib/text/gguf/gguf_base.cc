#include "lib/text/gguf/gguf_base.h"

#include <algorithm>
#include <utility>

#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/text/components/decoder.h"
#include "lib/text/components/text_start.h"
#include "lib/text/published/base64.h"
#include "lib/text/published/published.h"

namespace smelt {

absl::Status GgufBase::Init(const Metadata& metadata, GgufVocabulary vocabulary,
                            std::string_view usual_normalizer) {
  vocabulary_ = std::move(vocabulary);
  tokens_ = *vocabulary_.tokens;
  vocabulary_.tokens = &tokens_;
  for (const AddedToken& token : vocabulary_.added)
    tokens_[static_cast<size_t>(token.id)] = token.content;
  SMELT_ASSIGN_OR_RETURN(
      std::string normalizer,
      ReadOwn<std::string>(metadata, "smelt.tokenizer.normalizer", std::string(usual_normalizer)));
  if (!normalizer.empty()) {
    // The rules of a Precompiled step lie under their own key.
    SMELT_ASSIGN_OR_RETURN(const std::string charsmap,
                           ReadBytes(metadata, "tokenizer.ggml.precompiled_charsmap"));
    constexpr std::string_view kStep = R"({"type":"Precompiled"})";
    if (const size_t at = normalizer.find(kStep); at != std::string::npos && !charsmap.empty()) {
      normalizer.replace(
          at, kStep.size(),
          Cat(R"({"type":"Precompiled","precompiled_charsmap":")", EncodeBase64(charsmap), "\"}"));
    }
    SMELT_ASSIGN_OR_RETURN(const JsonValue json,
                           ParseJsonValue(normalizer, "smelt.tokenizer.normalizer"));
    SMELT_ASSIGN_OR_RETURN(normalizer_, MakeNormalizer(&json, RegexEngine::kAny));
  }
  for (const AddedToken& token : vocabulary_.added) {
    added_.emplace(token.id, Added{token.special, token.outside});
    std::string pattern = token.content;
    if (token.normalized && normalizer_ != nullptr) {
      SMELT_RETURN_IF_ERROR(normalizer_->Apply(pattern));
      if (pattern.empty()) {
        return Error(ErrorCode::kUnsupported, "the normalizer leaves nothing of the added token \"",
                     Escape(token.content, 60), "\", so that it is found at every place of a text");
      }
      if (pattern != token.content) shown_.emplace(token.id, pattern);
    }
    (token.normalized ? normalized_ : raw_).Add(token, pattern);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> GgufBase::Encode(std::string_view text,
                                                      const EncodeOptions& options) const {
  std::string repaired;
  if (!IsValidUtf8(text)) {
    repaired = RepairUtf8(text);
    text = repaired;
  }
  const CachePool::Lease lease(caches_);
  std::vector<int32_t> out;
  if (options.add_special && adds_bos()) out.push_back(vocabulary_.bos);
  SMELT_RETURN_IF_ERROR(raw_.Split(
      text, !options.parse_special, [&](std::string_view part, int32_t id) -> absl::Status {
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
        return normalized_.Split(
            rest.text, !options.parse_special,
            [&](std::string_view fragment, int32_t added) -> absl::Status {
              const auto begin = static_cast<size_t>(fragment.data() - rest.text.data());
              if (added < 0)
                return EncodeFragment(rest.Part(begin, begin + fragment.size()), *lease, out);
              out.push_back(added);
              return absl::OkStatus();
            });
      }));
  if (options.add_special && options.add_end && vocabulary_.add_eos && vocabulary_.eos >= 0)
    out.push_back(vocabulary_.eos);
  return out;
}

std::string GgufBase::Decode(const std::vector<int32_t>& ids, const DecodeOptions& options) const {
  std::vector<int32_t> shown;
  for (const int32_t id : ids) {
    if (!Known(id)) continue;
    const auto added = added_.find(id);
    // Hidden is what reads as a special token: not one that its own normalizer changed.
    if (added != added_.end() && added->second.special && !options.show_special &&
        !shown_.contains(id) && !(spm_ && Type(id) == TokenType::kUnknown))
      continue;
    shown.push_back(id);
  }
  return Join(shown, /*bytes=*/false);
}

std::string GgufBase::Bytes(const std::vector<int32_t>& ids) const {
  std::vector<int32_t> known;
  for (const int32_t id : ids) {
    if (Known(id)) known.push_back(id);
  }
  return Join(known, /*bytes=*/true);
}

absl::Status GgufBase::DecodeAsSentencePiece(const Metadata& metadata,
                                             const SpmNormalizer& normalizer) {
  SpmDecoding how;
  how.strips_blank = normalizer.add_dummy_prefix || normalizer.remove_extra_whitespaces;
  how.strips_all = normalizer.remove_extra_whitespaces;
  SMELT_ASSIGN_OR_RETURN(
      how.unknown, ReadOwn<std::string>(metadata, "smelt.tokenizer.unknown_surface", how.unknown));
  SMELT_ASSIGN_OR_RETURN(const std::string rules,
                         ReadOwnBytes(metadata, "smelt.tokenizer.denormalizer_charsmap"));
  SMELT_ASSIGN_OR_RETURN(how.rules, Charsmap::Parse(rules));
  spm_ = std::move(how);
  return absl::OkStatus();
}

std::string GgufBase::JoinAsSentencePiece(const std::vector<int32_t>& ids, bool bytes) const {
  SpmText text(*spm_, bytes);
  for (const int32_t id : ids) {
    const auto byte = byte_of_.find(id);
    if (Type(id) == TokenType::kUnknown) {
      text.Unknown();
    } else if (Type(id) == TokenType::kByte && byte != byte_of_.end()) {
      text.Byte(byte->second);
    } else if (IsAdded(id)) {
      text.Beside(Shown(id));
    } else {
      text.Piece(Text(id));
    }
  }
  return std::move(text).Finish();
}

std::string GgufBase::Join(const std::vector<int32_t>& ids, bool bytes) const {
  if (spm_) return JoinAsSentencePiece(ids, bytes);
  std::string out;
  for (size_t i = 0; i < ids.size(); ++i) AppendDecoded(ids[i], i == 0, out);
  FinishDecode(out);
  return bytes ? out : RepairUtf8(out);
}

void GgufBase::FinishDecode(std::string&) const {}

std::string GgufBase::Piece(int32_t id) const { return Known(id) ? Text(id) : std::string(); }

bool GgufBase::ends_generation(int32_t id) const {
  if (!Known(id)) return false;
  if (id == vocabulary_.eos || id == vocabulary_.eot || id == vocabulary_.eom) return true;
  if (std::ranges::find(vocabulary_.ends, id) != vocabulary_.ends.end()) return true;
  return Type(id) != TokenType::kNormal && LooksLikeEnd(Text(id));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> GgufTokenizer(const Metadata& metadata) {
  SMELT_ASSIGN_OR_RETURN(GgufVocabulary vocabulary, ReadGgufVocabulary(metadata));
  const std::string model = vocabulary.model;
  if (model == "gpt2") return MakeGgufBpe(metadata, std::move(vocabulary));
  if (model == "llama" || model == kGemma4)
    return MakeGgufSentencePiece(metadata, std::move(vocabulary));
  if (model == "t5") return MakeGgufUnigram(metadata, std::move(vocabulary));
  if (model == "bert") return MakeGgufWordPiece(metadata, std::move(vocabulary));
  return Error(ErrorCode::kUnsupported, "tokenizer.ggml.model is \"", Escape(model, 40),
               "\"; gpt2, llama, gemma4, t5 and bert are supported");
}

}  // namespace smelt
