#include "lib/jobs/plan_file.h"

#include <cstdint>
#include <nlohmann/json.hpp>

#include "lib/base/hash.h"
#include "lib/base/json.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

using Json = nlohmann::ordered_json;
constexpr int64_t kFormat = 1;

template <typename Second>
Json Pairs(const std::vector<std::pair<std::string, Second>>& pairs) {
  Json list = Json::array();
  for (const auto& [first, second] : pairs) list.push_back(Json::array({first, second}));
  return list;
}

Json EditsToJson(const MetadataEdits& edits) {
  Json list = Json::array();
  for (const auto& [key, value] : edits)
    list.push_back(Json::array({key, value ? Json(*value) : Json(nullptr)}));
  return list;
}

Json OptionsToJson(const PlanOptions& o) {
  return Json{{"type", o.type},
              {"pure", o.pure},
              {"output_tensor_type", o.output_tensor_type},
              {"token_embedding_type", o.token_embedding_type},
              {"tensor_types", Pairs(o.tensor_types)},
              {"metadata", EditsToJson(o.metadata)},
              {"no_fallback", !o.allow_fallback},
              {"allow_requantize", o.allow_requantize},
              {"effort", o.effort},
              {"imatrix", o.imatrix},
              {"calibration", o.calibration},
              {"calibration_tokens", o.calibration_tokens},
              {"statistics", o.statistics},
              {"adapters", Pairs(o.adapters)},
              {"base", o.base},
              {"mtp", o.mtp},
              {"pre", o.pre},
              {"allow_tokenizer_mismatch", o.allow_tokenizer_mismatch},
              {"split_size", o.split_size},
              {"split_tensors", o.split_tensors}};
}

/// Of the headers of all files, one behind the other.
std::string HeaderHash(const Plan& plan) {
  std::vector<std::byte> headers;
  for (const PlannedFile& file : plan.files)
    headers.insert(headers.end(), file.header.begin(), file.header.end());
  return Sha256Hex(headers);
}

absl::Status Bad(const std::string& name, std::string_view what) {
  return Error(ErrorCode::kInvalidInput, "plan ", Escape(name), ": ", what,
               "; name another file to have a new plan written");
}

std::string TextOf(const JsonValue& object, std::string_view key) {
  const JsonValue* v = object.Find(key);
  return v != nullptr && v->as_string() != nullptr ? *v->as_string() : std::string();
}

bool FlagOf(const JsonValue& object, std::string_view key) {
  const JsonValue* v = object.Find(key);
  return v != nullptr && v->as_bool() != nullptr && *v->as_bool();
}

std::optional<uint64_t> UintOf(const JsonValue& object, std::string_view key) {
  const JsonValue* v = object.Find(key);
  const std::optional<int64_t> n = v != nullptr ? v->as_int() : std::nullopt;
  if (!n || *n < 0) return std::nullopt;
  return static_cast<uint64_t>(*n);
}

std::vector<std::pair<std::string, std::string>> PairsOf(const JsonValue& object,
                                                         std::string_view key) {
  std::vector<std::pair<std::string, std::string>> out;
  const JsonValue* list = object.Find(key);
  if (list == nullptr || !list->is_array()) return out;
  for (const JsonValue& item : *list->as_array()) {
    const JsonValue::Array* pair = item.as_array();
    if (pair == nullptr || pair->size() != 2 || !(*pair)[0].is_string() || !(*pair)[1].is_string())
      continue;
    out.emplace_back(*(*pair)[0].as_string(), *(*pair)[1].as_string());
  }
  return out;
}

std::vector<std::string> TextsOf(const JsonValue& object, std::string_view key) {
  std::vector<std::string> out;
  const JsonValue* list = object.Find(key);
  if (list == nullptr || !list->is_array()) return out;
  for (const JsonValue& item : *list->as_array()) {
    if (item.is_string()) out.push_back(*item.as_string());
  }
  return out;
}

