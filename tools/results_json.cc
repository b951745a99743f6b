#include "tools/results_json.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "smelt/runtime.h"

namespace smelt::tools {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

// JSON has no NaN and no infinity.
Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json Reference(const ReferenceResult& r) {
  return Json{{"model", r.model},
              {"perplexity", Number(r.perplexity)},
              {"kl_mean", Number(r.kl_mean)},
              {"kl_median", Number(r.kl_median)},
              {"kl_p99", Number(r.kl_p99)},
              {"kl_p999", Number(r.kl_p999)},
              {"kl_max", Number(r.kl_max)},
              {"top1_agreement", Number(r.top1_agreement)},
              {"ln_ratio", Number(r.ln_ratio)},
              {"ln_ratio_error", Number(r.ln_ratio_error)}};
}

Json Optional(const std::optional<double>& value) { return value ? Number(*value) : Json(nullptr); }

Json Differences(const Comparison& c) {
  Json json{{"a", c.a},
            {"b", c.b},
            {"relative_error", Number(c.relative_error)},
            {"equal", c.equal},
            {"problems", c.problems}};
  Json& tensors = json["tensors"] = Json::array();
  for (const TensorDifference& t : c.tensors) {
    const auto figure = [&](double value) { return t.comparable ? Number(value) : Json(nullptr); };
    tensors.push_back(Json{{"name", t.name},
                           {"type_a", t.type_a.empty() ? Json(nullptr) : Json(t.type_a)},
                           {"type_b", t.type_b.empty() ? Json(nullptr) : Json(t.type_b)},
                           {"shape_a", t.shape_a},
                           {"shape_b", t.shape_b},
                           {"comparable", t.comparable},
                           {"problem", t.problem.empty() ? Json(nullptr) : Json(t.problem)},
                           {"relative_error", figure(t.relative_error)},
                           {"weighted_error", Optional(t.weighted_error)},
                           {"cosine", figure(t.cosine)},
                           {"worst", figure(t.worst)},
                           {"worst_row", t.worst_row},
                           {"worst_column", t.worst_column}});
  }
  return json;
}

Json Text(const TextResult& t, bool with_reference) {
  Json json{{"text", t.text},
            {"tokens", t.tokens},
            {"context", t.context},
            {"chunks", t.chunks},
            {"tokens_scored", t.tokens_scored},
            {"bytes_scored", t.bytes_scored}};
  const bool any = t.tokens_scored > 0;  // else there is nothing to say
  json["perplexity"] = any ? Number(t.perplexity) : Json(nullptr);
  json["perplexity_error"] = any ? Number(t.perplexity_error) : Json(nullptr);
  json["mean_nll"] = any ? Number(t.mean_nll) : Json(nullptr);
  json["bits_per_byte"] = Optional(t.bits_per_byte);
  if (with_reference) json["kl_mean"] = Optional(t.kl_mean);
  return json;
}

Json Evaluation(const EvaluateResult& r) {
  Json json{{"model", r.model},
            {"device", r.device},
            {"context", r.context},
            {"chunks", r.chunks},
            {"tokens_scored", r.tokens_scored},
            {"bytes_scored", r.bytes_scored},
            {"perplexity", Number(r.perplexity)},
            {"perplexity_error", Number(r.perplexity_error)},
            {"mean_nll", Number(r.mean_nll)},
            {"bits_per_byte", Optional(r.bits_per_byte)},
            {"seconds", r.seconds},
            {"tokens_per_second", Number(r.tokens_per_second)}};
  Json& texts = json["texts"] = Json::array();
  for (const TextResult& text : r.texts) texts.push_back(Text(text, r.reference.has_value()));
  if (r.reference) json["reference"] = Reference(*r.reference);
  json["passed"] = r.passed;
  Json& gates = json["gates"] = Json::array();
  for (const GateResult& gate : r.gates) {
    gates.push_back(Json{{"name", gate.name},
                         {"limit", Number(gate.limit)},
                         {"value", Number(gate.value)},
                         {"passed", gate.passed}});
  }
  return json;
}

Json Fallbacks(const std::vector<TypeFallback>& fallbacks) {
  Json list = Json::array();
  for (const TypeFallback& f : fallbacks) {
    list.push_back(Json{{"type", f.type},
                        {"instead_of", f.instead_of},
                        {"tensors", f.tensors},
                        {"first", f.first}});
  }
  return list;
}

Json Files(const std::vector<OutputFile>& files) {
  Json list = Json::array();
  for (const OutputFile& file : files)
    list.push_back(Json{{"path", file.path}, {"bytes", file.bytes}, {"tensors", file.tensors}});
  return list;
}

Json Conversion(const ConvertResult& r) {
  Json json{{"output", r.output},
            {"parts", Files(r.files)},
            {"type", r.type},
            {"bytes", r.bytes},
            {"bits_per_weight", r.bits_per_weight},
            {"tensors", r.tensors},
            {"fallbacks", Fallbacks(r.fallbacks)},
            {"warnings", r.warnings},
            {"seconds", r.seconds},
            {"peak_anonymous_bytes", r.peak_anonymous_bytes}};
  json["validation"] = r.validation ? Evaluation(*r.validation) : Json(nullptr);
  return json;
}

Json Outcomes(const std::vector<ConvertOutcome>& outcomes) {
  Json json = Json::array();
  for (const ConvertOutcome& o : outcomes) {
    if (o.status.ok()) {
      json.push_back(Conversion(o.result));
      continue;
    }
    Json failed{{"output", o.output}, {"type", o.type}};
    failed["error"] =
        Json{{"code", std::string(ErrorName(o.status))},
             {"message", std::string(o.status.message().data(), o.status.message().size())}};
    failed["validation"] = o.result.validation ? Evaluation(*o.result.validation) : Json(nullptr);
    json.push_back(std::move(failed));
  }
  return json;
}

Json Plan(const PlanSummary& plan) {
  Json json{{"source", plan.source},
            {"output", plan.output},
            {"parts", Files(plan.files)},
            {"type", plan.type},
            {"architecture", plan.architecture},
            {"bytes", plan.file_bytes},
            {"parameters", plan.parameters},
            {"bits_per_weight", plan.bits_per_weight},
            {"matrices", plan.matrices},
            {"fallbacks", Fallbacks(plan.fallbacks)},
            {"warnings", plan.warnings},
            {"walk", plan.walk},
            {"importance", plan.importance.empty() ? Json(nullptr) : Json(plan.importance)},
            {"memory_bytes", plan.memory_bytes}};
  Json& tensors = json["tensors"] = Json::array();
  for (const PlannedTensorInfo& t : plan.tensors) {
    tensors.push_back(Json{{"name", t.name},
                           {"type", t.type},
                           {"source_type", t.source_type},
                           {"why", t.why},
                           {"shape", t.shape},
                           {"part", t.file},
                           {"offset", t.offset},
                           {"bytes", t.bytes}});
  }
  return json;
}

Json Model(const StoreModel& model) {
  return Json{{"name", model.name},
              {"id", model.id},
              {"bytes", model.bytes},
              {"modified", model.modified},
              {"format", model.format},
              {"family", model.family},
              {"parameters", model.parameters},
              {"file_type", model.file_type}};
}

std::string_view KindName(StoreProblem::Kind kind) {
  switch (kind) {
    case StoreProblem::Kind::kBadManifest:
      return "bad_manifest";
    case StoreProblem::Kind::kMissing:
      return "missing";
    case StoreProblem::Kind::kWrongSize:
      return "wrong_size";
    case StoreProblem::Kind::kDamaged:
      return "damaged";
  }
  return "";
}

}  // namespace

