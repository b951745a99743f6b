#include "lib/text/gguf/spec_reader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_set>
#include <utility>

#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/text/components/byte_level.h"
#include "lib/text/components/pre_tokenizer.h"
#include "lib/text/gguf/pre_names.h"
#include "lib/text/gguf/space_prefix.h"
#include "lib/text/models/model.h"
#include "lib/text/spec/component_json.h"

namespace smelt {
namespace {

constexpr OwnKey<std::string> kNormalizer = "smelt.tokenizer.normalizer";
constexpr OwnKey<std::string> kPreTokenizer = "smelt.tokenizer.pre_tokenizer";
constexpr OwnKey<std::string> kDecoder = "smelt.tokenizer.decoder";

/// What the readers of all kinds share.
struct Keys {
  const Metadata& metadata;
  const GgufVocabulary& vocabulary;
  std::vector<const AddedToken*> added;  ///< by id; nullptr for other tokens

  Keys(const Metadata& m, const GgufVocabulary& v)
      : metadata(m), vocabulary(v), added(v.size(), nullptr) {
    for (const AddedToken& token : v.added) added[static_cast<size_t>(token.id)] = &token;
  }
  size_t size() const { return vocabulary.size(); }
  PieceType type(size_t id) const { return vocabulary.types[id]; }
  bool IsAdded(int32_t id) const { return added[static_cast<size_t>(id)] != nullptr; }
  bool IsOutside(int32_t id) const {
    return IsAdded(id) && added[static_cast<size_t>(id)]->outside;
  }
  const std::string& Text(int32_t id) const {
    const auto i = static_cast<size_t>(id);
    return added[i] != nullptr ? added[i]->content : (*vocabulary.tokens)[i];
  }
  bool IsPadding(size_t id) const {
    return type(id) == PieceType::kUnused && (*vocabulary.tokens)[id] == Cat("[PAD", id, "]");
  }
};

// The tokens that the model knows: those of which `known(id)` is true, the first of two with one
// text.
template <typename Known>
void FillTokens(const Keys& keys, const Known& known, PipelineSpec& spec) {
  size_t bytes = 0;
  for (const std::string& token : *keys.vocabulary.tokens) bytes += token.size();
  spec.tokens.Reserve(keys.size(), bytes);
  for (size_t i = 0; i < keys.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    if (!keys.IsOutside(id) && known(i)) spec.tokens.Add(id, keys.Text(id));
  }
}

absl::StatusOr<JsonValue> JsonAt(const Metadata& metadata, OwnKey<std::string> key) {
  SMELT_ASSIGN_OR_RETURN(const std::string text, ReadOwn(metadata, key, "null"));
  return ParseJsonValue(text, key);
}

// `usual`: where the key is missing, here and below.
absl::StatusOr<std::vector<NormalizerStep>> NormalizersOf(const Metadata& metadata,
                                                          std::vector<NormalizerStep> usual = {}) {
  if (!metadata.Has(kNormalizer)) return usual;
  SMELT_ASSIGN_OR_RETURN(const JsonValue json, JsonAt(metadata, kNormalizer));
  SMELT_ASSIGN_OR_RETURN(std::vector<NormalizerStep> steps,
                         ReadNormalizers(&json, kNormalizer, Members::kAny));
  // The rules of a Precompiled step lie under their own key.
  SMELT_ASSIGN_OR_RETURN(const std::string charsmap,
                         ReadBytes(metadata, "tokenizer.ggml.precompiled_charsmap"));
  for (NormalizerStep& step : steps) {
    Precompiled* precompiled = std::get_if<Precompiled>(&step);
    if (precompiled != nullptr && precompiled->charsmap.empty()) precompiled->charsmap = charsmap;
  }
  return steps;
}

absl::StatusOr<std::vector<PreTokenizerStep>> PreTokenizersOf(const Metadata& metadata,
                                                              std::vector<PreTokenizerStep> usual) {
  if (!metadata.Has(kPreTokenizer)) return usual;
  SMELT_ASSIGN_OR_RETURN(const JsonValue json, JsonAt(metadata, kPreTokenizer));
  return ReadPreTokenizers(&json, kPreTokenizer, Members::kAny);
}

absl::Status ReadUnknown(const Metadata& metadata, const TokenTable& tokens, BpeModel& model) {
  SMELT_ASSIGN_OR_RETURN(model.unk_token,
                         ReadOwn<std::string>(metadata, "smelt.tokenizer.unknown_token", ""));
  SMELT_ASSIGN_OR_RETURN(model.fuse_unk,
                         ReadOwn<bool>(metadata, "smelt.tokenizer.fuse_unknown", false));
  if (!model.unk_token.empty() && tokens.Find(model.unk_token) < 0)
    return NoUnknownToken(model.unk_token);
  return absl::OkStatus();
}

// tokenizer.ggml.merges: "left right", by rank. `possible(part)`: false where no symbol can ever be
// that text; such a merge never applies.
template <typename Possible>
absl::Status ReadMerges(const Metadata& metadata, const Possible& possible, MergeList& merges) {
  constexpr std::string_view kKey = "tokenizer.ggml.merges";
  if (!metadata.Has(kKey)) return absl::OkStatus();
  SMELT_ASSIGN_OR_RETURN(const std::vector<std::string>* texts, metadata.Strings(kKey));
  merges.Reserve(texts->size());
  for (size_t i = 0; i < texts->size(); ++i) {
    const auto parts = MergeParts((*texts)[i], /*spaces=*/true);
    if (!parts) {
      return Error(ErrorCode::kInvalidInput, kKey, ": entry ", i, " \"", Escape((*texts)[i], 40),
                   "\" has no space between two parts");
    }
    if (possible(parts->first) && possible(parts->second)) merges.Add(parts->first, parts->second);
  }
  return absl::OkStatus();
}

// ---- "gpt2": byte-level BPE

absl::Status ReadByteLevelBpe(const Keys& keys, PipelineSpec& spec) {
  const Metadata& metadata = keys.metadata;
  const std::string pre = keys.vocabulary.pre.empty() ? "default" : keys.vocabulary.pre;
  const PreTokenizerName* known = FindPipelineOf(pre);
  if (known == nullptr && !metadata.Has(kPreTokenizer)) {
    return Error(ErrorCode::kUnsupported, "tokenizer.ggml.pre is \"", Escape(pre, 40),
                 "\", a pre-tokenizer that we do not know; known are ", KnownPreTokenizers());
  }
  SMELT_ASSIGN_OR_RETURN(spec.normalizers, NormalizersOf(metadata));
  SMELT_ASSIGN_OR_RETURN(
      spec.pre_tokenizers,
      PreTokenizersOf(metadata, known == nullptr ? std::vector<PreTokenizerStep>() : known->steps));
  for (const bool added : {false, true}) {
    FillTokens(
        keys,
        [&](size_t i) {
          return keys.type(i) != PieceType::kUnused &&
                 keys.IsAdded(static_cast<int32_t>(i)) == added;
        },
        spec);
  }
  BpeModel model;
  SMELT_ASSIGN_OR_RETURN(model.ignore_merges,
                         ReadOwn<bool>(metadata, "smelt.tokenizer.ignore_merges",
                                       known != nullptr && known->ignore_merges));
  SMELT_RETURN_IF_ERROR(ReadUnknown(metadata, spec.tokens, model));
  if (!metadata.Has("tokenizer.ggml.merges")) {
    return Error(ErrorCode::kInvalidInput,
                 "metadata key tokenizer.ggml.merges is missing, without which texts would be "
                 "encoded byte by byte");
  }
  std::string bytes;
  SMELT_RETURN_IF_ERROR(ReadMerges(
      metadata,
      [&, on_bytes = LeavesBytes(spec.pre_tokenizers)](std::string_view part) {
        bytes.clear();
        return !on_bytes || AppendBytesOfLevel(bytes, part);
      },
      model.merges));
  spec.model = std::move(model);
  spec.decoders = {ByteLevelDecoder()};
  return absl::OkStatus();
}

// ---- "llama", "gemma4": SentencePiece-like BPE

absl::StatusOr<SpacePrefix> ReadSpacePrefix(const Keys& keys) {
  SMELT_ASSIGN_OR_RETURN(const bool prefix, keys.metadata.BoolOr("tokenizer.ggml.add_space_prefix",
                                                                 keys.vocabulary.model != kGemma4));
  SMELT_ASSIGN_OR_RETURN(const std::string rule,
                         ReadOwn<std::string>(keys.metadata, "smelt.tokenizer.space_prefix",
                                              prefix ? "always" : "none"));
  if (const std::optional<SpacePrefix> known = SpacePrefixOf(rule)) return *known;
  return BadOwnKey("smelt.tokenizer.space_prefix", Cat("is \"", Escape(rule, 40), "\""));
}

// SentencePiece's own normalization and decoding, of a vocabulary that was written from a model.
absl::Status ReadSentencePieceSteps(const Metadata& metadata, SentencePieceNormalizer rules,
                                    PipelineSpec& spec) {
  SMELT_ASSIGN_OR_RETURN(rules.escape_whitespaces,
                         ReadOwn<bool>(metadata, "smelt.tokenizer.escape_whitespaces", true));
  SMELT_ASSIGN_OR_RETURN(rules.whitespace_as_suffix,
                         ReadOwn<bool>(metadata, "smelt.tokenizer.whitespace_as_suffix", false));
  SentencePieceDecoder decoder;
  decoder.strips_space =
      rules.dummy_prefix != PrependScheme::kNever || rules.remove_extra_whitespaces;
  decoder.strips_spaces = rules.remove_extra_whitespaces;
  SMELT_ASSIGN_OR_RETURN(
      decoder.unknown_surface,
      ReadOwn<std::string>(metadata, "smelt.tokenizer.unknown_surface", decoder.unknown_surface));
  SMELT_ASSIGN_OR_RETURN(decoder.charsmap,
                         ReadOwnBytes(metadata, "smelt.tokenizer.denormalizer_charsmap"));
  spec.normalizers.emplace_back(std::move(rules));
  spec.decoders = {std::move(decoder)};
  return absl::OkStatus();
}

// Where scores cannot say what the tokenizer's list of merges does, ours holds them as ids: left,
// right, result.
absl::Status ReadListedMerges(const Keys& keys, MergeList& merges) {
  constexpr OwnKey<std::vector<int32_t>> kKey = "smelt.tokenizer.merges";
  SMELT_ASSIGN_OR_RETURN(
      const std::vector<int32_t> ids,
      ReadOwnList<std::vector<int32_t>>(keys.metadata, kKey, {.tokens = keys.size()}));
  for (size_t i = 0; i + 2 < ids.size(); i += 3) {
    const std::string &left = keys.Text(ids[i]), &right = keys.Text(ids[i + 1]);
    if (Cat(left, right) != keys.Text(ids[i + 2])) {
      return BadOwnKey(kKey, Cat("makes \"", Escape(keys.Text(ids[i + 2]), 40), "\" of \"",
                                 Escape(left, 40), "\" and \"", Escape(right, 40), "\""));
    }
    merges.Add(left, right);
  }
  return absl::OkStatus();
}

// Pieces with the types that SentencePiece would give them: what a GGUF calls user-defined are
// added tokens, of type `added`; what the model itself does lies under a key of ours.
absl::StatusOr<PieceModel> ReadPieces(const Keys& keys, PieceType added, const PipelineSpec& spec) {
  PieceModel model;
  SMELT_ASSIGN_OR_RETURN(model.scores, ReadScores(keys.metadata, keys.size()));
  SMELT_ASSIGN_OR_RETURN(const std::vector<double> better,
                         ReadOwnList<std::vector<double>>(keys.metadata, "smelt.tokenizer.scores",
                                                          {.tokens = keys.size()}));
  std::copy(better.begin(), better.end(), model.scores.begin());
  for (size_t i = 0; i < keys.size(); ++i) {
    const PieceType type = keys.type(i);
    model.types.push_back(type == PieceType::kUserDefined ? added : type);
    if (!spec.tokens.Has(static_cast<int32_t>(i))) model.scores[i] = 0;
  }
  SMELT_ASSIGN_OR_RETURN(
      const std::vector<int32_t> user_defined,
      ReadOwnList<std::vector<int32_t>>(keys.metadata, "smelt.tokenizer.user_defined",
                                        {.tokens = keys.size()}));
  for (const int32_t id : user_defined)
    model.types[static_cast<size_t>(id)] = PieceType::kUserDefined;
  model.unknown = keys.vocabulary.unknown;
  return model;
}

// What is done to spaces. `native`: by SentencePiece itself.
absl::Status ReadSpaceSteps(const Keys& keys, bool native, PipelineSpec& spec) {
  const Metadata& metadata = keys.metadata;
  SMELT_ASSIGN_OR_RETURN(const SpacePrefix prefix, ReadSpacePrefix(keys));
  if (!native) {
    SMELT_ASSIGN_OR_RETURN(const bool split,
                           ReadOwn<bool>(metadata, "smelt.tokenizer.split_blanks", false));
    AddSpaceSteps(prefix, split, spec);
    return absl::OkStatus();
  }
  SentencePieceNormalizer rules;
  SMELT_ASSIGN_OR_RETURN(
      rules.remove_extra_whitespaces,
      ReadOwn<bool>(metadata, "smelt.tokenizer.remove_extra_whitespaces", false));
  if (prefix == SpacePrefix::kNone) rules.dummy_prefix = PrependScheme::kNever;
  if (prefix == SpacePrefix::kFirst) rules.dummy_prefix = PrependScheme::kFirst;
  SMELT_ASSIGN_OR_RETURN(rules.charsmap,
                         ReadOwnBytes(metadata, "smelt.tokenizer.precompiled_charsmap"));
  return ReadSentencePieceSteps(metadata, std::move(rules), spec);
}

// Merging by a list, instead of by the scores of pieces.
absl::StatusOr<BpeModel> ReadMetaspaceBpe(const Keys& keys, const TokenTable& tokens) {
  BpeModel model;
  model.byte_fallback = true;
  SMELT_RETURN_IF_ERROR(ReadUnknown(keys.metadata, tokens, model));
  if (keys.vocabulary.model == kGemma4) {
    for (const char* name : {"merges", "token_type", "bos_token_id"}) {
      const std::string key = Cat("tokenizer.ggml.", name);
      if (keys.metadata.Has(key)) continue;
      return Error(ErrorCode::kInvalidInput, "metadata key ", key,
                   " is missing, without which a vocabulary of the kind gemma4 gives other tokens");
    }
    SMELT_RETURN_IF_ERROR(ReadMerges(
        keys.metadata, [](std::string_view) { return true; }, model.merges));
  } else {
    SMELT_RETURN_IF_ERROR(ReadListedMerges(keys, model.merges));
  }
  return model;
}

absl::Status ReadSentencePieceBpe(const Keys& keys, PipelineSpec& spec) {
  const Metadata& metadata = keys.metadata;
  SMELT_ASSIGN_OR_RETURN(const std::string source,
                         ReadOwn<std::string>(metadata, "smelt.tokenizer.source", ""));
  if (!source.empty() && source != "sentencepiece")
    return BadOwnKey("smelt.tokenizer.source",
                     Cat("is \"", Escape(source, 40), "\", which no vocabulary of this kind has"));
  const bool native = !source.empty();
  SMELT_ASSIGN_OR_RETURN(spec.normalizers, NormalizersOf(metadata));
  SMELT_RETURN_IF_ERROR(ReadSpaceSteps(keys, native, spec));
  FillTokens(
      keys,
      [&](size_t i) { return native ? !keys.IsPadding(i) : keys.type(i) != PieceType::kUnused; },
      spec);
  if (keys.vocabulary.model == kGemma4 || metadata.Has(OwnKeyName("smelt.tokenizer.merges"))) {
    SMELT_ASSIGN_OR_RETURN(spec.model, ReadMetaspaceBpe(keys, spec.tokens));
    return absl::OkStatus();
  }
  SMELT_ASSIGN_OR_RETURN(PieceModel model, ReadPieces(keys, PieceType::kNormal, spec));
  SMELT_ASSIGN_OR_RETURN(
      model.byte_fallback,
      ReadOwn<bool>(metadata, "smelt.tokenizer.byte_fallback", ByteTokens(spec.tokens).HasAny()));
  spec.model = std::move(model);
  return absl::OkStatus();
}

// ---- "t5": Unigram

bool HasEveryByte(const Keys& keys, const TokenTable& tokens) {
  const ByteTokens bytes(tokens);
  return std::all_of(bytes.ids().begin(), bytes.ids().end(), [&](int32_t id) {
    return id >= 0 && keys.type(static_cast<size_t>(id)) == PieceType::kByte;
  });
}

absl::Status ReadUnigram(const Keys& keys, PipelineSpec& spec) {
  const Metadata& metadata = keys.metadata;
  SMELT_ASSIGN_OR_RETURN(spec.normalizers, NormalizersOf(metadata));
  SMELT_ASSIGN_OR_RETURN(spec.pre_tokenizers, PreTokenizersOf(metadata, {Metaspace()}));
  FillTokens(
      keys, [&](size_t i) { return keys.type(i) != PieceType::kUnused; }, spec);
  UnigramModel model;
  SMELT_ASSIGN_OR_RETURN(const std::vector<float> scores, ReadScores(metadata, keys.size()));
  model.scores.assign(scores.begin(), scores.end());
  SMELT_ASSIGN_OR_RETURN(const std::vector<double> exact,
                         ReadOwnList<std::vector<double>>(metadata, "smelt.tokenizer.scores",
                                                          {.tokens = keys.size()}));
  std::copy(exact.begin(), exact.end(), model.scores.begin());
  double lowest = INFINITY;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!spec.tokens.Has(static_cast<int32_t>(i))) model.scores[i] = 0;
    if (keys.type(i) == PieceType::kNormal) lowest = std::min(lowest, model.scores[i]);
  }
  SMELT_ASSIGN_OR_RETURN(
      model.unknown_score,
      ReadOwn<double>(metadata, "smelt.tokenizer.unknown_score", lowest - kUnknownPenalty));
  SMELT_ASSIGN_OR_RETURN(
      model.byte_fallback,
      ReadOwn<bool>(metadata, "smelt.tokenizer.byte_fallback", HasEveryByte(keys, spec.tokens)));
  model.unk_id = keys.vocabulary.unknown;
  if (model.byte_fallback) spec.decoders.emplace_back(ByteFallback());
  spec.decoders.emplace_back(MetaspaceDecoder());
  spec.model = std::move(model);
  return absl::OkStatus();
}

