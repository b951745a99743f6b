#include "lib/model/token_ids.h"

#include <algorithm>
#include <optional>
#include <span>

#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr std::string_view kGeneration = "generation_config.json";
/// Of tokens that begin or end a text, or a turn of it.
constexpr std::string_view kBoundaries[] = {"bos_token_id", "eos_token_id", "eot_token_id"};

/// The elements of a list, or a value alone.
std::span<const JsonValue> Elements(const JsonValue& value) {
  return value.as_array() != nullptr ? std::span(*value.as_array()) : std::span(&value, 1);
}

class Reader {
 public:
  Reader(uint64_t rows, std::vector<std::string>& notes)
      : rows_(rows == 0 ? uint64_t{1} << 31 : rows), known_(rows != 0), notes_(notes) {}

  /// The ids of a number or a list of numbers.
  std::vector<int64_t> Read(std::string_view file, std::string_view key, const JsonValue* value) {
    std::vector<int64_t> ids;
    if (value == nullptr || value->is_null()) return ids;
    if (Elements(*value).empty())
      notes_.push_back(Cat(file, ": ", key, " is an empty list; it is not used"));
    for (const JsonValue& one : Elements(*value)) {
      const std::optional<int64_t> id = one.as_int();
      if (id && *id >= 0 && static_cast<uint64_t>(*id) < rows_) {
        ids.push_back(*id);
      } else if (!one.is_null()) {
        notes_.push_back(Cat(file, ": ", key, " is ", Escape(one.ToText(), 40), ", no id ",
                             known_ ? Cat("of the ", rows_, " tokens") : std::string("of a token"),
                             "; it is not used"));
      }
    }
    return ids;
  }

 private:
  const uint64_t rows_;
  const bool known_;
  std::vector<std::string>& notes_;
};

/// A value that says nothing of the mathematics: a part's own, else the whole's.
const JsonValue* FindInOrOutside(const Config& config, std::string_view key) {
  const JsonValue* value = config.Find(key);
  return value == nullptr && config.Outer() != nullptr ? config.Outer()->Find(key) : value;
}

absl::Status CheckHasRow(std::string_view file, std::string_view key, const JsonValue* value,
                         uint64_t rows, const PublishedTokenizer& tokenizer) {
  if (value == nullptr) return absl::OkStatus();
  for (const JsonValue& one : Elements(*value)) {
    const std::optional<int64_t> id = one.as_int();
    const std::string text = id ? tokenizer.RowlessPiece(*id) : "";
    if (text.empty()) continue;
    return Error(ErrorCode::kInvalidInput, file, ": ", key, " is ", *id, " (\"", Escape(text, 60),
                 "\"), but the embedding has only ", rows,
                 " rows: give it one for this token, or name another");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenIds> ReadTokenIds(const Config& config, const JsonValue* generation,
                                      uint64_t rows, const PublishedTokenizer* tokenizer,
                                      std::vector<std::string>& notes) {
  if (tokenizer != nullptr) {
    for (std::string_view key : kBoundaries) {
      const JsonValue* own = FindInOrOutside(config, key);
      SMELT_RETURN_IF_ERROR(CheckHasRow(config.name(), key, own, rows, *tokenizer));
      if (generation == nullptr) continue;
      const JsonValue* other = generation->Find(key);
      SMELT_RETURN_IF_ERROR(CheckHasRow(kGeneration, key, other, rows, *tokenizer));
    }
  }
  Reader reader(rows, notes);
  TokenIds out;
  const std::pair<std::string_view, std::optional<int64_t> ConfigTokenIds::*> kIds[] = {
      {"bos_token_id", &ConfigTokenIds::bos},     {"eos_token_id", &ConfigTokenIds::eos},
      {"unk_token_id", &ConfigTokenIds::unknown}, {"sep_token_id", &ConfigTokenIds::separator},
      {"pad_token_id", &ConfigTokenIds::padding}, {"mask_token_id", &ConfigTokenIds::mask}};
  for (const auto& [key, member] : kIds) {
    const std::vector<int64_t> ids = reader.Read(config.name(), key, FindInOrOutside(config, key));
    // A list names several ids that end a text; its first is "the" one.
    if (!ids.empty()) out.named.*member = ids.front();
    if (key == "eos_token_id") out.ends = ids;
  }
  if (generation == nullptr) return out;
  std::vector<int64_t> ends =
      reader.Read(kGeneration, "eos_token_id", generation->Find("eos_token_id"));
  if (!ends.empty()) out.ends = std::move(ends);
  for (std::string_view key : {"bos_token_id", "pad_token_id"})  // only looked at
    reader.Read(kGeneration, key, generation->Find(key));
  return out;
}

}  // namespace smelt
