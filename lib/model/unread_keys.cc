#include "lib/model/unread_keys.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "lib/base/status.h"
#include "lib/model/alternatives.h"
#include "lib/model/choose_family.h"
#include "lib/model/config_keys.h"

namespace smelt {
namespace {

std::optional<double> Number(std::string_view text) {
  const absl::StatusOr<JsonValue> value = ParseJsonValue(text, "");
  return value.ok() ? value->as_double() : std::nullopt;
}

/// Absent for every reader: null, false, 0 and what is empty.
bool IsNothing(const JsonValue& value) {
  if (value.is_null() || IsOneOf(value, "false|0|\"\"|[]|{}")) return true;
  const JsonValue::Array* list = value.as_array();  // a list of factors 1, of layers without
  return list != nullptr && std::ranges::all_of(*list, [](const JsonValue& item) {
           return IsOneOf(item, "1|false|null");
         });
}

/// How another family reads the key: whether the value changes nothing there, and whether it is its
/// class's default, which configurations hold that were made from another's.
struct Reader {
  const Family* family = nullptr;
  bool neutral = false, usual = false;
  bool fixed = false;  ///< the one value that a class without such a switch can have
};
Reader FindReader(std::string_view key, const JsonValue& value) {
  Reader reader;
  for (const Family* family : KnownFamilies()) {
    for (const HyperRule& rule : family->hypers) {
      if (!IsAlternative(rule.config, key)) continue;
      if (reader.family == nullptr) reader.family = family;
      const std::optional<double> number = value.as_bool() != nullptr
                                               ? std::optional<double>(*value.as_bool() ? 1 : 0)
                                               : value.as_double();
      if (rule.fallback.kind != Fallback::Kind::kNumber || number != rule.fallback.number) continue;
      reader.usual = true;
      reader.neutral |= value.as_bool() == nullptr && *number == 1;
    }
    for (const FixedRule& rule : family->fixed) {
      if (!IsAlternative(rule.config, key)) continue;
      if (reader.family == nullptr) reader.family = family;
      reader.fixed |= IsOneOf(value, rule.allowed);
    }
  }
  return reader;
}

/// Keys of no table, of a configuration and of what it is inside of.
std::string UnknownKeys(const Config& config) {
  std::string unknown = config.Outer() == nullptr ? "" : UnknownKeys(*config.Outer());
  for (const std::string& key : config.Unread()) {
    if (IsHarmlessKey(key) || config.value().Find(key)->is_null()) continue;
    unknown += Cat(unknown.empty() ? "" : ", ", Escape(key, 40));
  }
  return unknown;
}

}  // namespace

bool IsOneOf(const JsonValue& value, std::string_view texts) {
  const std::string text = value.ToText();
  const std::optional<double> number = value.as_double();
  return std::ranges::any_of(Alternatives(texts), [&](std::string_view one) {
    return one == text || (number && Number(one) == number);
  });
}

absl::Status CheckForeignKeys(FamilyContext& context) {
  const Config& config = context.config;
  const std::string_view own = context.family.names[0];
  const std::span<const ForeignKey> table = ForeignKeys();
  std::string caps, ignored;
  for (const std::string& key : config.Unread()) {
    const JsonValue& value = *config.value().Find(key);
    const auto known =
        std::ranges::find_if(table, [&](const ForeignKey& one) { return one.key == key; });
    const bool listed = known != table.end();
    const Reader reader = FindReader(key, value);
    if (!listed && (reader.family == nullptr || IsHarmlessKey(key))) continue;
    config.Find(key);  // known, whatever it says
    const bool neutral = listed ? IsOneOf(value, known->neutral) : reader.fixed;
    if (IsNothing(value) || reader.neutral || neutral) continue;
    // A listed number says that there is such a part at all.
    const bool usual =
        reader.usual && (!listed || value.as_bool() != nullptr || known->kind == ForeignKind::kCap);
    if (usual || (listed && known->kind == ForeignKind::kIgnored)) {
      std::string& list = listed && known->kind == ForeignKind::kCap ? caps : ignored;
      list += Cat(list.empty() ? "" : ", ", key, " ", Escape(value.ToText(), 40));
      continue;
    }
    return Error(ErrorCode::kUnsupported, config.name(), ": ", Escape(key, 60), " is ",
                 Escape(value.ToText(), 40), ", which changes what ",
                 reader.family != nullptr ? reader.family->names[0] : "other classes",
                 reader.family != nullptr ? " computes, but " : " compute, but ", own,
                 " does not read it: correct architectures, or set it to null if it means nothing");
  }
  if (!caps.empty()) {
    context.warnings.push_back(Cat(config.name(), ": ", caps.substr(0, 200),
                                   " would change what other classes compute; ", own,
                                   " does not apply it, here as in transformers"));
  }
  if (!ignored.empty()) {
    context.notes.push_back(
        Cat(ignored.substr(0, 200), " has no effect on ", own, ", here as in transformers"));
  }
  return absl::OkStatus();
}

std::string UnknownKeysNote(const Config& config) {
  const std::string unknown = UnknownKeys(config);
  if (unknown.empty()) return "";
  return Cat(config.name(),
             " has keys that are not known here and were not used: ", unknown.substr(0, 200));
}

}  // namespace smelt
