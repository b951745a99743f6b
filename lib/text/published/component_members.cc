#include "lib/text/published/component_members.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/text/components/normalizer.h"

namespace smelt {
namespace {

enum class Kind { kFlag, kText, kCharacter, kCount, kObject, kList, kComponents };
enum class Need { kRequired, kMayLack, kMayBeNull };

struct Member {
  std::string_view part, type, name;
  Kind kind;
  Need need = Need::kRequired;
  std::string_view values = {};  ///< the texts that there are, separated by spaces; all when empty
};

constexpr std::string_view kBehaviors =
    "Removed Isolated MergedWithPrevious MergedWithNext Contiguous";
constexpr std::string_view kSchemes = "always never first";
constexpr std::string_view kNormalizer = "normalizer", kPre = "pre_tokenizer",
                           kPost = "post_processor", kDecoder = "decoder", kModel = "model",
                           kAdded = "added_tokens";

constexpr Member kMembers[] = {
    {kModel, "BPE", "unk_token", Kind::kText, Need::kMayBeNull},
    {kModel, "BPE", "continuing_subword_prefix", Kind::kText, Need::kMayBeNull},
    {kModel, "BPE", "end_of_word_suffix", Kind::kText, Need::kMayBeNull},
    {kModel, "BPE", "fuse_unk", Kind::kFlag, Need::kMayBeNull},
    {kModel, "BPE", "byte_fallback", Kind::kFlag, Need::kMayBeNull},
    {kModel, "BPE", "ignore_merges", Kind::kFlag, Need::kMayBeNull},
    {kModel, "Unigram", "unk_id", Kind::kCount, Need::kMayBeNull},
    {kModel, "Unigram", "byte_fallback", Kind::kFlag, Need::kMayLack},
    {kModel, "WordPiece", "unk_token", Kind::kText},
    {kModel, "WordPiece", "continuing_subword_prefix", Kind::kText},
    {kModel, "WordPiece", "max_input_chars_per_word", Kind::kCount},
    {kModel, "WordLevel", "unk_token", Kind::kText},

    {kNormalizer, "Sequence", "normalizers", Kind::kComponents},
    {kNormalizer, "BertNormalizer", "clean_text", Kind::kFlag},
    {kNormalizer, "BertNormalizer", "handle_chinese_chars", Kind::kFlag},
    {kNormalizer, "BertNormalizer", "strip_accents", Kind::kFlag, Need::kMayBeNull},
    {kNormalizer, "BertNormalizer", "lowercase", Kind::kFlag},
    {kNormalizer, "Strip", "strip_left", Kind::kFlag},
    {kNormalizer, "Strip", "strip_right", Kind::kFlag},
    {kNormalizer, "Prepend", "prepend", Kind::kText},
    {kNormalizer, "Replace", "pattern", Kind::kObject},
    {kNormalizer, "Replace", "content", Kind::kText},
    {kNormalizer, "Precompiled", "precompiled_charsmap", Kind::kText},

    {kPre, "Sequence", "pretokenizers", Kind::kComponents},
    {kPre, "ByteLevel", "add_prefix_space", Kind::kFlag},
    {kPre, "ByteLevel", "use_regex", Kind::kFlag, Need::kMayLack},
    {kPre, "Split", "pattern", Kind::kObject},
    {kPre, "Split", "behavior", Kind::kText, Need::kRequired, kBehaviors},
    {kPre, "Split", "invert", Kind::kFlag},
    {kPre, "Metaspace", "replacement", Kind::kCharacter},
    {kPre, "Metaspace", "prepend_scheme", Kind::kText, Need::kMayLack, kSchemes},
    {kPre, "Metaspace", "add_prefix_space", Kind::kFlag, Need::kMayBeNull},
    {kPre, "Metaspace", "split", Kind::kFlag, Need::kMayBeNull},
    {kPre, "Digits", "individual_digits", Kind::kFlag},
    {kPre, "Punctuation", "behavior", Kind::kText, Need::kMayLack, kBehaviors},
    {kPre, "CharDelimiterSplit", "delimiter", Kind::kCharacter},

    {kPost, "Sequence", "processors", Kind::kComponents},
    {kPost, "TemplateProcessing", "single", Kind::kList},
    {kPost, "TemplateProcessing", "pair", Kind::kList},
    {kPost, "TemplateProcessing", "special_tokens", Kind::kObject},
    {kPost, "BertProcessing", "cls", Kind::kList},
    {kPost, "BertProcessing", "sep", Kind::kList},
    {kPost, "RobertaProcessing", "cls", Kind::kList},
    {kPost, "RobertaProcessing", "sep", Kind::kList},

    {kDecoder, "Sequence", "decoders", Kind::kComponents},
    {kDecoder, "WordPiece", "prefix", Kind::kText},
    {kDecoder, "WordPiece", "cleanup", Kind::kFlag},
    {kDecoder, "Metaspace", "replacement", Kind::kCharacter},
    {kDecoder, "Metaspace", "prepend_scheme", Kind::kText, Need::kMayLack, kSchemes},
    {kDecoder, "Metaspace", "add_prefix_space", Kind::kFlag, Need::kMayBeNull},
    {kDecoder, "Metaspace", "split", Kind::kFlag, Need::kMayBeNull},
    {kDecoder, "BPEDecoder", "suffix", Kind::kText},
    {kDecoder, "Strip", "content", Kind::kCharacter},
    {kDecoder, "Strip", "start", Kind::kCount},
    {kDecoder, "Strip", "stop", Kind::kCount},
    {kDecoder, "Replace", "pattern", Kind::kObject},
    {kDecoder, "Replace", "content", Kind::kText},

    {kAdded, "", "id", Kind::kCount},
    {kAdded, "", "content", Kind::kText},
    {kAdded, "", "single_word", Kind::kFlag},
    {kAdded, "", "lstrip", Kind::kFlag},
    {kAdded, "", "rstrip", Kind::kFlag},
    {kAdded, "", "normalized", Kind::kFlag},
    {kAdded, "", "special", Kind::kFlag},
};

std::string_view Wanted(Kind kind) {
  switch (kind) {
    case Kind::kFlag:
      return "true or false";
    case Kind::kText:
      return "a text";
    case Kind::kCharacter:
      return "a text of one character";
    case Kind::kCount:
      return "a whole number that is not negative";
    case Kind::kObject:
      return "an object";
    case Kind::kList:
      return "a list";
    case Kind::kComponents:
      return "a list of objects";
  }
  return "";
}

bool Is(Kind kind, const JsonValue& value) {
  switch (kind) {
    case Kind::kFlag:
      return value.is_bool();
    case Kind::kText:
      return value.is_string();
    case Kind::kCharacter:
      return value.is_string() && !value.as_string()->empty() &&
             DecodeUtf8(*value.as_string()).length == value.as_string()->size();
    case Kind::kCount:
      return value.as_int().value_or(-1) >= 0;
    case Kind::kObject:
      return value.is_object();
    case Kind::kList:
      return value.is_array();
    case Kind::kComponents:
      return value.is_array() &&
             std::all_of(value.as_array()->begin(), value.as_array()->end(),
                         [](const JsonValue& item) { return item.is_object(); });
  }
  return false;
}

bool IsOneOf(std::string_view text, std::string_view values) {
  return values.empty() || (text.find(' ') == std::string_view::npos && !text.empty() &&
                            Cat(" ", values, " ").find(Cat(" ", text, " ")) != std::string::npos);
}

absl::Status CheckMember(const Member& member, const JsonValue& component, bool all_present,
                         std::string_view file) {
  const JsonValue* value = component.Find(member.name);
  const bool absent = value == nullptr;
  if (absent ? member.need != Need::kRequired || !all_present
             : value->is_null() && member.need == Need::kMayBeNull)
    return absl::OkStatus();
  const std::string where =
      Cat(file, ": ", member.part, member.type.empty() ? "" : " ", member.type);
  if (absent)
    return Error(ErrorCode::kInvalidInput, where, " has no \"", member.name, "\", ",
                 Wanted(member.kind));
  const bool right = Is(member.kind, *value);
  if (right && (!value->is_string() || IsOneOf(*value->as_string(), member.values)))
    return absl::OkStatus();
  return Error(ErrorCode::kInvalidInput, where, ": \"", member.name, "\" is ",
               Escape(value->ToText(), 40), ", not ",
               right ? Cat("one of ", member.values) : std::string(Wanted(member.kind)));
}

absl::Status CheckComponent(std::string_view part, std::string_view type,
                            const JsonValue& component, std::string_view file) {
  for (const Member& member : kMembers) {
    if (member.part != part || member.type != type) continue;
    SMELT_RETURN_IF_ERROR(CheckMember(member, component, true, file));
    if (member.kind != Kind::kComponents) continue;
    for (const JsonValue& item : *component.Find(member.name)->as_array())
      SMELT_RETURN_IF_ERROR(CheckComponent(part, TextOf(item, "type"), item, file));
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view NameOf(ModelKind kind) {
  switch (kind) {
    case ModelKind::kBpe:
      return "BPE";
    case ModelKind::kUnigram:
      return "Unigram";
    case ModelKind::kWordPiece:
      return "WordPiece";
    case ModelKind::kWordLevel:
      return "WordLevel";
  }
  return "";
}

absl::Status CheckMembers(const JsonValue& root, ModelKind model, std::string_view file) {
  for (const std::string_view part : {kNormalizer, kPre, kPost, kDecoder}) {
    const JsonValue* component = root.FindNonNull(part);
    if (component == nullptr) continue;
    if (!component->is_object()) {
      return Error(ErrorCode::kInvalidInput, file, ": \"", part, "\" is ", component->KindName(),
                   ", neither an object nor null");
    }
    SMELT_RETURN_IF_ERROR(CheckComponent(part, TextOf(*component, "type"), *component, file));
  }
  SMELT_RETURN_IF_ERROR(CheckComponent(kModel, NameOf(model), *root.Find(kModel), file));
  const JsonValue* added = root.Find(kAdded);
  if (added == nullptr) return absl::OkStatus();
  if (!Is(Kind::kComponents, *added)) {
    return Error(ErrorCode::kInvalidInput, file, ": \"", kAdded, "\" is not ",
                 Wanted(Kind::kComponents));
  }
  for (const JsonValue& token : *added->as_array())
    SMELT_RETURN_IF_ERROR(CheckComponent(kAdded, "", token, file));
  return absl::OkStatus();
}

absl::Status CheckAddedToken(const JsonValue& token, std::string_view file) {
  for (const Member& member : kMembers) {
    if (member.part == kAdded) SMELT_RETURN_IF_ERROR(CheckMember(member, token, false, file));
  }
  return absl::OkStatus();
}

}  // namespace smelt