absl::Status ReadSentencePieceUnigram(const Keys& keys, PipelineSpec& spec) {
  const Metadata& metadata = keys.metadata;
  SMELT_ASSIGN_OR_RETURN(spec.normalizers, NormalizersOf(metadata));
  SentencePieceNormalizer rules;
  SMELT_ASSIGN_OR_RETURN(const bool prefix,
                         metadata.BoolOr("tokenizer.ggml.add_space_prefix", true));
  if (!prefix) rules.dummy_prefix = PrependScheme::kNever;
  SMELT_ASSIGN_OR_RETURN(rules.remove_extra_whitespaces,
                         metadata.BoolOr("tokenizer.ggml.remove_extra_whitespaces", true));
  SMELT_ASSIGN_OR_RETURN(rules.charsmap,
                         ReadBytes(metadata, "tokenizer.ggml.precompiled_charsmap"));
  SMELT_RETURN_IF_ERROR(ReadSentencePieceSteps(metadata, std::move(rules), spec));
  FillTokens(
      keys, [&](size_t i) { return !keys.IsPadding(i); }, spec);
  SMELT_ASSIGN_OR_RETURN(PieceModel model, ReadPieces(keys, PieceType::kControl, spec));
  model.algorithm = SentencePieceModel::Type::kUnigram;
  float lowest = INFINITY;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (model.types[i] == PieceType::kNormal) lowest = std::min(lowest, model.scores[i]);
  }
  SMELT_ASSIGN_OR_RETURN(const double unknown_score,
                         ReadOwn<double>(metadata, "smelt.tokenizer.unknown_score",
                                         static_cast<double>(lowest - kUnknownPenalty)));
  if (!std::isfinite(unknown_score))
    return Error(ErrorCode::kInvalidInput, "tokenizer.ggml.token_type has no normal token");
  model.unknown_score = static_cast<float>(unknown_score);
  SMELT_ASSIGN_OR_RETURN(
      model.byte_fallback,
      ReadOwn<bool>(metadata, "smelt.tokenizer.byte_fallback", HasEveryByte(keys, spec.tokens)));
  spec.model = std::move(model);
  return absl::OkStatus();
}