std::string ToJson(const EvaluateResult& result) { return Dump(Evaluation(result)); }

std::string ToJson(const ConvertResult& r) { return Dump(Conversion(r)); }

std::string ToJson(const VocabularyResult& r) {
  return Dump(Json{{"output", r.output},
                   {"architecture", r.architecture},
                   {"model", r.tokenizer},
                   {"pre", r.pre},
                   {"tokens", r.tokens},
                   {"bytes", r.bytes}});
}

std::string ToJson(const PlanSummary& plan) { return Dump(Plan(plan)); }

std::string ToJson(const std::vector<ConvertOutcome>& outcomes) {
  return Dump(Json{{"outputs", Outcomes(outcomes)}});
}

std::string ListToJson(const std::vector<ConvertOutcome>& outcomes) {
  return Dump(Outcomes(outcomes));
}

std::string ToJson(const std::vector<PlanSummary>& plans) {
  Json json = Json::array();
  for (const PlanSummary& plan : plans) json.push_back(Plan(plan));
  return Dump(Json{{"outputs", std::move(json)}});
}

namespace {

Json GenerateJson(const GenerateResult& r) {
  return Json{{"prompt_ids", r.prompt_ids},
              {"ids", r.ids},
              {"text", r.text},
              {"finish_reason", FinishReasonName(r.finish_reason)},
              {"seed", r.seed},
              {"device", r.device},
              {"device_layers", r.device_layers ? Json(*r.device_layers) : Json(nullptr)},
              {"activations", r.activations},
              {"prompt_tokens_per_second", Number(r.prompt_tokens_per_second)},
              {"tokens_per_second", Number(r.tokens_per_second)}};
}

}  // namespace