MetadataEdits EditsOf(const JsonValue& object, std::string_view key) {
  MetadataEdits out;
  const JsonValue* list = object.Find(key);
  if (list == nullptr || !list->is_array()) return out;
  for (const JsonValue& item : *list->as_array()) {
    const JsonValue::Array* pair = item.as_array();
    if (pair == nullptr || pair->size() != 2 || !(*pair)[0].is_string()) continue;
    const std::string* value = (*pair)[1].as_string();
    out.emplace_back(*(*pair)[0].as_string(),
                     value == nullptr ? std::nullopt : std::optional<std::string>(*value));
  }
  return out;
}

std::vector<std::pair<std::string, double>> AdaptersOf(const JsonValue& object) {
  std::vector<std::pair<std::string, double>> out;
  const JsonValue* list = object.Find("adapters");
  if (list == nullptr || !list->is_array()) return out;
  for (const JsonValue& item : *list->as_array()) {
    const JsonValue::Array* pair = item.as_array();
    if (pair == nullptr || pair->size() != 2 || !(*pair)[0].is_string() || !(*pair)[1].is_number())
      continue;
    out.emplace_back(*(*pair)[0].as_string(), *(*pair)[1].as_double());
  }
  return out;
}

PlanOptions OptionsFrom(const JsonValue& o) {
  PlanOptions out;
  out.type = TextOf(o, "type");
  out.pure = FlagOf(o, "pure");
  out.output_tensor_type = TextOf(o, "output_tensor_type");
  out.token_embedding_type = TextOf(o, "token_embedding_type");
  out.tensor_types = PairsOf(o, "tensor_types");
  out.metadata = EditsOf(o, "metadata");
  out.allow_fallback = !FlagOf(o, "no_fallback");
  out.allow_requantize = FlagOf(o, "allow_requantize");
  out.effort = TextOf(o, "effort");
  out.imatrix = TextOf(o, "imatrix");
  out.calibration = TextsOf(o, "calibration");
  out.calibration_tokens = UintOf(o, "calibration_tokens").value_or(0);
  out.statistics = TextOf(o, "statistics");
  out.adapters = AdaptersOf(o);
  out.base = TextOf(o, "base");
  out.mtp = TextOf(o, "mtp");
  out.pre = TextOf(o, "pre");
  out.allow_tokenizer_mismatch = FlagOf(o, "allow_tokenizer_mismatch");
  out.split_size = UintOf(o, "split_size").value_or(0);
  out.split_tensors = UintOf(o, "split_tensors").value_or(0);
  return out;
}

absl::StatusOr<JsonValue> ParsePlan(const std::string& json, const std::string& name) {
  SMELT_ASSIGN_OR_RETURN(JsonValue root, ParseJsonValue(json, name));
  const JsonValue* format = root.is_object() ? root.Find("smelt_plan") : nullptr;
  if (format == nullptr || format->as_int() != kFormat)
    return Bad(name, "it is no plan of this program's version");
  if (root.Find("options") == nullptr || !root.Find("options")->is_object())
    return Bad(name, "\"options\" is missing");
  return root;
}

absl::StatusOr<FixedTypes> TypesFrom(const JsonValue& root, const std::string& name,
                                     const ModelSource& source) {
  const JsonValue* tensors = root.Find("tensors");
  if (tensors == nullptr || !tensors->is_array()) return Bad(name, "\"tensors\" is no list");
  const JsonValue::Array& list = *tensors->as_array();
  FixedTypes fixed;
  size_t next = 0;
  for (const TensorInfo& tensor : source.tensors()) {
    const std::string found = next < list.size() ? TextOf(list[next], "name") : std::string();
    if (found != tensor.name && tensor.companion_of) {  // left out with the blocks it belongs to
      fixed.types.emplace_back(tensor.type, "");
      continue;
    }
    if (found != tensor.name) {
      return Bad(name, Cat("tensor ", next, " is \"", Escape(found), "\", in the source ",
                           Escape(tensor.name)));
    }
    const std::optional<TensorType> type = ParseTensorType(TextOf(list[next], "type"));
    if (!type) return Bad(name, Cat("tensor ", Escape(tensor.name), " has no known type"));
    fixed.types.emplace_back(*type, TextOf(list[next], "why"));
    ++next;
  }
  if (next != list.size()) {
    return Bad(name, Cat("it has ", list.size(), " tensors, and the source has no ",
                         Escape(TextOf(list[next], "name"))));
  }
  return fixed;
}

}  // namespace

