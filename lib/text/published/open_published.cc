// From a folder or a file to a published tokenizer: which files there are, and which of them count.
#include <algorithm>
#include <filesystem>
#include <iterator>
#include <utility>

#include "lib/base/folder.h"
#include "lib/base/stand_in.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/base/text_hash.h"
#include "lib/base/utf8.h"
#include "lib/text/published/published_tokenizer.h"
#include "lib/text/published/readers.h"
#include "lib/text/published/side_files.h"
#include "lib/text/spec/json_members.h"

namespace smelt {
namespace {

// The bytes of a file, mapped: a tokenizer.json can have 30 MB.
struct MappedText {
  std::shared_ptr<Storage> storage;
  std::string_view text;
};
absl::StatusOr<MappedText> MapText(const std::string& path) {
  MappedText mapped;
  SMELT_ASSIGN_OR_RETURN(mapped.storage, OpenFile(path));
  if (mapped.storage->size() == 0) return mapped;
  SMELT_ASSIGN_OR_RETURN(const std::string start, ReadStart(*mapped.storage, kStandInBytes));
  SMELT_RETURN_IF_ERROR(RefuseStandIn(path, start));
  SMELT_ASSIGN_OR_RETURN(const std::span<const std::byte> bytes, mapped.storage->Map());
  mapped.text = std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return mapped;
}

// The SentencePiece model beside a tokenizer.json whose pieces are its tokens: the written
// vocabulary has its scores and types.
std::optional<SentencePieceModel> PiecesBeside(const Pipeline& pipeline, TokenizerFolder& folder) {
  for (const std::string_view name : {"tokenizer.model", "spiece.model"}) {
    const std::string file = Cat(folder.path, "/", name);
    if (!NameExists(file)) continue;
    // tokenizer.json counts; a bad file beside it does not matter, but may be a surprise.
    const absl::StatusOr<MappedText> mapped = MapText(file);
    if (!mapped.ok()) {
      folder.notes.push_back(
          Cat(std::string(mapped.status().message()), "; tokenizer.json is read"));
      continue;
    }
    absl::StatusOr<SentencePieceModel> model = ParseSentencePiece(mapped->text, file);
    if (!model.ok()) continue;
    for (size_t id = 0; id < model->pieces.size(); ++id) {
      if (pipeline.Piece(static_cast<int32_t>(id)) != model->pieces[id].text) return std::nullopt;
    }
    return *std::move(model);
  }
  return std::nullopt;
}

// A tokenizer.json, or what stands for one, with what its folder declares.
absl::StatusOr<std::unique_ptr<Pipeline>> OfTokenizerJson(PipelineSpec spec,
                                                          const std::string& file,
                                                          TokenizerFolder& folder) {
  folder.has_tokenizer_json = true;
  SMELT_RETURN_IF_ERROR(AddDeclared(folder, file, spec));
  SMELT_RETURN_IF_ERROR(LeaveOutRowless(folder, spec.tokens.size(), spec.added));
  SMELT_ASSIGN_OR_RETURN(std::unique_ptr<Pipeline> pipeline, Pipeline::Make(std::move(spec), file));
  folder.pieces = PiecesBeside(*pipeline, folder);
  return pipeline;
}

int32_t FindToken(const PipelineSpec& spec, std::string_view text) {
  for (const AddedToken& token : spec.added) {
    if (token.content == text) return token.id;
  }
  return spec.tokens.Find(text);
}

// The beginning or end token of a SentencePiece model: the one that the folder names, else the
// model's own if it is a control piece (SentencePiece's rule), else one of the usual names.
int32_t EndOf(const PipelineSpec& spec, const JsonValue& config, std::string_view key,
              std::initializer_list<std::string_view> names) {
  if (const JsonValue* token = config.FindNonNull(key); token != nullptr) {
    const int32_t id =
        FindToken(spec, token->is_string() ? *token->as_string() : TextOf(*token, "content"));
    if (id >= 0) return id;
  }
  const int32_t unknown = std::get<PieceModel>(spec.model).unknown;
  for (const std::string_view name : names) {
    const auto control = std::find_if(spec.added.begin(), spec.added.end(), [&](const auto& token) {
      return token.content == name && token.special && token.id != unknown;
    });
    if (control != spec.added.end()) return control->id;
  }
  return -1;
}

// An added token may give a control or unused piece another name; in the place of a piece that
// texts need it would change their ids.
absl::Status CheckNoPieceIsLost(const TokenizerFolder& folder, const SentencePieceModel& model,
                                const std::string& file) {
  for (const AddedToken& token : folder.declared) {
    if (token.id < 0 || static_cast<size_t>(token.id) >= model.pieces.size()) continue;
    const SentencePiece& piece = model.pieces[static_cast<size_t>(token.id)];
    const bool needed = piece.type == PieceType::kNormal || piece.type == PieceType::kByte;
    if (needed && piece.text != token.content) {
      return Error(ErrorCode::kInvalidInput, folder.path, ": added token \"",
                   Escape(token.content, 60), "\" has the id ", token.id, ", which ", Escape(file),
                   " gives to \"", Escape(piece.text, 60), "\"");
    }
  }
  return absl::OkStatus();
}

// A SentencePiece model adds a beginning token unless its folder says otherwise; T5's class an end
// token.
absl::StatusOr<std::unique_ptr<Pipeline>> OfSentencePiece(const std::string& file,
                                                          TokenizerFolder& folder) {
  SMELT_ASSIGN_OR_RETURN(const MappedText mapped, MapText(file));
  SMELT_ASSIGN_OR_RETURN(SentencePieceModel model, ParseSentencePiece(mapped.text, file));
  const bool bpe = model.type == SentencePieceModel::Type::kBpe;
  // Llama's class has a switch of its own for the dummy prefix.
  if (bpe)
    model.normalizer.add_dummy_prefix =
        FlagOf(folder.config, "add_prefix_space", model.normalizer.add_dummy_prefix);
  SMELT_ASSIGN_OR_RETURN(PipelineSpec spec, ReadSentencePiece(model, file));
  SMELT_RETURN_IF_ERROR(CheckNoPieceIsLost(folder, model, file));
  if (bpe) {  // T5's class has an order of its own
    auto next = static_cast<int32_t>(model.pieces.size());
    TextSet<std::string> declared;
    for (const AddedToken& token : folder.declared) {
      next = std::max(next, token.id + 1);
      declared.insert(token.content);
    }
    std::vector<AddedToken> added = NewNamedTokens(folder, next, [&](const std::string& text) {
      return spec.tokens.Find(text) >= 0 || declared.contains(text);
    });
    std::move(added.begin(), added.end(), std::back_inserter(folder.declared));
  }
  SMELT_RETURN_IF_ERROR(LeaveOutRowless(folder, model.pieces.size(), folder.declared));
  AddToSentencePiece(folder.declared, spec);
  // "legacy" of Llama's class: false where the prefix stands only before a text's own beginning.
  auto& rules = std::get<SentencePieceNormalizer>(spec.normalizers.front());
  if (bpe && !FlagOf(folder.config, "legacy", true) && rules.dummy_prefix == PrependScheme::kAlways)
    rules.dummy_prefix = PrependScheme::kFirst;
  const int32_t bos = EndOf(spec, folder.config, "bos_token", {model.bos_piece, "<s>", "<bos>"});
  const int32_t eos = EndOf(spec, folder.config, "eos_token", {model.eos_piece, "</s>", "<eos>"});
  const bool ends = TextOf(folder.config, "tokenizer_class").starts_with("T5Tokenizer");
  std::vector<int32_t> before, after;
  if (FlagOf(folder.config, "add_bos_token", true) && bos >= 0) before = {bos};
  if (FlagOf(folder.config, "add_eos_token", ends) && eos >= 0) after = {eos};
  spec.post_processors = {TemplateAround(before, after)};
  return Pipeline::Make(std::move(spec), file);
}

// A file in tiktoken's format, and the params.json of Meta's layout beside it.
absl::StatusOr<std::unique_ptr<Pipeline>> OfTiktoken(std::string_view text, const std::string& file,
                                                     TokenizerFolder& folder) {
  const std::string params = std::filesystem::path(file).replace_filename("params.json").string();
  if (NameExists(params)) {
    SMELT_ASSIGN_OR_RETURN(folder.model_config, ReadJsonFile(params));
  }
  SMELT_ASSIGN_OR_RETURN(PipelineSpec spec, ReadTiktoken(text, file, folder));
  return Pipeline::Make(std::move(spec), file);
}

absl::StatusOr<std::unique_ptr<Pipeline>> OfTekken(const std::string& file,
                                                   TokenizerFolder& folder) {
  SMELT_ASSIGN_OR_RETURN(const MappedText mapped, MapText(file));
  SMELT_ASSIGN_OR_RETURN(PipelineSpec spec, ReadTekken(mapped.text, file, folder));
  return Pipeline::Make(std::move(spec), file);
}

constexpr std::string_view kTiktokenEnding = ".tiktoken";

// Another name of a file in tiktoken's format, or empty: qwen.tiktoken and the like.
std::string FindTiktoken(const std::string& folder) {
  const absl::StatusOr<std::vector<std::string>> names = ListFolder(folder);
  if (!names.ok()) return std::string();
  const auto found = std::find_if(names->begin(), names->end(), [](const std::string& name) {
    return name.size() > kTiktokenEnding.size() && name.ends_with(kTiktokenEnding);
  });
  return found == names->end() ? std::string() : Cat(folder, "/", *found);
}

// SentencePiece models and ranks, under the names that they are published with.
constexpr std::string_view kModelFiles[] = {"tokenizer.model", "spiece.model", "tokenizer.model.v3",
                                            "tiktoken.model"};

// The tokenizer of a folder, by what it holds.
absl::StatusOr<std::unique_ptr<Pipeline>> OfFolder(const std::string& path,
                                                   TokenizerFolder& folder) {
  const auto file = [&](std::string_view name) { return Cat(path, "/", name); };
  if (NameExists(file("tokenizer.json"))) {
    SMELT_ASSIGN_OR_RETURN(const MappedText mapped, MapText(file("tokenizer.json")));
    SMELT_ASSIGN_OR_RETURN(PipelineSpec spec,
                           ReadTokenizerJson(mapped.text, file("tokenizer.json")));
    return OfTokenizerJson(std::move(spec), file("tokenizer.json"), folder);
  }
  if (NameExists(file("tekken.json"))) return OfTekken(file("tekken.json"), folder);
  for (const std::string_view name : kModelFiles) {
    if (!NameExists(file(name))) continue;
    SMELT_ASSIGN_OR_RETURN(const MappedText mapped, MapText(file(name)));
    if (LooksLikeTiktoken(mapped.text)) return OfTiktoken(mapped.text, file(name), folder);
    return OfSentencePiece(file(name), folder);
  }
  if (NameExists(file("vocab.json"))) {
    if (!NameExists(file("merges.txt")))
      return Error(ErrorCode::kNotFound, path, " has vocab.json, but merges.txt is missing");
    SMELT_ASSIGN_OR_RETURN(const MappedText vocab, MapText(file("vocab.json")));
    SMELT_ASSIGN_OR_RETURN(const MappedText merges, MapText(file("merges.txt")));
    if (NameExists(file("config.json"))) {
      SMELT_ASSIGN_OR_RETURN(folder.model_config, ReadJsonFile(file("config.json")));
    }
    SMELT_ASSIGN_OR_RETURN(PipelineSpec spec,
                           ReadVocabAndMerges(vocab.text, file("vocab.json"), merges.text,
                                              file("merges.txt"), folder));
    return OfTokenizerJson(std::move(spec), file("vocab.json"), folder);
  }
  if (const std::string name = FindTiktoken(path); !name.empty()) {
    SMELT_ASSIGN_OR_RETURN(const MappedText mapped, MapText(name));
    return OfTiktoken(mapped.text, name, folder);
  }
  return Error(ErrorCode::kNotFound, path,
               " has no tokenizer (tokenizer.json, tokenizer.model, tekken.json, or vocab.json "
               "with merges.txt)");
}

// The tokenizer of one file.
absl::StatusOr<std::unique_ptr<Pipeline>> OfFile(const std::string& path, TokenizerFolder& folder) {
  SMELT_ASSIGN_OR_RETURN(const MappedText mapped, MapText(path));
  const std::string name = std::filesystem::path(path).filename().string();
  if (name == "vocab.json" || name == "merges.txt") {
    return Error(ErrorCode::kUsage, Escape(path),
                 " is half a tokenizer: give the folder that has vocab.json and merges.txt");
  }
  if (name.ends_with(".json") &&
      mapped.text.substr(0, 4096).find("\"token_bytes\"") != std::string_view::npos)
    return OfTekken(path, folder);
  if (name.ends_with(".json")) {
    SMELT_ASSIGN_OR_RETURN(PipelineSpec spec, ReadTokenizerJson(mapped.text, path));
    return OfTokenizerJson(std::move(spec), path, folder);
  }
  return LooksLikeTiktoken(mapped.text) ? OfTiktoken(mapped.text, path, folder)
                                        : OfSentencePiece(path, folder);
}

}  // namespace

bool HasTokenizerFiles(const std::string& folder) {
  const auto has = [&](std::string_view name) { return NameExists(Cat(folder, "/", name)); };
  return has("tokenizer.json") || has("tekken.json") || has("vocab.json") ||
         std::ranges::any_of(kModelFiles, has) || !FindTiktoken(folder).empty();
}

absl::StatusOr<std::unique_ptr<PublishedTokenizer>> OpenPublishedTokenizer(const std::string& path,
                                                                           uint64_t rows) {
  TokenizerFolder folder;
  folder.rows = rows;
  folder.path = path;
  std::unique_ptr<Pipeline> pipeline;
  if (IsFile(path)) {
    SMELT_ASSIGN_OR_RETURN(pipeline, OfFile(path, folder));
  } else {
    SMELT_RETURN_IF_ERROR(ReadSideFiles(path, folder));
    SMELT_ASSIGN_OR_RETURN(pipeline, OfFolder(path, folder));
  }
  return PublishedTokenizer::Make(std::move(pipeline), std::move(folder));
}

}  // namespace smelt
