// Results as JSON text, keys in the documented order.
#pragma once

#include <string>

#include "smelt/bundle.h"
#include "smelt/chat.h"
#include "smelt/compare.h"
#include "smelt/convert.h"
#include "smelt/evaluate.h"
#include "smelt/generate.h"
#include "smelt/imatrix.h"
#include "smelt/import.h"
#include "smelt/inspect.h"
#include "smelt/set.h"
#include "smelt/store.h"
#include "smelt/vocabulary.h"

namespace smelt::tools {

std::string ToJson(const EvaluateResult& result);
std::string ToJson(const ConvertResult& result);
std::string ToJson(const std::vector<ConvertOutcome>& outcomes);
/// The list alone.
std::string ListToJson(const std::vector<ConvertOutcome>& outcomes);
std::string ToJson(const std::vector<PlanSummary>& plans);
std::string ToJson(const PlanSummary& plan);
std::string ToJson(const VocabularyResult& result);
std::string ToJson(const GenerateResult& result);
std::string ToJson(const ChatAnswer& result);
std::string ToJson(const ImportanceSummary& summary);
std::string ToJson(const ImportResult& result);
std::string ToJson(const ExportResult& result);
std::string ToJson(const BundleResult& result);
std::string ToJson(const SetResult& result);
std::string ToJson(const Comparison& comparison);
std::string ToJson(const ModelCheck& check);
std::string ToJson(const InspectResult& result, bool recipes);
std::string ToJson(const StoreListing& listing);
std::string ToJson(const StoreDetails& details);
std::string ToJson(const PruneResult& result);
std::string ToJson(const VerifyResult& result);
std::string IdsToJson(const std::vector<int32_t>& ids);

}  // namespace smelt::tools
