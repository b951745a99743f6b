// From a folder or a file to a published tokenizer: which files there are, and which of them count.
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/base/utf8.h"
#include "lib/text/normalizer.h"
#include "lib/text/published.h"
#include "lib/text/sentencepiece_core.h"
#include "lib/text/sources.h"

namespace smelt {
namespace {

bool IsFile(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

// Whether the folder has this name, whatever stands behind it: a file that is there must not be
// passed over because it cannot be read, as the ids could then be others.
bool NameExists(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0;
}

absl::StatusOr<JsonValue> ReadJsonFile(const std::string& path) {
  SMELT_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  return ParseJsonValue(text, path, {.allow_nan = true});
}

// The bytes of a file, mapped: a tokenizer.json can have 30 MB.
struct MappedText {
  std::shared_ptr<Storage> storage;
  std::string_view text;
};
absl::StatusOr<MappedText> MapText(const std::string& path) {
  MappedText mapped;
  SMELT_ASSIGN_OR_RETURN(mapped.storage, OpenFile(path));
  if (mapped.storage->size() == 0) return mapped;
  SMELT_ASSIGN_OR_RETURN(const std::span<const std::byte> bytes, mapped.storage->Map());
  mapped.text = std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return mapped;
}

// added_tokens.json ({text: id}), then added_tokens_decoder of tokenizer_config.json ({id: {...}}),
// which wins.
absl::Status ReadDeclared(const std::string& folder, TokenizerFolder& out) {
  std::map<int32_t, AddedToken> by_id;
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
      SMELT_RETURN_IF_ERROR(put(std::move(token), *id.as_int(), file));
    }
  }
  const JsonValue* decoder = out.config.FindNonNull("added_tokens_decoder");
  if (decoder != nullptr && decoder->is_object()) {
    const std::string file = folder + "/tokenizer_config.json";
    for (const auto& [key, value] : *decoder->as_object()) {
      int64_t id = key.empty() || key.size() > 9 ? -1 : 0;
      for (const char c : key) id = id < 0 || c < '0' || c > '9' ? -1 : id * 10 + (c - '0');
      SMELT_ASSIGN_OR_RETURN(AddedToken token, ParseAddedToken(value, file));
      SMELT_RETURN_IF_ERROR(put(std::move(token), id, file));
    }
  }
  for (auto& [id, token] : by_id) out.declared.push_back(std::move(token));
  return absl::OkStatus();
}

absl::Status ReadSideFiles(const std::string& folder, TokenizerFolder& out) {
  if (const std::string file = folder + "/tokenizer_config.json"; NameExists(file)) {
    SMELT_ASSIGN_OR_RETURN(out.config, ReadJsonFile(file));
    if (!out.config.is_object())
      return Error(ErrorCode::kInvalidInput, file, " is not a JSON object");
  }
  if (const std::string file = folder + "/special_tokens_map.json"; NameExists(file)) {
    SMELT_ASSIGN_OR_RETURN(const JsonValue map, ReadJsonFile(file));
    if (!out.config.is_object() && map.is_object())
      out.config = map;  // where there is no tokenizer_config.json
  }
  if (const std::string file = folder + "/chat_template.jinja"; NameExists(file)) {
    SMELT_ASSIGN_OR_RETURN(out.chat_template_file, ReadTextFile(file));
  }
  if (const std::string file = folder + "/chat_template.json"; NameExists(file)) {
    SMELT_ASSIGN_OR_RETURN(out.chat_template_json, ReadJsonFile(file));
  }
  std::error_code error;
  std::vector<std::filesystem::path> more;
  const std::string templates = folder + "/additional_chat_templates";
  for (std::filesystem::directory_iterator it(templates, error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().extension() == ".jinja") more.push_back(it->path());
  }
  if (error && NameExists(templates))
    return Error(ErrorCode::kIo, Escape(templates),
                 ": cannot be read as a folder: ", error.message());
  std::sort(more.begin(), more.end());
  for (const auto& path : more) {
    SMELT_ASSIGN_OR_RETURN(std::string text, ReadTextFile(path.string()));
    out.additional_templates.emplace_back(path.stem().string(), std::move(text));
  }
  return ReadDeclared(folder, out);
}

absl::StatusOr<std::unique_ptr<TokenizerCore>> CoreFromJson(TokenizerJson json,
                                                            const std::string& file,
                                                            TokenizerFolder& folder) {
  folder.has_tokenizer_json = true;
  folder.added = json.added;
  if (const JsonValue* post = json.rest.FindNonNull("post_processor"); post != nullptr)
    folder.post_processor = *post;
  std::optional<SentencePieceModel> pieces;
  for (const std::string_view name : {"tokenizer.model", "spiece.model"}) {
    const std::string model = Cat(folder.path, "/", name);
    if (pieces || !NameExists(model)) continue;
    SMELT_ASSIGN_OR_RETURN(const MappedText mapped, MapText(model));
    absl::StatusOr<SentencePieceModel> parsed = ParseSentencePiece(mapped.text, model);
    if (parsed.ok())
      pieces = *std::move(parsed);  // tokenizer.json counts; a bad file beside it does not matter
  }
  return MakePipelineCore(std::move(json), file, RegexEngine::kAny, std::move(pieces));
}

// The beginning or end token: the one that the folder names, else the model's own if it is a
// control piece (SentencePiece's rule), else one of the usual names.
int32_t EndOf(const SentencePieceCore& core, const JsonValue& config, std::string_view key,
              std::initializer_list<std::string_view> names) {
  if (const JsonValue* token = config.FindNonNull(key); token != nullptr) {
    const int32_t id =
        core.Find(token->is_string() ? *token->as_string() : TextOf(*token, "content"));
    if (id >= 0) return id;
  }
  for (const std::string_view name : names) {
    if (const int32_t id = core.Find(name); id >= 0 && core.IsControl(id)) return id;
  }
  return -1;
}

// A SentencePiece model adds a beginning token unless its folder says otherwise; T5's class an end
// token.
absl::StatusOr<std::unique_ptr<TokenizerCore>> CoreFromSentencePiece(const std::string& file,
                                                                     TokenizerFolder& folder) {
  SMELT_ASSIGN_OR_RETURN(const MappedText mapped, MapText(file));
  SMELT_ASSIGN_OR_RETURN(SentencePieceModel model, ParseSentencePiece(mapped.text, file));
  SMELT_ASSIGN_OR_RETURN(std::unique_ptr<SentencePieceCore> core,
                         SentencePieceCore::Make(std::move(model), file));
  core->AddDeclared(folder.declared);
  const SentencePieceModel& own = core->model();
  const int32_t bos = EndOf(*core, folder.config, "bos_token", {own.bos_piece, "<s>", "<bos>"});
  const int32_t eos = EndOf(*core, folder.config, "eos_token", {own.eos_piece, "</s>", "<eos>"});
  const bool ends = TextOf(folder.config, "tokenizer_class").starts_with("T5Tokenizer");
  if (FlagOf(folder.config, "add_bos_token", true) && bos >= 0) core->prefix = {bos};
  if (FlagOf(folder.config, "add_eos_token", ends) && eos >= 0) core->suffix = {eos};
  return std::unique_ptr<TokenizerCore>(std::move(core));
}

// The core of a folder, by what it holds.
absl::StatusOr<std::unique_ptr<TokenizerCore>> CoreOfFolder(const std::string& path,
                                                            TokenizerFolder& folder) {
  const auto file = [&](std::string_view name) { return Cat(path, "/", name); };
  if (NameExists(file("tokenizer.json"))) {
    SMELT_ASSIGN_OR_RETURN(const MappedText mapped, MapText(file("tokenizer.json")));
    SMELT_ASSIGN_OR_RETURN(TokenizerJson json,
                           ParseTokenizerJson(mapped.text, file("tokenizer.json")));
    return CoreFromJson(std::move(json), file("tokenizer.json"), folder);
  }
  if (NameExists(file("tekken.json"))) {
    SMELT_ASSIGN_OR_RETURN(const MappedText mapped, MapText(file("tekken.json")));
    return MakeTekkenCore(mapped.text, file("tekken.json"), folder);
  }
  for (const std::string_view name : {"tokenizer.model", "spiece.model", "tokenizer.model.v3"}) {
    if (!NameExists(file(name))) continue;
    SMELT_ASSIGN_OR_RETURN(const MappedText mapped, MapText(file(name)));
    if (LooksLikeTiktoken(mapped.text)) return MakeTiktokenCore(mapped.text, file(name), folder);
    return CoreFromSentencePiece(file(name), folder);
  }
  if (NameExists(file("vocab.json"))) {
    if (!NameExists(file("merges.txt")))
      return Error(ErrorCode::kNotFound, path, " has vocab.json, but merges.txt is missing");
    SMELT_ASSIGN_OR_RETURN(const MappedText vocab, MapText(file("vocab.json")));
    SMELT_ASSIGN_OR_RETURN(const MappedText merges, MapText(file("merges.txt")));
    SMELT_ASSIGN_OR_RETURN(TokenizerJson json,
                           ReadVocabAndMerges(vocab.text, file("vocab.json"), merges.text,
                                              file("merges.txt"), folder));
    return CoreFromJson(std::move(json), file("vocab.json"), folder);
  }
  return Error(ErrorCode::kNotFound, path,
               " has no tokenizer (tokenizer.json, tokenizer.model, tekken.json, or vocab.json "
               "with merges.txt)");
}

}  // namespace

