// The "post_processor" of a tokenizer.json.
#include <algorithm>
#include <optional>
#include <utility>

#include "lib/base/status.h"
#include "lib/text/spec/component_json.h"
#include "lib/text/spec/json_members.h"

namespace smelt {

absl::StatusOr<const JsonValue::Array*> StepsOfSequence(const JsonValue& sequence,
                                                        std::string_view part,
                                                        std::string_view list,
                                                        std::string_view place) {
  const JsonValue* steps = sequence.Find(list);
  const bool good = steps != nullptr && steps->is_array() &&
                    std::all_of(steps->as_array()->begin(), steps->as_array()->end(),
                                [](const JsonValue& item) { return item.is_object(); });
  if (good) return steps->as_array();
  return Error(ErrorCode::kInvalidInput, place, ": ", part, " Sequence has no \"", list,
               "\", a list of objects");
}

// The component itself: an object, null or absent.
absl::Status CheckComponent(const JsonValue* json, std::string_view part, std::string_view place) {
  if (json == nullptr || json->is_null() || json->is_object()) return absl::OkStatus();
  return Error(ErrorCode::kInvalidInput, place, ": \"", part, "\" is ", json->KindName(),
               ", neither an object nor null");
}

namespace {

absl::StatusOr<int32_t> TokenId(const JsonValue& value, std::string_view where) {
  const std::optional<int64_t> id = value.as_int();
  if (id && *id >= 0 && *id <= INT32_MAX) return static_cast<int32_t>(*id);
  return Error(ErrorCode::kInvalidInput, where, " has a token without an id");
}

absl::StatusOr<const JsonValue*> ListOf(const JsonValue& json, std::string_view where,
                                        std::string_view name) {
  const JsonValue* list = json.Find(name);
  if (list != nullptr && list->is_array()) return list;
  if (list == nullptr)
    return Error(ErrorCode::kInvalidInput, where, " has no \"", name, "\", a list");
  return Error(ErrorCode::kInvalidInput, where, ": \"", name, "\" is ", Escape(list->ToText(), 40),
               ", not a list");
}

absl::StatusOr<TemplateItem> ReadPair(const JsonValue& json, std::string_view where,
                                      std::string_view name) {
  SMELT_ASSIGN_OR_RETURN(const JsonValue* list, ListOf(json, where, name));
  const JsonValue::Array& pair = *list->as_array();
  if (pair.size() != 2)
    return Error(ErrorCode::kInvalidInput, where, " has no pairs \"cls\" and \"sep\"");
  TemplateItem out;
  if (pair[0].is_string()) out.token = *pair[0].as_string();
  SMELT_ASSIGN_OR_RETURN(const int32_t id, TokenId(pair[1], where));
  out.ids = {id};
  return out;
}

// The places of a template: what the engine needs of "single" is checked, of "pair" only read.
absl::StatusOr<std::vector<TemplateItem>> ReadTemplate(const JsonValue& list,
                                                       const JsonValue& special, bool single,
                                                       std::string_view where) {
  std::vector<TemplateItem> out;
  int texts = 0;
  for (const JsonValue& json : *list.as_array()) {
    TemplateItem& item = out.emplace_back();
    if (const JsonValue* sequence = json.Find("Sequence"); sequence != nullptr) {
      item.sequence = TextOf(*sequence, "id");
      if (single && item.sequence != "A") {
        return Error(ErrorCode::kInvalidInput, where, ": \"single\" has a Sequence that is not A");
      }
      if (single && texts++ > 0) return Error(ErrorCode::kUnsupported, where, " repeats the text");
      continue;
    }
    const JsonValue* token = json.Find("SpecialToken");
    item.token = token == nullptr ? std::string() : TextOf(*token, "id");
    const JsonValue* entry = special.FindNonNull(item.token);
    const JsonValue* ids = entry == nullptr ? nullptr : entry->FindNonNull("ids");
    if (!single) continue;
    if (ids == nullptr || !ids->is_array()) {
      return Error(ErrorCode::kInvalidInput, where, " uses \"", Escape(item.token, 60),
                   "\", which its special_tokens lack");
    }
    for (const JsonValue& value : *ids->as_array()) {
      SMELT_ASSIGN_OR_RETURN(const int32_t id, TokenId(value, where));
      item.ids.push_back(id);
    }
  }
  if (single && texts == 0)
    return Error(ErrorCode::kUnsupported, where, " leaves the text itself out");
  return out;
}

absl::Status AddPostProcessors(const JsonValue& json, std::string_view place,
                               std::vector<PostProcessorStep>& out) {
  constexpr std::string_view kPart = "post_processor";
  const std::string type = TextOf(json, "type");
  const std::string where = Cat(place, ": ", kPart, " ", type);
  if (type == "ByteLevel") return absl::OkStatus();  // only offsets
  if (type == "Sequence") {
    SMELT_ASSIGN_OR_RETURN(const JsonValue::Array* steps,
                           StepsOfSequence(json, kPart, "processors", place));
    for (const JsonValue& step : *steps) SMELT_RETURN_IF_ERROR(AddPostProcessors(step, place, out));
    return absl::OkStatus();
  }
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    SMELT_ASSIGN_OR_RETURN(TemplateItem cls, ReadPair(json, where, "cls"));
    SMELT_ASSIGN_OR_RETURN(TemplateItem sep, ReadPair(json, where, "sep"));
    if (type == "BertProcessing") {
      out.emplace_back(BertProcessing{std::move(cls), std::move(sep)});
    } else {
      out.emplace_back(RobertaProcessing{std::move(cls), std::move(sep)});
    }
    return absl::OkStatus();
  }
  if (type != "TemplateProcessing") {
    return Error(ErrorCode::kUnsupported, place, ": the post-processor \"", Escape(type),
                 "\" is not known");
  }
  SMELT_ASSIGN_OR_RETURN(const JsonValue* single, ListOf(json, where, "single"));
  SMELT_ASSIGN_OR_RETURN(const JsonValue* pair, ListOf(json, where, "pair"));
  const JsonValue* special = json.Find("special_tokens");
  if (special == nullptr || !special->is_object())
    return Error(ErrorCode::kInvalidInput, where, " has no \"special_tokens\", an object");
  TemplateProcessing step;
  SMELT_ASSIGN_OR_RETURN(step.single, ReadTemplate(*single, *special, true, where));
  SMELT_ASSIGN_OR_RETURN(step.pair, ReadTemplate(*pair, *special, false, where));
  out.emplace_back(std::move(step));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<PostProcessorStep>> ReadPostProcessors(const JsonValue* json,
                                                                  std::string_view place) {
  std::vector<PostProcessorStep> out;
  SMELT_RETURN_IF_ERROR(CheckComponent(json, "post_processor", place));
  if (json == nullptr || json->is_null()) return out;
  SMELT_RETURN_IF_ERROR(AddPostProcessors(*json, place, out));
  return out;
}

}  // namespace smelt
