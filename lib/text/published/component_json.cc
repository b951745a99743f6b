#include "lib/text/published/component_json.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <span>
#include <utility>

#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/text/published/base64.h"
#include "lib/text/published/json_members.h"

namespace smelt {
namespace {

// Whether a member may be absent, or null as well.
enum class Need { kRequired, kMayLack, kMayBeNull };

// ---- the kinds of values

template <typename T>
struct Word {
  std::string_view name;
  T value;
};
constexpr Word<SplitBehavior> kBehaviors[] = {
    {"Removed", SplitBehavior::kRemoved},
    {"Isolated", SplitBehavior::kIsolated},
    {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
    {"MergedWithNext", SplitBehavior::kMergedWithNext},
    {"Contiguous", SplitBehavior::kContiguous}};
constexpr Word<PrependScheme> kSchemes[] = {{"always", PrependScheme::kAlways},
                                            {"never", PrependScheme::kNever},
                                            {"first", PrependScheme::kFirst}};
std::span<const Word<SplitBehavior>> WordsOf(SplitBehavior) { return kBehaviors; }
std::span<const Word<PrependScheme>> WordsOf(PrependScheme) { return kSchemes; }

// Members that are not just their type.
struct Character {
  std::string& text;
};
struct Base64 {
  std::string& bytes;
};

// Take: false where the value is of another type. Wanted: what it should be.
bool Take(const JsonValue& value, bool& out) {
  if (const bool* flag = value.as_bool()) return out = *flag, true;
  return false;
}
std::string Wanted(bool) { return "true or false"; }

bool Take(const JsonValue& value, std::string& out) {
  if (const std::string* text = value.as_string()) return out = *text, true;
  return false;
}
std::string Wanted(const std::string&) { return "a text"; }

bool Take(const JsonValue& value, Character out) {
  const std::string* text = value.as_string();
  if (text == nullptr || text->empty() || DecodeUtf8(*text).length != text->size()) return false;
  out.text = *text;
  return true;
}
std::string Wanted(Character) { return "a text of one character"; }

bool Take(const JsonValue& value, Base64 out) {
  if (!value.is_string()) return false;
  absl::StatusOr<std::string> bytes = DecodeBase64(*value.as_string());
  if (bytes.ok()) out.bytes = *std::move(bytes);
  return bytes.ok();
}
std::string Wanted(Base64) { return "a text in base64"; }

bool Take(const JsonValue& value, size_t& out) {
  const std::optional<int64_t> number = value.as_int();
  if (!number || *number < 0) return false;
  out = static_cast<size_t>(*number);
  return true;
}
std::string Wanted(size_t) { return "a whole number that is not negative"; }

bool Take(const JsonValue& value, double& out) {
  if (const std::optional<double> number = value.as_double()) return out = *number, true;
  return false;
}
std::string Wanted(double) { return "a number"; }

template <typename T>
requires std::is_enum_v<T>
bool Take(const JsonValue& value, T& out) {
  if (!value.is_string()) return false;
  for (const Word<T>& word : WordsOf(T())) {
    if (word.name == *value.as_string()) return out = word.value, true;
  }
  return false;
}
template <typename T>
requires std::is_enum_v<T> std::string Wanted(T) {
  std::string out = "one of";
  for (const Word<T>& word : WordsOf(T())) out += Cat(" ", word.name);
  return out;
}

bool Take(const JsonValue& value, Pattern& out) {
  const JsonValue* regex = value.FindNonNull("Regex");
  const JsonValue* text = value.FindNonNull("String");
  const JsonValue* held = text != nullptr ? text : regex;
  if (held == nullptr || !held->is_string()) return false;
  out = {.text = *held->as_string(), .is_regex = text == nullptr};
  return true;
}
std::string Wanted(const Pattern&) { return "an object with a String or a Regex"; }

template <typename T>
bool Take(const JsonValue& value, std::optional<T>& out) {
  return Take(value, out.emplace());
}
template <typename T>
std::string Wanted(const std::optional<T>&) {
  return Wanted(T());
}

void Put(std::string& out, bool value) { out += value ? "true" : "false"; }
void Put(std::string& out, const std::string& value) { out += JsonQuote(value); }
void Put(std::string& out, Character value) { out += JsonQuote(value.text); }
void Put(std::string& out, Base64 value) { out += JsonQuote(EncodeBase64(value.bytes)); }
template <typename T>
requires std::is_enum_v<T>
void Put(std::string& out, T value) {
  for (const Word<T>& word : WordsOf(value)) {
    if (word.value == value) out += JsonQuote(word.name);
  }
}
void Put(std::string& out, const Pattern& value) {
  out += Cat(value.is_regex ? R"({"Regex":)" : R"({"String":)", JsonQuote(value.text), "}");
}
template <typename T>
void Put(std::string& out, const std::optional<T>& value) {
  if (value) {
    Put(out, *value);
  } else {
    out += "null";
  }
}

// ---- members, visited for reading and for writing

class MemberReader {
 public:
  static constexpr bool kReads = true;
  MemberReader(const JsonValue& component, std::string where, Members members)
      : component_(component), where_(std::move(where)), members_(members) {}

  template <typename T>
  void operator()(std::string_view name, T&& field, Need need = Need::kRequired) {
    if (!status_.ok()) return;
    const JsonValue* value = component_.Find(name);
    if (value == nullptr) {
      if (need == Need::kRequired && members_ == Members::kAll)
        status_ =
            Error(ErrorCode::kInvalidInput, where_, " has no \"", name, "\", ", Wanted(field));
      return;
    }
    if (value->is_null() && need == Need::kMayBeNull) return;
    if (!Take(*value, std::forward<T>(field)))
      status_ = Error(ErrorCode::kInvalidInput, where_, ": \"", name, "\" is ",
                      Escape(value->ToText(), 40), ", not ", Wanted(field));
  }
  void Fail(absl::Status status) {
    if (status_.ok()) status_ = std::move(status);
  }
  const std::string& where() const { return where_; }
  const absl::Status& status() const { return status_; }

 private:
  const JsonValue& component_;
  std::string where_;
  Members members_;
  absl::Status status_;
};

class MemberWriter {
 public:
  static constexpr bool kReads = false;
  explicit MemberWriter(std::string_view type) : out_(Cat(R"({"type":)", JsonQuote(type))) {}
  template <typename T>
  void operator()(std::string_view name, const T& field, Need = Need::kRequired) {
    out_ += Cat(",", JsonQuote(name), ":");
    Put(out_, field);
  }
  std::string Take() { return std::move(out_) + "}"; }

 private:
  std::string out_;
};

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
void ReadScheme(MemberReader& io, PrependScheme& scheme) {
  std::optional<PrependScheme> said;
  bool prefix = true;
  io("prepend_scheme", said, Need::kMayLack);
  io("add_prefix_space", prefix, Need::kMayBeNull);
  scheme = said.value_or(prefix ? PrependScheme::kAlways : PrependScheme::kNever);
}
template <typename Io>
void VisitMembers(Io& io, Metaspace& r) {
  io("replacement", Character{r.replacement});
  if constexpr (Io::kReads) {
    ReadScheme(io, r.scheme);
  } else {
    io("prepend_scheme", r.scheme);
  }
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
  PrependScheme scheme = PrependScheme::kAlways;
  ReadScheme(io, scheme);
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

// `part`: the member of a tokenizer.json; `list`: what holds the steps of a Sequence.
template <typename Step>
struct Component {
  std::string_view part, noun, list;
  std::span<const Type<Step>> types;
};

const Component<NormalizerStep>& ComponentOf(const NormalizerStep*) {
  static const Type<NormalizerStep> kTypes[] = {{"NFC", UnicodeForm{NormalForm::kNfc}},
                                                {"NFD", UnicodeForm{NormalForm::kNfd}},
                                                {"NFKC", UnicodeForm{NormalForm::kNfkc}},
                                                {"NFKD", UnicodeForm{NormalForm::kNfkd}},
                                                {"Lowercase", Lowercase()},
                                                {"Nmt", Nmt()},
                                                {"StripAccents", StripAccents()},
                                                {"BertNormalizer", BertNormalizer()},
                                                {"Strip", Strip()},
                                                {"Prepend", Prepend()},
                                                {"Replace", Replace()},
                                                {"Precompiled", Precompiled()}};
  static const Component<NormalizerStep> component = {"normalizer", "normalizer", "normalizers",
                                                      kTypes};
  return component;
}
const Component<PreTokenizerStep>& ComponentOf(const PreTokenizerStep*) {
  static const Type<PreTokenizerStep> kTypes[] = {{"ByteLevel", ByteLevel()},
                                                  {"Split", Split()},
                                                  {"Metaspace", Metaspace()},
                                                  {"Digits", Digits()},
                                                  {"Punctuation", Punctuation()},
                                                  {"Whitespace", Whitespace()},
                                                  {"WhitespaceSplit", WhitespaceSplit()},
                                                  {"CharDelimiterSplit", CharDelimiterSplit()},
                                                  {"BertPreTokenizer", BertPreTokenizer()}};
  static const Component<PreTokenizerStep> component = {"pre_tokenizer", "pre-tokenizer",
                                                        "pretokenizers", kTypes};
  return component;
}
const Component<DecoderStep>& ComponentOf(const DecoderStep*) {
  static const Type<DecoderStep> kTypes[] = {{"ByteLevel", ByteLevelDecoder()},
                                             {"ByteFallback", ByteFallback()},
                                             {"Fuse", Fuse()},
                                             {"WordPiece", WordPieceDecoder()},
                                             {"Metaspace", MetaspaceDecoder()},
                                             {"Strip", StripDecoder()},
                                             {"BPEDecoder", BpeDecoder()},
                                             {"Replace", Replace()}};
  static const Component<DecoderStep> component = {"decoder", "decoder", "decoders", kTypes};
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

// Four types have one row.
bool IsOfType(const Type<NormalizerStep>& type, const NormalizerStep& step) {
  return type.row.index() == step.index() &&
         (!std::holds_alternative<UnicodeForm>(step) || type.row == step);
}
bool IsOfType(const Type<PreTokenizerStep>& type, const PreTokenizerStep& step) {
  return type.row.index() == step.index();
}

template <typename Step>
const Type<Step>& TypeOf(const Step& step) {
  const Component<Step>& component = ComponentOf(&step);
  return *std::find_if(component.types.begin(), component.types.end(),
                       [&](const Type<Step>& type) { return IsOfType(type, step); });
}

template <typename Step>
std::string StepsToJson(const std::vector<Step>& steps) {
  std::string out;
  for (Step step : steps) {
    MemberWriter io(TypeOf(step).name);
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
  static constexpr std::string_view kNames[] = {"BPE", "Unigram", "WordPiece", "WordLevel"};
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

std::string_view TypeName(const NormalizerStep& step) { return TypeOf(step).name; }

}  // namespace smelt