std::string ToJson(const GenerateResult& r) { return Dump(GenerateJson(r)); }

std::string ToJson(const ChatAnswer& r) {
  Json json = GenerateJson(r);
  json["thought"] = r.thought;
  return Dump(json);
}

std::string ToJson(const ImportanceSummary& s) {
  Json json{{"file", s.file},
            {"format", s.format},
            {"datasets", s.datasets},
            {"chunks", s.chunks},
            {"chunk_size", s.chunk_size},
            {"bytes", s.bytes},
            {"tokens", s.tokens},
            {"seconds", s.seconds},
            {"device", s.device.empty() ? Json(nullptr) : Json(s.device)}};
  Json& tensors = json["tensors"] = Json::array();
  for (const ImportanceTensor& t : s.tensors) {
    tensors.push_back(Json{{"name", t.name},
                           {"columns", t.columns},
                           {"values", t.values},
                           {"zeros", t.zeros},
                           {"mean", Number(t.mean)},
                           {"smallest", Number(t.smallest)},
                           {"largest", Number(t.largest)},
                           {"tokens", t.tokens}});
  }
  return Dump(json);
}

std::string ToJson(const ImportResult& r) {
  return Dump(Json{{"name", r.name},
                   {"manifest", r.manifest},
                   {"blob", r.blob},
                   {"digest", r.digest},
                   {"how", r.how},
                   {"chat_format", r.chat_format.empty() ? Json(nullptr) : Json(r.chat_format)},
                   {"bytes", r.bytes},
                   {"conversion", r.conversion ? Conversion(*r.conversion) : Json(nullptr)}});
}

std::string ToJson(const Comparison& c) { return Dump(Differences(c)); }

std::string ToJson(const ModelCheck& m) {
  Json json{{"model", m.model}, {"passed", m.passed()}, {"problems", m.problems}};
  Json& tensors = json["tensors"] = Json::array();
  for (const TensorCheck& t : m.tensors) {
    tensors.push_back(Json{{"name", t.name},
                           {"type", t.type},
                           {"shape", t.shape},
                           {"sha256", t.sha256.empty() ? Json(nullptr) : Json(t.sha256)},
                           {"bad_blocks", t.bad_blocks},
                           {"problem", t.problem.empty() ? Json(nullptr) : Json(t.problem)}});
  }
  json["against"] = m.against ? Differences(*m.against) : Json(nullptr);
  return Dump(json);
}

