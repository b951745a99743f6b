#include "lib/text/gguf/gguf_vocabulary.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/text/gguf/pre_names.h"
#include "lib/text/tokenizer.h"

namespace smelt {
namespace {

// Every key of ours, also one that this kind of vocabulary does not read.
absl::Status CheckOwnTokenizerKeys(const Metadata& metadata, size_t tokens) {
  const MetadataValue* extra = metadata.Find(OwnKeyName("smelt.tokenizer.extra_tokens"));
  return CheckOwnKeys(metadata, kOwnTokenizerPrefix,
                      {.tokens = tokens, .extra_tokens = extra == nullptr ? 0 : extra->size()});
}

absl::Status ReadTypes(const Metadata& metadata, GgufVocabulary& out) {
  const size_t count = out.size();
  out.types.assign(count, PieceType::kNormal);
  const MetadataValue* value = metadata.Find("tokenizer.ggml.token_type");
  if (value == nullptr) {
    // What these say is about types that the file had.
    for (const OwnKeyName key :
         {OwnKeyName("smelt.tokenizer.added_flags"), OwnKeyName("smelt.tokenizer.merges")}) {
      if (metadata.Has(key))
        return BadOwnKey(key, "is there, but tokenizer.ggml.token_type is missing");
    }
    return absl::OkStatus();
  }
  if (!value->is_array() || value->size() != count) {
    return Error(ErrorCode::kInvalidInput, "tokenizer.ggml.token_type has ",
                 value->is_array() ? value->size() : 0, " entries for ", count, " tokens");
  }
  for (size_t i = 0; i < count; ++i) {
    const std::optional<int64_t> type = value->IntAt(i);
    if (!type || *type < 0 || *type > 6) {
      return Error(ErrorCode::kInvalidInput, "tokenizer.ggml.token_type of token ", i,
                   " is not a type (1 to 6)");
    }
    out.types[i] = *type == 0 ? PieceType::kNormal : static_cast<PieceType>(*type);
  }
  return absl::OkStatus();
}

// Where characters fall back to bytes, a token of that type says which byte it is.
absl::Status CheckBytes(const GgufVocabulary& vocabulary) {
  if (vocabulary.model != "llama" && vocabulary.model != "t5") return absl::OkStatus();
  for (size_t i = 0; i < vocabulary.size(); ++i) {
    if (vocabulary.types[i] != PieceType::kByte) continue;
    const std::string& text = (*vocabulary.tokens)[i];
    if (const int byte = ByteOfPiece(text);
        byte >= 0 && text == BytePiece(static_cast<uint8_t>(byte)))
      continue;
    return Error(ErrorCode::kInvalidInput, "tokenizer.ggml.token_type calls token ", i,
                 " a byte, but its text is \"", Escape(text, 40), "\", not <0x00> to <0xFF>");
  }
  return absl::OkStatus();
}

absl::Status ReadIds(const Metadata& metadata, GgufVocabulary& out) {
  struct Id {
    std::string_view key;
    int32_t GgufVocabulary::*field;
  };
  static constexpr Id kIds[] = {{"bos", &GgufVocabulary::bos},
                                {"eos", &GgufVocabulary::eos},
                                {"unknown", &GgufVocabulary::unknown},
                                {"eot", &GgufVocabulary::eot},
                                {"eom", &GgufVocabulary::eom}};
  for (const Id& id : kIds) {
    const std::string key = Cat("tokenizer.ggml.", id.key, "_token_id");
    if (!metadata.Has(key)) continue;
    SMELT_ASSIGN_OR_RETURN(const uint64_t value, metadata.Uint(key));
    if (value >= out.size())
      return Error(ErrorCode::kInvalidInput, key, " is ", value, ", but there are ", out.size(),
                   " tokens");
    out.*(id.field) = static_cast<int32_t>(value);
  }
  SMELT_ASSIGN_OR_RETURN(
      out.ends, ReadOwnList<std::vector<int32_t>>(metadata, "smelt.tokenizer.end_token_ids",
                                                  {.tokens = out.size()}));
  return absl::OkStatus();
}

absl::StatusOr<std::unordered_map<int32_t, int32_t>> ReadAddedFlags(const Metadata& metadata,
                                                                    size_t tokens) {
  SMELT_ASSIGN_OR_RETURN(const std::vector<int32_t> pairs,
                         ReadOwnList<std::vector<int32_t>>(metadata, "smelt.tokenizer.added_flags",
                                                           {.tokens = tokens}));
  std::unordered_map<int32_t, int32_t> flags;
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) flags[pairs[i]] = pairs[i + 1];
  return flags;
}

// Tokens for which the published vocabulary has a text and llama.cpp's converter none; their types
// go to `out`.
absl::StatusOr<std::unordered_map<int32_t, std::string>> ReadExtraTokens(const Metadata& metadata,
                                                                         GgufVocabulary& out) {
  SMELT_ASSIGN_OR_RETURN(
      std::vector<std::string> texts,
      ReadOwnList<std::vector<std::string>>(metadata, "smelt.tokenizer.extra_tokens"));
  const KeyMeasures measures{.tokens = out.size(), .extra_tokens = texts.size()};
  SMELT_ASSIGN_OR_RETURN(
      const std::vector<int32_t> ids,
      ReadOwnList<std::vector<int32_t>>(metadata, "smelt.tokenizer.extra_ids", measures));
  SMELT_ASSIGN_OR_RETURN(
      const std::vector<int32_t> types,
      ReadOwnList<std::vector<int32_t>>(metadata, "smelt.tokenizer.extra_types", measures));
  if (ids.size() != texts.size())
    return BadOwnKey("smelt.tokenizer.extra_ids", "is missing beside smelt.tokenizer.extra_tokens");
  std::unordered_map<int32_t, std::string> extra;
  for (size_t i = 0; i < ids.size(); ++i) {
    extra.emplace(ids[i], std::move(texts[i]));
    out.types[static_cast<size_t>(ids[i])] =
        types.empty() ? PieceType::kControl : static_cast<PieceType>(types[i]);
  }
  return extra;
}

// The tokens around a text; where keys are missing, what llama.cpp takes.
absl::Status ReadAroundText(const Metadata& metadata, GgufVocabulary& out) {
  const bool sentencepiece = out.model == "llama", bert = out.model == "bert";
  const PreTokenizerName* pre = FindPreTokenizer(out.pre);
  const bool begins =
      sentencepiece || bert || (out.model == "gpt2" && pre != nullptr && pre->BeginsTexts(out.pre));
  SMELT_ASSIGN_OR_RETURN(out.add_bos, metadata.BoolOr("tokenizer.ggml.add_bos_token", begins));
  if (out.model == kGemma4) out.add_bos = true;  // whatever the key says, as in llama.cpp
  SMELT_ASSIGN_OR_RETURN(
      out.add_eos, metadata.BoolOr("tokenizer.ggml.add_eos_token", bert || out.model == "t5"));
  if (sentencepiece && out.bos < 0 && out.size() > 2) out.bos = 1;
  if (sentencepiece && out.eos < 0 && out.size() > 2) out.eos = 2;
  if (sentencepiece && out.unknown < 0) out.unknown = 0;
  if (out.model == "gpt2" && out.add_bos && out.bos < 0 && out.size() > 11) out.bos = 11;
  if (out.model == "t5" && out.eos < 0 && out.size() > 2) out.eos = 1;
  if (out.model == "t5" && out.unknown < 0 && out.size() > 2) out.unknown = 2;
  return absl::OkStatus();
}

std::vector<AddedToken> AddedTokensOf(const GgufVocabulary& in,
                                      const std::unordered_map<int32_t, int32_t>& flags,
                                      const std::unordered_map<int32_t, std::string>& extra) {
  std::vector<AddedToken> out;
  for (size_t i = 0; i < in.size(); ++i) {
    const PieceType type = in.types[i];
    if (type != PieceType::kControl && type != PieceType::kUserDefined &&
        type != PieceType::kUnknown)
      continue;
    if ((*in.tokens)[i].empty()) continue;
    AddedToken token;
    token.id = static_cast<int32_t>(i);
    token.content = (*in.tokens)[i];
    if (const auto text = extra.find(token.id); text != extra.end()) token.content = text->second;
    const auto entry = flags.find(token.id);
    const int32_t bits = entry == flags.end() ? 0 : entry->second;
    if (bits & kAddedNever) continue;
    if (bits & kAddedMetaspace) token.content = WithMetaspaces(token.content);
    token.single_word = bits & kAddedSingleWord;
    token.lstrip = bits & kAddedLstrip;
    token.rstrip = bits & kAddedRstrip;
    token.normalized = bits & kAddedNormalized;
    token.outside = bits & kAddedOutside;
    token.special = type != PieceType::kUserDefined && !(bits & kAddedOrdinary);
    out.push_back(std::move(token));
  }
  return out;
}

}  // namespace