absl::StatusOr<std::unique_ptr<PublishedTokenizer>> OpenPublishedTokenizer(
    const std::string& path) {
  TokenizerFolder folder;
  folder.path = path;
  std::unique_ptr<TokenizerCore> core;
  if (IsFile(path)) {
    SMELT_ASSIGN_OR_RETURN(const MappedText mapped, MapText(path));
    const std::string name = std::filesystem::path(path).filename().string();
    if (name.ends_with(".json") &&
        mapped.text.substr(0, 4096).find("\"token_bytes\"") != std::string_view::npos) {
      SMELT_ASSIGN_OR_RETURN(core, MakeTekkenCore(mapped.text, path, folder));
    } else if (name.ends_with(".json")) {
      SMELT_ASSIGN_OR_RETURN(TokenizerJson json, ParseTokenizerJson(mapped.text, path));
      SMELT_ASSIGN_OR_RETURN(core, CoreFromJson(std::move(json), path, folder));
    } else if (LooksLikeTiktoken(mapped.text)) {
      SMELT_ASSIGN_OR_RETURN(core, MakeTiktokenCore(mapped.text, path, folder));
    } else {
      SMELT_ASSIGN_OR_RETURN(core, CoreFromSentencePiece(path, folder));
    }
  } else {
    SMELT_RETURN_IF_ERROR(ReadSideFiles(path, folder));
    SMELT_ASSIGN_OR_RETURN(core, CoreOfFolder(path, folder));
  }
  SMELT_ASSIGN_OR_RETURN(std::unique_ptr<FolderTokenizer> tokenizer,
                         FolderTokenizer::Make(std::move(core), std::move(folder)));
  return std::unique_ptr<PublishedTokenizer>(std::move(tokenizer));
}

}  // namespace smelt
