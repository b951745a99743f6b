#include "lib/text/spec/component_json.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <span>
#include <utility>

#include "lib/base/status.h"
#include "lib/text/spec/json_members.h"
#include "lib/text/spec/member_io.h"

namespace smelt {
namespace {

using member_io::Base64;
using member_io::Character;
using member_io::MemberReader;
using member_io::MemberWriter;
using member_io::Need;

template <typename Io, typename Row>
void VisitMembers(Io&, Row&) {}  // of most rows: there are none

template <typename Io>
void VisitMembers(Io& io, BertNormalizer& r) {
  io("clean_text", r.clean_text);
  io("handle_chinese_chars", r.handle_chinese_chars);
  std::optional<bool> accents;  // null: as lowercase
  if (!Io::kReads) accents = r.strip_accents;
  io("strip_accents", accents, Need::kMayBeNull);
  io("lowercase", r.lowercase);
  r.strip_accents = accents.value_or(r.lowercase);
}
template <typename Io>
void VisitMembers(Io& io, Strip& r) {
  io("strip_left", r.left);
  io("strip_right", r.right);
}
template <typename Io>
void VisitMembers(Io& io, Prepend& r) {
  io("prepend", r.text);
}
template <typename Io>
void VisitMembers(Io& io, Replace& r) {
  io("pattern", r.pattern);
  io("content", r.content);
}
template <typename Io>
void VisitMembers(Io& io, Precompiled& r) {
  if (Io::kReads || !r.charsmap.empty()) io("precompiled_charsmap", Base64{r.charsmap});
}

template <typename Io>
void VisitMembers(Io& io, ByteLevel& r) {
  io("add_prefix_space", r.add_prefix_space);
  io("use_regex", r.use_regex, Need::kMayLack);
}
template <typename Io>
void VisitMembers(Io& io, Split& r) {
  io("pattern", r.pattern);
  io("behavior", r.behavior);
  io("invert", r.invert);
}
// Files of the time before "prepend_scheme" say it with "add_prefix_space".
void VisitScheme(MemberWriter& io, const PrependScheme& scheme) { io("prepend_scheme", scheme); }
void VisitScheme(MemberReader& io, PrependScheme& scheme) {
  std::optional<PrependScheme> said;
  bool prefix = true;
  io("prepend_scheme", said, Need::kMayLack);
  io("add_prefix_space", prefix, Need::kMayBeNull);
  scheme = said.value_or(prefix ? PrependScheme::kAlways : PrependScheme::kNever);
}
template <typename Io>
void VisitMembers(Io& io, Metaspace& r) {
  io("replacement", Character{r.replacement});
  VisitScheme(io, r.scheme);
  io("split", r.split, Need::kMayBeNull);
}
template <typename Io>
void VisitMembers(Io& io, Digits& r) {
  io("individual_digits", r.individual);
}
template <typename Io>
void VisitMembers(Io& io, Punctuation& r) {
  io("behavior", r.behavior, Need::kMayLack);
}
template <typename Io>
void VisitMembers(Io& io, CharDelimiterSplit& r) {
  io("delimiter", Character{r.delimiter});
}

template <typename Io>
void VisitMembers(Io& io, WordPieceDecoder& r) {
  io("prefix", r.prefix);
  io("cleanup", r.cleanup);
}
template <typename Io>
void VisitMembers(Io& io, MetaspaceDecoder& r) {
  io("replacement", Character{r.replacement});
  PrependScheme scheme = r.drops_first ? PrependScheme::kAlways : PrependScheme::kNever;
  VisitScheme(io, scheme);
  r.drops_first = scheme != PrependScheme::kNever;
  bool split = true;
  io("split", split, Need::kMayBeNull);
}
template <typename Io>
void VisitMembers(Io& io, StripDecoder& r) {
  io("content", Character{r.content});
  io("start", r.start);
  io("stop", r.stop);
}
template <typename Io>
void VisitMembers(Io& io, BpeDecoder& r) {
  io("suffix", r.suffix);
}

template <typename Io>
void VisitMembers(Io& io, BpeModel& r) {
  double dropout = 0;
  io("dropout", dropout, Need::kMayBeNull);
  if (dropout != 0) {
    io.Fail(Error(ErrorCode::kUnsupported, io.where(), ": \"dropout\" is ", dropout,
                  ", which makes ids random; null, as in a tokenizer that is used and not trained, "
                  "is supported"));
  }
  io("unk_token", r.unk_token, Need::kMayBeNull);
  io("continuing_subword_prefix", r.continuing_subword_prefix, Need::kMayBeNull);
  io("end_of_word_suffix", r.end_of_word_suffix, Need::kMayBeNull);
  io("fuse_unk", r.fuse_unk, Need::kMayBeNull);
  io("byte_fallback", r.byte_fallback, Need::kMayBeNull);
  io("ignore_merges", r.ignore_merges, Need::kMayBeNull);
}
template <typename Io>
void VisitMembers(Io& io, UnigramModel& r) {
  std::optional<size_t> unknown;
  io("unk_id", unknown, Need::kMayBeNull);
  if (unknown) r.unk_id = static_cast<int32_t>(std::min<size_t>(*unknown, INT32_MAX));
  io("byte_fallback", r.byte_fallback, Need::kMayLack);
}
template <typename Io>
void VisitMembers(Io& io, WordPieceModel& r) {
  io("unk_token", r.unk_token);
  io("continuing_subword_prefix", r.continuing_subword_prefix);
  io("max_input_chars_per_word", r.max_input_chars_per_word);
}
template <typename Io>
void VisitMembers(Io& io, WordLevelModel& r) {
  io("unk_token", r.unk_token);
}

// ---- the types of each component

template <typename Step>
struct Type {
  std::string_view name;
  Step row;  // with the library's defaults
};

template <typename T>
struct Named {
  std::string_view name;
  T row;
};
template <typename T>
Named(std::string_view, T) -> Named<T>;
template <typename T>
Named(const char*, T) -> Named<T>;

template <typename... T>
struct Kinds {};

template <typename T, typename... Given>
constexpr bool kIsOneOf = (std::is_same_v<T, Given> || ...);
template <typename Step, typename... Given>
constexpr bool kCovers = false;
template <typename... T, typename... Given>
constexpr bool kCovers<std::variant<T...>, Given...> = (kIsOneOf<T, Given...> && ...);

// The rows of a component. Every kind of step has one, but for those that no tokenizer.json has.
template <typename Step, typename... Elsewhere, typename... Rows>
std::vector<Type<Step>> TypesOf(Kinds<Elsewhere...>, Named<Rows>... rows) {
  static_assert(kCovers<Step, Elsewhere..., Rows...>, "a kind of step has no name");
  return {Type<Step>{rows.name, Step(std::move(rows.row))}...};
}

// `part`: the member of a tokenizer.json; `list`: what holds the steps of a Sequence.
template <typename Step>
struct Component {
  std::string_view part, noun, list;
  std::vector<Type<Step>> types;
};

const Component<NormalizerStep>& ComponentOf(const NormalizerStep*) {
  static const Component<NormalizerStep> component = {
      "normalizer", "normalizer", "normalizers",
      TypesOf<NormalizerStep>(
          Kinds<SentencePieceNormalizer>(), Named{"NFC", UnicodeForm{NormalForm::kNfc}},
          Named{"NFD", UnicodeForm{NormalForm::kNfd}},
          Named{"NFKC", UnicodeForm{NormalForm::kNfkc}},
          Named{"NFKD", UnicodeForm{NormalForm::kNfkd}}, Named{"Lowercase", Lowercase()},
          Named{"Nmt", Nmt()}, Named{"StripAccents", StripAccents()},
          Named{"BertNormalizer", BertNormalizer()}, Named{"Strip", Strip()},
          Named{"Prepend", Prepend()}, Named{"Replace", Replace()},
          Named{"Precompiled", Precompiled()})};
  return component;
}
const Component<PreTokenizerStep>& ComponentOf(const PreTokenizerStep*) {
  static const Component<PreTokenizerStep> component = {
      "pre_tokenizer", "pre-tokenizer", "pretokenizers",
      TypesOf<PreTokenizerStep>(Kinds<>(), Named{"ByteLevel", ByteLevel()}, Named{"Split", Split()},
                                Named{"Metaspace", Metaspace()}, Named{"Digits", Digits()},
                                Named{"Punctuation", Punctuation()},
                                Named{"Whitespace", Whitespace()},
                                Named{"WhitespaceSplit", WhitespaceSplit()},
                                Named{"CharDelimiterSplit", CharDelimiterSplit()},
                                Named{"BertPreTokenizer", BertPreTokenizer()})};
  return component;
}
const Component<DecoderStep>& ComponentOf(const DecoderStep*) {
  static const Component<DecoderStep> component = {
      "decoder", "decoder", "decoders",
      TypesOf<DecoderStep>(Kinds<JoinWithSpaces, SentencePieceDecoder>(),
                           Named{"ByteLevel", ByteLevelDecoder()},
                           Named{"ByteFallback", ByteFallback()}, Named{"Fuse", Fuse()},
                           Named{"WordPiece", WordPieceDecoder()},
                           Named{"Metaspace", MetaspaceDecoder()}, Named{"Strip", StripDecoder()},
                           Named{"BPEDecoder", BpeDecoder()}, Named{"Replace", Replace()})};
  return component;
}

template <typename Step>
absl::Status AddSteps(const JsonValue& json, std::string_view place, Members members,
                      std::vector<Step>& out) {
  const Component<Step>& component = ComponentOf(static_cast<const Step*>(nullptr));
  const std::string type = TextOf(json, "type");
  if (type == "Sequence") {
    SMELT_ASSIGN_OR_RETURN(const JsonValue::Array* steps,
                           StepsOfSequence(json, component.part, component.list, place));
    for (const JsonValue& step : *steps) SMELT_RETURN_IF_ERROR(AddSteps(step, place, members, out));
    return absl::OkStatus();
  }
  const auto known = std::find_if(component.types.begin(), component.types.end(),
                                  [&](const Type<Step>& row) { return row.name == type; });
  if (known == component.types.end()) {
    return Error(ErrorCode::kUnsupported, place, ": the ", component.noun, " \"", Escape(type),
                 "\" is not known");
  }
  Step step = known->row;
  MemberReader io(json, Cat(place, ": ", component.part, " ", type), members);
  std::visit([&](auto& row) { VisitMembers(io, row); }, step);
  SMELT_RETURN_IF_ERROR(io.status());
  out.push_back(std::move(step));
  return absl::OkStatus();
}

template <typename Step>
absl::StatusOr<std::vector<Step>> ReadSteps(const JsonValue* json, std::string_view place,
                                            Members members) {
  const Component<Step>& component = ComponentOf(static_cast<const Step*>(nullptr));
  std::vector<Step> out;
  SMELT_RETURN_IF_ERROR(CheckComponent(json, component.part, place));
  if (json != nullptr && !json->is_null())
    SMELT_RETURN_IF_ERROR(AddSteps(*json, place, members, out));
  return out;
}

// Unicode's forms are one kind of step with four names.
template <typename Step>
bool IsOfType(const Type<Step>& type, const Step& step) {
  if constexpr (std::is_same_v<Step, NormalizerStep>) {
    if (std::holds_alternative<UnicodeForm>(step)) return type.row == step;
  }
  return type.row.index() == step.index();
}

template <typename Step>
std::string_view NameOf(const Step& step) {
  const std::vector<Type<Step>>& types = ComponentOf(&step).types;
  const auto found = std::find_if(types.begin(), types.end(),
                                  [&](const Type<Step>& type) { return IsOfType(type, step); });
  return found == types.end() ? "SentencePiece" : found->name;  // no tokenizer.json has it
}

template <typename Step>
std::string NamesOf(const std::vector<Step>& steps) {
  std::string out;
  for (const Step& step : steps) out += Cat(out.empty() ? "" : ", ", NameOf(step));
  return out;
}

template <typename Step>
std::string StepsToJson(const std::vector<Step>& steps) {
  std::string out;
  for (Step step : steps) {
    MemberWriter io(NameOf(step));
    std::visit([&](auto& row) { VisitMembers(io, row); }, step);
    out += Cat(out.empty() ? "" : ",", io.Take());
  }
  if (steps.size() == 1) return out;
  return Cat(R"({"type":"Sequence",")", ComponentOf(static_cast<const Step*>(nullptr)).list,
             R"(":[)", out, "]}");
}

}  // namespace