absl::StatusOr<GgufVocabulary> ReadGgufVocabulary(const Metadata& metadata) {
  GgufVocabulary out;
  SMELT_ASSIGN_OR_RETURN(out.model, metadata.String("tokenizer.ggml.model"));
  SMELT_ASSIGN_OR_RETURN(out.pre, metadata.StringOr("tokenizer.ggml.pre", ""));
  SMELT_ASSIGN_OR_RETURN(out.tokens, metadata.Strings("tokenizer.ggml.tokens"));
  if (out.tokens->empty()) return Error(ErrorCode::kInvalidInput, "tokenizer.ggml.tokens is empty");
  if (out.tokens->size() > (1u << 30))
    return Error(ErrorCode::kInvalidInput, "tokenizer.ggml.tokens is too long");
  SMELT_RETURN_IF_ERROR(CheckOwnTokenizerKeys(metadata, out.size()));
  SMELT_RETURN_IF_ERROR(ReadTypes(metadata, out));
  SMELT_RETURN_IF_ERROR(CheckBytes(out));
  if (metadata.Has("tokenizer.ggml.scores")) {  // checked also where no score is used
    SMELT_RETURN_IF_ERROR(ReadScores(metadata, out.size()).status());
  }
  SMELT_RETURN_IF_ERROR(ReadIds(metadata, out));
  SMELT_RETURN_IF_ERROR(ReadAroundText(metadata, out));
  SMELT_ASSIGN_OR_RETURN(const auto flags, ReadAddedFlags(metadata, out.size()));
  SMELT_ASSIGN_OR_RETURN(const auto extra, ReadExtraTokens(metadata, out));
  out.added = AddedTokensOf(out, flags, extra);
  return out;
}