std::string ToJson(const InspectResult& r, bool recipes) {
  Json json{{"path", r.path},
            {"format", r.format},
            {"parameters", r.parameters},
            {"bytes", r.bytes},
            {"bits_per_weight", Number(r.bits_per_weight)}};
  Json& metadata = json["metadata"] = Json::array();
  for (const InspectResult::Key& key : r.metadata) {
    Json value = Json::parse(key.json, nullptr, false);
    metadata.push_back(Json{{"key", key.key},
                            {"type", key.type},
                            {"value", value.is_discarded() ? Json(key.json) : value}});
  }
  Json& tensors = json["tensors"] = Json::array();
  for (const InspectTensor& t : r.tensors) {
    Json tensor{{"name", t.name}, {"type", t.type}, {"shape", t.shape}, {"bytes", t.bytes}};
    if (recipes) tensor["recipe"] = t.recipe;
    if (!t.storage.empty()) {
      tensor["storage"] = t.storage;
      tensor["offset"] = t.offset;
    }
    if (!t.strides.empty()) tensor["strides"] = t.strides;
    tensors.push_back(std::move(tensor));
  }
  for (const InspectStorage& s : r.storages) {
    json["storages"].push_back(Json{{"name", s.name}, {"bytes", s.bytes}, {"tensors", s.tensors}});
  }
  for (const InspectRefusal& refusal : r.refused) {
    json["refused"].push_back(
        Json{{"name", refusal.name}, {"operation", refusal.operation}, {"offset", refusal.offset}});
  }
  Json& totals = json["totals"] = Json::array();
  for (const TypeTotal& t : r.totals) {
    totals.push_back(Json{
        {"type", t.type}, {"tensors", t.tensors}, {"elements", t.elements}, {"bytes", t.bytes}});
  }
  return Dump(json);
}

std::string ToJson(const StoreListing& listing) {
  Json models = Json::array();
  for (const StoreModel& model : listing.models) models.push_back(Model(model));
  return Dump(Json{
      {"store", listing.store}, {"models", std::move(models)}, {"problems", listing.problems}});
}

std::string ToJson(const StoreDetails& details) {
  Json json = Model(details.model);
  Json& layers = json["layers"] = Json::array();
  for (const StoreLayer& layer : details.layers) {
    layers.push_back(Json{{"media_type", layer.media_type},
                          {"digest", layer.digest},
                          {"bytes", layer.bytes},
                          {"from", layer.from}});
  }
  const auto parsed = [](const std::string& text) {
    return text.empty() ? Json(nullptr) : Json::parse(text, nullptr, false);
  };
  json["template"] = details.template_text;
  json["system"] = details.system;
  json["licenses"] = details.licenses;
  json["parameter_values"] = parsed(details.parameters);
  json["messages"] = parsed(details.messages);
  json["renderer"] = details.renderer;
  json["parser"] = details.parser;
  json["requires"] = details.least_ollama;
  json["modelfile"] = details.modelfile;
  return Dump(json);
}

std::string ToJson(const ExportResult& r) {
  return Dump(Json{{"output", r.output},
                   {"kind", r.kind},
                   {"names", r.names},
                   {"blobs", r.blobs},
                   {"bytes", r.bytes},
                   {"output_bytes", r.output_bytes}});
}

std::string ToJson(const BundleResult& r) {
  return Dump(
      Json{{"names", r.names}, {"blobs", r.blobs}, {"present", r.present}, {"bytes", r.bytes}});
}

std::string ToJson(const SetResult& result) {
  return Dump(Json{{"file", result.file}, {"how", result.how}, {"keys", result.keys}});
}

std::string ToJson(const PruneResult& result) {
  return Dump(Json{{"files", result.files}, {"bytes", result.bytes}});
}

std::string ToJson(const VerifyResult& result) {
  Json problems = Json::array();
  for (const StoreProblem& problem : result.problems) {
    problems.push_back(Json{{"kind", KindName(problem.kind)},
                            {"path", problem.path},
                            {"what", problem.what},
                            {"models", problem.names},
                            {"repaired", problem.repaired},
                            {"quarantined", problem.quarantined}});
  }
  return Dump(Json{{"store", result.store},
                   {"sound", result.sound()},
                   {"models", result.models},
                   {"blobs", result.blobs},
                   {"bytes", result.bytes},
                   {"problems", std::move(problems)},
                   {"orphans", result.orphans}});
}

std::string IdsToJson(const std::vector<int32_t>& ids) { return Dump(Json{{"ids", ids}}); }

}  // namespace smelt::tools