absl::StatusOr<std::vector<NormalizerStep>> ReadNormalizers(const JsonValue* json,
                                                            std::string_view place,
                                                            Members members) {
  return ReadSteps<NormalizerStep>(json, place, members);
}

absl::StatusOr<std::vector<PreTokenizerStep>> ReadPreTokenizers(const JsonValue* json,
                                                                std::string_view place,
                                                                Members members) {
  return ReadSteps<PreTokenizerStep>(json, place, members);
}

absl::StatusOr<std::vector<DecoderStep>> ReadDecoders(const JsonValue* json,
                                                      std::string_view place) {
  SMELT_ASSIGN_OR_RETURN(std::vector<DecoderStep> steps,
                         ReadSteps<DecoderStep>(json, place, Members::kAll));
  if (json == nullptr || json->is_null()) steps.emplace_back(JoinWithSpaces());
  return steps;
}

absl::StatusOr<TokenizerModel> ReadModelMembers(const JsonValue& json, TokenizerModel kind,
                                                std::string_view place) {
  static constexpr std::string_view kNames[] = {"BPE", "Unigram", "WordPiece", "WordLevel",
                                                "SentencePiece"};
  static_assert(std::size(kNames) == std::variant_size_v<TokenizerModel>);
  MemberReader io(json, Cat(place, ": model ", kNames[kind.index()]), Members::kAll);
  std::visit([&](auto& row) { VisitMembers(io, row); }, kind);
  SMELT_RETURN_IF_ERROR(io.status());
  return kind;
}

