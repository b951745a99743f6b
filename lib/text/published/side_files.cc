#include "lib/text/published/side_files.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "lib/base/folder.h"
#include "lib/base/stand_in.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/base/text_hash.h"
#include "lib/text/spec/component_json.h"
#include "lib/text/spec/json_members.h"

namespace smelt {

absl::StatusOr<JsonValue> ReadJsonFile(const std::string& path) {
  SMELT_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  return ParseJsonValue(text, path, {.allow_nan = true});
}

namespace {

// The members of both, those of `map` instead of those of `config`.
JsonValue Over(const JsonValue& config, const JsonValue& map) {
  JsonValue::Object out = *map.as_object();
  if (const JsonValue::Object* rest = config.as_object()) {
    for (const auto& [key, value] : *rest) {
      if (map.Find(key) == nullptr) out.emplace_back(key, value);
    }
  }
  return JsonValue(std::move(out));
}

// The tokens that a folder names, in the order in which transformers adds those that the vocabulary
// lacks: bos_token and the like, then additional ones.
std::vector<AddedToken> NamedTokens(const TokenizerFolder& folder) {
  std::vector<AddedToken> out;
  const auto put = [&](const JsonValue& value) {
    AddedToken token;
    token.content = value.is_string() ? *value.as_string() : TextOf(value, "content");
    token.lstrip = FlagOf(value, "lstrip", false);
    token.rstrip = FlagOf(value, "rstrip", false);
    token.single_word = FlagOf(value, "single_word", false);
    token.normalized = FlagOf(value, "normalized", false);
    token.special = true;
    if (!token.content.empty()) out.push_back(std::move(token));
  };
  for (const std::string_view key : {"bos_token", "eos_token", "unk_token", "sep_token",
                                     "pad_token", "cls_token", "mask_token"}) {
    const auto usual = std::find_if(folder.special_defaults.begin(), folder.special_defaults.end(),
                                    [&](const auto& entry) { return entry.first == key; });
    if (const JsonValue* token = folder.config.Find(key); token != nullptr) {
      put(*token);  // null: no such token, whatever is usual
    } else if (usual != folder.special_defaults.end()) {
      put(JsonValue(usual->second));
    }
  }
  for (const std::string_view key : {"additional_special_tokens", "extra_special_tokens"}) {
    const JsonValue* list = folder.config.FindNonNull(key);
    if (list == nullptr) continue;
    if (list->is_array()) {
      for (const JsonValue& token : *list->as_array()) put(token);
    } else if (list->is_object()) {  // names of the model's own: {"image_token": "<image>"}
      for (const auto& [name, token] : *list->as_object()) put(token);
    }
  }
  return out;
}

// added_tokens_decoder of tokenizer_config.json ({id: {...}}); without it, added_tokens.json
// ({text: id}).
absl::Status ReadDeclared(const std::string& folder, TokenizerFolder& out) {
  std::map<int32_t, AddedToken> by_id;
  TextSet<std::string> named;
  for (AddedToken& token : NamedTokens(out)) named.insert(std::move(token.content));
  const auto put = [&](AddedToken token, int64_t id, const std::string& file) -> absl::Status {
    if (id < 0 || id > (1 << 24))
      return Error(ErrorCode::kInvalidInput, file, ": added token \"", Escape(token.content, 60),
                   "\" has the id ", id);
    token.id = static_cast<int32_t>(id);
    by_id[token.id] = std::move(token);
    return absl::OkStatus();
  };
  if (const std::string file = folder + "/added_tokens.json"; NameExists(file)) {
    SMELT_ASSIGN_OR_RETURN(const JsonValue json, ReadJsonFile(file));
    if (!json.is_object())
      return Error(ErrorCode::kInvalidInput, file, " is not an object of texts and ids");
    for (const auto& [text, id] : *json.as_object()) {
      if (!id.as_int())
        return Error(ErrorCode::kInvalidInput, file, ": the id of \"", Escape(text, 60),
                     "\" is not an integer");
      AddedToken token;
      token.content = text;
      token.special = named.contains(text);
      token.normalized = !token.special;
      if (!out.lists_added) SMELT_RETURN_IF_ERROR(put(std::move(token), *id.as_int(), file));
    }
  }
  const JsonValue* decoder = out.config.FindNonNull("added_tokens_decoder");
  if (decoder != nullptr && decoder->is_object()) {
    const std::string file = folder + "/tokenizer_config.json";
    for (const auto& [key, value] : *decoder->as_object()) {
      int64_t id = key.empty() || key.size() > 9 ? -1 : 0;
      for (const char c : key) id = id < 0 || c < '0' || c > '9' ? -1 : id * 10 + (c - '0');
      SMELT_ASSIGN_OR_RETURN(AddedToken token, ReadAddedToken(value, file, Members::kAny));
      token.special = token.special || named.contains(token.content);
      SMELT_RETURN_IF_ERROR(put(std::move(token), id, file));
    }
  }
  for (auto& [id, token] : by_id) out.declared.push_back(std::move(token));
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadTemplate(const std::string& path) {
  SMELT_ASSIGN_OR_RETURN(std::string text, ReadTextFile(path));
  SMELT_RETURN_IF_ERROR(RefuseStandIn(path, std::string_view(text).substr(0, kStandInBytes)));
  return text;
}

}  // namespace

absl::Status ReadSideFiles(const std::string& folder, TokenizerFolder& out) {
  if (const std::string file = folder + "/tokenizer_config.json"; NameExists(file)) {
    SMELT_ASSIGN_OR_RETURN(out.config, ReadJsonFile(file));
    if (!out.config.is_object())
      return Error(ErrorCode::kInvalidInput, file, " is not a JSON object");
  }
  out.lists_added = out.config.Find("added_tokens_decoder") != nullptr;
  if (const std::string file = folder + "/special_tokens_map.json"; NameExists(file)) {
    SMELT_ASSIGN_OR_RETURN(out.special_map, ReadJsonFile(file));
    if (!out.lists_added && out.special_map.is_object())
      out.config = Over(out.config, out.special_map);
  }
  if (const std::string file = folder + "/chat_template.jinja"; NameExists(file)) {
    SMELT_ASSIGN_OR_RETURN(out.chat_template_file, ReadTemplate(file));
  }
  if (const std::string file = folder + "/chat_template.json"; NameExists(file)) {
    SMELT_ASSIGN_OR_RETURN(out.chat_template_json, ReadJsonFile(file));
  }
  const std::string templates = folder + "/additional_chat_templates";
  if (!NameExists(templates)) return ReadDeclared(folder, out);
  SMELT_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(templates));
  for (const std::string& name : names) {
    const std::filesystem::path path = std::filesystem::path(templates) / name;
    if (path.extension() != ".jinja") continue;
    SMELT_ASSIGN_OR_RETURN(std::string text, ReadTemplate(path.string()));
    out.additional_templates.emplace_back(path.stem().string(), std::move(text));
  }
  return ReadDeclared(folder, out);
}

std::vector<AddedToken> NewNamedTokens(const TokenizerFolder& folder, int32_t next,
                                       const std::function<bool(const std::string&)>& known) {
  std::vector<AddedToken> out;
  TextSet<std::string> seen;
  for (AddedToken& token : NamedTokens(folder)) {
    if (known(token.content) || !seen.insert(token.content).second) continue;
    token.id = next++;
    out.push_back(std::move(token));
  }
  return out;
}

absl::Status AddDeclared(TokenizerFolder& folder, const std::string& file, PipelineSpec& spec) {
  TextMap<std::string, size_t> places;  // in spec.added
  for (size_t i = 0; i < spec.added.size(); ++i) places.emplace(spec.added[i].content, i);
  const auto add = [&](AddedToken token) {
    places.emplace(token.content, spec.added.size());
    spec.added.push_back(std::move(token));
  };
  auto next = static_cast<int32_t>(spec.tokens.count());
  for (const AddedToken& token : spec.added) next = std::max(next, token.id + 1);
  for (AddedToken token : folder.declared) {
    if (const auto place = places.find(token.content); place != places.end()) {
      AddedToken& known = spec.added[place->second];
      token.id = known.id;
      if (folder.lists_added) known = std::move(token);
      continue;
    }
    if (const int32_t id = spec.tokens.Find(token.content); id >= 0) {
      token.id = id;
    } else if (token.id != next || spec.tokens.Has(next)) {
      return Error(ErrorCode::kInvalidInput, file, " does not have the added token \"",
                   Escape(token.content, 60),
                   "\", which another file of its folder declares with id ", token.id,
                   "; the next free one is ", next);
    } else {
      ++next;
    }
    add(std::move(token));
  }
  // Ordinary tokens that are named as special ones are special; those that nobody has are new.
  for (AddedToken& token : NamedTokens(folder)) {
    token.id = spec.tokens.Find(token.content);
    if (token.id >= 0 && !places.contains(token.content)) add(std::move(token));
  }
  for (AddedToken& token : NewNamedTokens(
           folder, next, [&](const std::string& text) { return places.contains(text); })) {
    if (spec.tokens.Has(token.id)) {
      return Error(ErrorCode::kInvalidInput, file, " does not have the special token \"",
                   Escape(token.content, 60), "\" of its folder, and the next id, ", token.id,
                   ", is another token's");
    }
    add(std::move(token));
  }
  return absl::OkStatus();
}

absl::Status LeaveOutRowless(TokenizerFolder& folder, size_t vocabulary,
                             std::vector<AddedToken>& added) {
  if (folder.rows == 0 || vocabulary > folder.rows) return absl::OkStatus();
  const auto beyond = std::stable_partition(
      added.begin(), added.end(),
      [&](const AddedToken& token) { return static_cast<uint64_t>(token.id) < folder.rows; });
  std::vector<AddedToken> rowless(std::make_move_iterator(beyond),
                                  std::make_move_iterator(added.end()));
  added.erase(beyond, added.end());
  std::sort(rowless.begin(), rowless.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  uint64_t next = folder.rows;
  std::string names;
  constexpr size_t kShown = 3;
  for (const AddedToken& token : rowless) {
    if (static_cast<uint64_t>(token.id) != next) {
      return Error(ErrorCode::kInvalidInput, Escape(folder.path, 60), ": added token \"",
                   Escape(token.content, 60), "\" has the id ", token.id,
                   ", but the embedding has only ", folder.rows, " rows, and no token has the id ",
                   next);
    }
    if (next++ < folder.rows + kShown)
      names +=
          Cat(names.empty() ? " " : ", ", "\"", Escape(token.content, 40), "\" (", token.id, ")");
  }
  if (!rowless.empty()) {
    folder.notes.push_back(
        Cat(rowless.size() == 1 ? "the added token" : "the added tokens", names,
            rowless.size() > kShown ? Cat(" and ", rowless.size() - kShown, " more") : "",
            rowless.size() == 1 ? " has" : " have", " no row in the embedding of ", folder.rows,
            rowless.size() == 1 ? " and is left out" : " and are left out"));
  }
  folder.rowless = std::move(rowless);
  return absl::OkStatus();
}

}  // namespace smelt