// ---- "bert": WordPiece

absl::Status ReadWordPiece(const Keys& keys, PipelineSpec& spec) {
  const Metadata& metadata = keys.metadata;
  WordPieceModel model;
  SMELT_ASSIGN_OR_RETURN(const bool lower,
                         metadata.BoolOr("tokenizer.ggml.normalizer.lowercase", true));
  SMELT_ASSIGN_OR_RETURN(
      spec.normalizers,
      NormalizersOf(metadata, {BertNormalizer{.strip_accents = lower, .lowercase = lower}}));
  SMELT_ASSIGN_OR_RETURN(spec.pre_tokenizers, PreTokenizersOf(metadata, {BertPreTokenizer()}));
  SMELT_ASSIGN_OR_RETURN(const std::vector<int32_t> marked,
                         ReadOwnList<std::vector<int32_t>>(
                             metadata, "smelt.tokenizer.continuations", {.tokens = keys.size()}));
  const std::unordered_set<int32_t> continuations(marked.begin(), marked.end());
  // What begins a word has U+2581 before it in the file, what continues one has lost its mark.
  for (size_t i = 0; i < keys.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    if (keys.type(i) == PieceType::kUnused || keys.IsOutside(id)) continue;
    std::string_view text = keys.Text(id);
    const bool normal = keys.type(i) == PieceType::kNormal;
    if (normal && text.starts_with(kMetaspace) && !continuations.contains(id)) {
      text.remove_prefix(kMetaspace.size());
      spec.tokens.Add(id, text);
    } else {
      spec.tokens.Add(id, normal ? Cat(model.continuing_subword_prefix, text) : text);
    }
  }
  SMELT_ASSIGN_OR_RETURN(std::string unknown,
                         ReadOwn<std::string>(metadata, "smelt.tokenizer.unknown_token", ""));
  if ((unknown.empty() || spec.tokens.Find(unknown) < 0) && keys.vocabulary.unknown >= 0)
    unknown = spec.tokens.Text(keys.vocabulary.unknown);
  if (unknown.empty()) {
    return Error(ErrorCode::kInvalidInput,
                 "tokenizer.ggml.unknown_token_id is missing, which WordPiece needs");
  }
  model.unk_token = std::move(unknown);
  SMELT_ASSIGN_OR_RETURN(model.max_input_chars_per_word,
                         ReadOwn<uint32_t>(metadata, "smelt.tokenizer.max_word_chars", 100));
  WordPieceDecoder decoder;
  SMELT_ASSIGN_OR_RETURN(decoder.cleanup, ReadOwn<bool>(metadata, "smelt.tokenizer.cleanup", true));
  spec.decoders = {std::move(decoder)};
  spec.model = std::move(model);
  return absl::OkStatus();
}