std::unordered_set<int32_t> EndsOf(const GgufVocabulary& vocabulary) {
  std::unordered_set<int32_t> ends(vocabulary.ends.begin(), vocabulary.ends.end());
  ends.insert({vocabulary.eos, vocabulary.eot, vocabulary.eom});
  ends.erase(-1);
  const bool harmony = std::ranges::all_of(kHarmonyEnds, [&](std::string_view end) {
    return std::ranges::find(*vocabulary.tokens, end) != vocabulary.tokens->end();
  });
  for (size_t i = 0; i < vocabulary.size(); ++i) {
    if (vocabulary.types[i] != PieceType::kNormal && LooksLikeEnd((*vocabulary.tokens)[i], harmony))
      ends.insert(static_cast<int32_t>(i));
  }
  for (const AddedToken& token : vocabulary.added) {
    if (LooksLikeEnd(token.content, harmony)) ends.insert(token.id);
  }
  return ends;
}

absl::StatusOr<std::vector<float>> ReadScores(const Metadata& metadata, size_t count) {
  const MetadataValue* value = metadata.Find("tokenizer.ggml.scores");
  if (value == nullptr) return Error(ErrorCode::kInvalidInput, "tokenizer.ggml.scores is missing");
  if (!value->is_array() || value->size() != count) {
    return Error(ErrorCode::kInvalidInput, "tokenizer.ggml.scores has ",
                 value->is_array() ? value->size() : 0, " entries for ", count, " tokens");
  }
  std::vector<float> scores;
  if (const auto* floats = value->get_if<std::vector<float>>(); floats != nullptr) {
    scores = *floats;  // as files have them
  } else {
    for (size_t i = 0; i < count; ++i)
      scores.push_back(static_cast<float>(value->FloatAt(i).value_or(NAN)));
  }
  const auto bad =
      std::find_if(scores.begin(), scores.end(), [](float score) { return !std::isfinite(score); });
  if (bad == scores.end()) return scores;
  return Error(ErrorCode::kInvalidInput, "tokenizer.ggml.scores of token ", bad - scores.begin(),
               " is not a finite number");
}

absl::Status NoUnknownToken(std::string_view text) {
  return BadOwnKey("smelt.tokenizer.unknown_token",
                   Cat("is \"", Escape(text, 60), "\", which is no token"));
}

absl::StatusOr<std::string> ReadBytes(const Metadata& metadata, const std::string& key) {
  const MetadataValue* value = metadata.Find(key);
  if (value == nullptr) return std::string();
  std::string bytes;
  if (const auto* u8 = value->get_if<std::vector<uint8_t>>()) {
    bytes.assign(u8->begin(), u8->end());
  } else if (const auto* i8 = value->get_if<std::vector<int8_t>>()) {
    bytes.assign(i8->begin(), i8->end());
  } else {
    return Error(ErrorCode::kInvalidInput, key, " is not a list of bytes");
  }
  return bytes;
}

}  // namespace smelt