absl::StatusOr<AddedToken> ReadAddedToken(const JsonValue& json, std::string_view place,
                                          Members members) {
  if (!json.is_object() || (members == Members::kAny && json.Find("content") == nullptr))
    return Error(ErrorCode::kInvalidInput, place, ": an added token has no text \"content\"");
  AddedToken token;
  MemberReader io(json, Cat(place, ": added_tokens"), members);
  size_t id = 0;
  std::optional<bool> normalized;
  io("id", id);
  io("content", token.content);
  io("single_word", token.single_word);
  io("lstrip", token.lstrip);
  io("rstrip", token.rstrip);
  io("normalized", normalized);
  io("special", token.special);
  SMELT_RETURN_IF_ERROR(io.status());
  if (members == Members::kAll) token.id = static_cast<int32_t>(std::min<size_t>(id, INT32_MAX));
  token.normalized = normalized.value_or(!token.special);
  return token;
}

std::string ToJson(const std::vector<NormalizerStep>& steps) { return StepsToJson(steps); }
std::string ToJson(const std::vector<PreTokenizerStep>& steps) { return StepsToJson(steps); }

std::string ToJson(const std::vector<DecoderStep>& steps) {
  const bool none = steps == std::vector<DecoderStep>{JoinWithSpaces()};
  return none ? "null" : StepsToJson(steps);
}

std::string TypeNames(const std::vector<NormalizerStep>& steps) { return NamesOf(steps); }
std::string TypeNames(const std::vector<DecoderStep>& steps) { return NamesOf(steps); }

}  // namespace smelt