absl::Status ReadKind(const Keys& keys, PipelineSpec& spec) {
  const std::string& model = keys.vocabulary.model;
  if (model == "gpt2") return ReadByteLevelBpe(keys, spec);
  if (model == "llama" || model == kGemma4) return ReadSentencePieceBpe(keys, spec);
  if (model == "bert") return ReadWordPiece(keys, spec);
  if (model != "t5") {
    return Error(ErrorCode::kUnsupported, "tokenizer.ggml.model is \"", Escape(model, 40),
                 "\"; gpt2, llama, gemma4, t5 and bert are supported");
  }
  SMELT_ASSIGN_OR_RETURN(
      const std::string source,
      ReadOwn<std::string>(keys.metadata, "smelt.tokenizer.source", "sentencepiece"));
  if (source == "pipeline") return ReadUnigram(keys, spec);
  return ReadSentencePieceUnigram(keys, spec);
}

}  // namespace

absl::StatusOr<PipelineSpec> ReadSpec(const Metadata& metadata, const GgufVocabulary& vocabulary) {
  PipelineSpec spec;
  SMELT_RETURN_IF_ERROR(ReadKind(Keys(metadata, vocabulary), spec));
  if (metadata.Has(kDecoder)) {
    SMELT_ASSIGN_OR_RETURN(const JsonValue json, JsonAt(metadata, kDecoder));
    SMELT_ASSIGN_OR_RETURN(spec.decoders, ReadDecoders(&json, kDecoder));
  }
  spec.added = vocabulary.added;
  const auto one = [](bool wanted, int32_t id) {
    return wanted && id >= 0 ? std::vector<int32_t>{id} : std::vector<int32_t>();
  };
  spec.post_processors = {TemplateAround(one(vocabulary.add_bos, vocabulary.bos),
                                         one(vocabulary.add_eos, vocabulary.eos))};
  return spec;
}

}  // namespace smelt