std::string PlanToJson(const Plan& plan) {
  Json root;
  root["smelt_plan"] = kFormat;
  root["encoder_version"] = plan.encoder_version;
  root["source"] = plan.source;
  root["source_identity"] = plan.source_identity;
  root["type"] = plan.type;
  root["options"] = OptionsToJson(plan.options);
  if (plan.importance != nullptr) root["imatrix_sha256"] = plan.importance->sha256();
  if (plan.gathering) root["gathering"] = plan.gathering->Identity();
  root["parts"] = plan.files.size();
  root["file_bytes"] = plan.file_bytes;
  root["header_bytes"] = plan.header_bytes();
  root["header_sha256"] = HeaderHash(plan);
  root["parameters"] = plan.parameters;
  root["bits_per_weight"] = plan.bits_per_weight();
  Json& tensors = root["tensors"] = Json::array();
  for (const PlannedTensor& t : plan.tensors) {
    Json shape = Json::array();
    for (int d = 0; d < t.shape.dims; ++d) shape.push_back(t.shape.ne[static_cast<size_t>(d)]);
    tensors.push_back(Json{{"name", t.name},
                           {"type", Info(t.type).name},
                           {"source_type", Info(t.source_type).name},
                           {"why", t.why},
                           {"shape", std::move(shape)},
                           {"part", t.file},
                           {"offset", t.offset},
                           {"bytes", t.bytes}});
  }
  return root.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

absl::StatusOr<PlanOptions> OptionsOfPlanFile(const std::string& json, const std::string& name) {
  SMELT_ASSIGN_OR_RETURN(const JsonValue root, ParsePlan(json, name));
  return OptionsFrom(*root.Find("options"));
}

absl::StatusOr<Plan> PlanFromJson(const std::string& json, const std::string& name,
                                  const ModelSource& source, const PlanOptions& options) {
  SMELT_ASSIGN_OR_RETURN(const JsonValue root, ParsePlan(json, name));
  const PlanOptions recorded = OptionsFrom(*root.Find("options"));
  if (options != PlanOptions{} && options != recorded) {
    return Error(
        ErrorCode::kUsage, "plan ", Escape(name), " was made with other options (--type ",
        Escape(recorded.type),
        " ...); give the same ones or none, or name another file to have a new plan written");
  }
  if (UintOf(root, "encoder_version") != kEncoderVersion) {
    return Bad(name, "it was made by a version with other encoders");
  }
  if (TextOf(root, "source_identity") != source.identity()) {
    return Bad(name, Cat("the source ", Escape(source.name()),
                         " is not the one it was made for, or has changed since"));
  }
  SMELT_ASSIGN_OR_RETURN(const FixedTypes fixed, TypesFrom(root, name, source));
  SMELT_ASSIGN_OR_RETURN(Plan plan, MakePlan(source, recorded, &fixed));
  if (plan.importance != nullptr && TextOf(root, "imatrix_sha256") != plan.importance->sha256()) {
    return Bad(name, Cat("the importance matrix ", Escape(recorded.imatrix),
                         " is not the one it was made with"));
  }
  if (plan.gathering && TextOf(root, "gathering") != plan.gathering->Identity())
    return Bad(name, "the calibration text is not the one it was made with");
  if (UintOf(root, "file_bytes") != plan.file_bytes ||
      TextOf(root, "header_sha256") != HeaderHash(plan)) {
    return Bad(name, "its layout does not come out again from this source");
  }
  const JsonValue::Array& list = *root.Find("tensors")->as_array();
  if (list.size() != plan.tensors.size())
    return Bad(name, "its tensors do not come out again from this source");
  for (size_t i = 0; i < list.size(); ++i) {
    if (UintOf(list[i], "offset") != plan.tensors[i].offset ||
        UintOf(list[i], "bytes") != plan.tensors[i].bytes)
      return Bad(name, Cat("tensor ", Escape(plan.tensors[i].name),
                           " has another place than the plan says"));
  }
  return plan;
}

}  // namespace smelt
