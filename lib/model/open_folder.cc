#include "lib/model/open_folder.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "formats/model_card.h"
#include "formats/model_folder.h"
#include "formats/weights_directory.h"
#include "formats/what_is_there.h"
#include "lib/base/folder.h"
#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/model/adapter.h"
#include "lib/model/choose_family.h"
#include "lib/model/family.h"
#include "lib/model/general.h"
#include "lib/model/lora.h"
#include "lib/model/lora_merge.h"
#include "lib/model/merged_names.h"
#include "lib/model/meta_parts.h"
#include "lib/model/mlx_layout.h"
#include "lib/model/open_adapters.h"
#include "lib/model/quantized.h"
#include "lib/model/sentence_modules.h"
#include "lib/model/token_ids.h"
#include "lib/text/gguf/generation_ends.h"
#include "lib/text/gguf/vocabulary_writer.h"
#include "lib/text/published/published_tokenizer.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kConfigLimit = 16 << 20, kCardLimit = 16 << 20;

/// A folder being read: files, notes, and the texts that identify it.
class FolderReader {
 public:
  FolderReader(std::string path, const OpenOptions& options)
      : path_(std::move(path)), options_(options) {}

  absl::StatusOr<OpenedModel> Read() {
    SMELT_RETURN_IF_ERROR(CheckNoAdapter(path_, beside_));
    if (HasParams()) return ReadParams();
    SMELT_ASSIGN_OR_RETURN(const std::string text, ReadConfigText("config.json"));
    SMELT_ASSIGN_OR_RETURN(const Config whole, Config::Parse(text, "config.json"));
    SMELT_ASSIGN_OR_RETURN(const ChosenFamily chosen, ChooseFamily(whole));
    if (!chosen.note.empty()) opened_.notes.push_back(chosen.note);
    SMELT_ASSIGN_OR_RETURN(const Config config, TextPart(*chosen.family, whole));
    SMELT_ASSIGN_OR_RETURN(const WeightsForm form, FindWeights(path_));
    SMELT_ASSIGN_OR_RETURN(Container container, OpenWeights(path_, form));
    opened_.notes.insert(opened_.notes.end(), form.notes.begin(), form.notes.end());
    return Finish(*chosen.family, config, std::move(container), nullptr);
  }

 private:
  std::string File(std::string_view name) const { return (fs::path(path_) / name).string(); }

  /// params.json speaks for the weights: there is no config.json, or the only weights are the
  /// maker's own.
  bool HasParams() const {
    if (!Exists(File("params.json"))) return false;
    if (!Exists(File("config.json"))) return true;
    const absl::StatusOr<WeightsForm> form = FindWeights(path_);
    return form.ok() && (form->kind == WeightsKind::kConsolidatedSafetensors ||
                         form->kind == WeightsKind::kConsolidatedTorch);
  }

  /// Meta's and Mistral's own layouts.
  absl::StatusOr<OpenedModel> ReadParams() {
    SMELT_ASSIGN_OR_RETURN(const std::string text, ReadConfigText("params.json"));
    SMELT_ASSIGN_OR_RETURN(const Config params, Config::Parse(text, "params.json"));
    SMELT_ASSIGN_OR_RETURN(const WeightsForm form, FindWeights(path_));
    opened_.notes.insert(opened_.notes.end(), form.notes.begin(), form.notes.end());
    const bool meta = form.kind == WeightsKind::kConsolidatedTorch;
    MergedParts merged;
    if (meta) {
      SMELT_ASSIGN_OR_RETURN(std::vector<Container> parts, OpenMetaParts(path_, form));
      SMELT_ASSIGN_OR_RETURN(const auto width, params.Count("dim", 1, 1 << 24));
      SMELT_ASSIGN_OR_RETURN(merged, MergeMetaParts(std::move(parts), width.value_or(0)));
    } else {
      SMELT_ASSIGN_OR_RETURN(merged.container, OpenWeights(path_, form));
    }
    return Finish(FamilyOfParams(params, meta), params, std::move(merged.container),
                  &merged.sliced);
  }

  absl::StatusOr<OpenedModel> Finish(const Family& family, Config config, Container container,
                                     const SlicedTensors* sliced) {
    const auto side_file = [this](std::string_view name) { return SideFile(name, kConfigLimit); };
    SMELT_RETURN_IF_ERROR(ReadQuantized(config, side_file, container, container.notes));
    SMELT_RETURN_IF_ERROR(UndoMlxLayout(family, container));
    SMELT_RETURN_IF_ERROR(MergeAdapters(family, config, container));
    SMELT_RETURN_IF_ERROR(OpenTokenizer(config));
    absl::StatusOr<DescribedModel> described =
        Describe(family, config, container,
                 {.vocabulary_size = tokenizer_ == nullptr ? 0 : tokenizer_->size(),
                  .sliced = sliced,
                  .keep_draft = options_.keep_draft,
                  .makes_vectors = MakesVectors(family, config)});
    if (!described.ok() && !container.joined.empty()) {
      return Error(CodeOf(described.status()), std::string(described.status().message()),
                   " (read together for want of an index: ", container.joined,
                   "; put those of the model into a folder of their own)");
    }
    SMELT_ASSIGN_OR_RETURN(DescribedModel model, std::move(described));
    Metadata metadata;
    SMELT_RETURN_IF_ERROR(WriteMetadata(family, config, model, metadata));
    opened_.notes.insert(opened_.notes.begin(), model.notes.begin(), model.notes.end());
    opened_.notes.insert(opened_.notes.begin(), container.notes.begin(), container.notes.end());
    opened_.warnings.insert(opened_.warnings.begin(), model.warnings.begin(), model.warnings.end());
    opened_.warnings.insert(opened_.warnings.begin(), container.warnings.begin(),
                            container.warnings.end());
    SMELT_ASSIGN_OR_RETURN(opened_.source,
                           MakeRecipeSource(path_, std::move(metadata), std::move(model.tensors),
                                            std::move(container.files), std::move(texts_)));
    SMELT_RETURN_IF_ERROR(AdaptResult(options_, false, opened_));
    return std::move(opened_);
  }

  /// sentence-transformers' list of modules is there, or the class is one without a head.
  bool MakesVectors(const Family& family, const Config& config) const {
    if (Exists(File("modules.json"))) return true;
    const Config* whole = &config;
    while (whole->Outer() != nullptr) whole = whole->Outer();
    const absl::StatusOr<std::vector<std::string>> names = whole->Texts("architectures");
    return names.ok() && std::ranges::any_of(*names, [&](std::string_view name) {
             return std::ranges::find(family.names, name) != family.names.end() &&
                    name.ends_with("Model") && !name.ends_with("LMHeadModel");
           });
  }

  /// Those that are in the checkpoint itself, then those that were asked for.
  absl::Status MergeAdapters(const Family& family, Config& config, Container& container) {
    SMELT_ASSIGN_OR_RETURN(std::optional<LoraAdapter> own, TakeUnmerged(path_, container));
    if (own) {
      SMELT_RETURN_IF_ERROR(Merge(family, *own, 1, config, container));
    } else {
      opened_.notes.insert(opened_.notes.end(), beside_.begin(), beside_.end());
    }
    for (const auto& [path, strength] : options_.adapters) {
      if (IsGgufFile(path)) continue;  // which is for the tensors of the result
      SMELT_ASSIGN_OR_RETURN(LoraAdapter adapter, OpenLora(path));
      SMELT_RETURN_IF_ERROR(Merge(family, adapter, strength, config, container));
      texts_ += Cat(adapter.texts, strength);
      if (base_id_.empty()) base_id_ = adapter.config.Base();
    }
    return absl::OkStatus();
  }

  absl::Status Merge(const Family& family, LoraAdapter& adapter, double strength, Config& config,
                     Container& container) {
    const auto rule_of = [&](Param param) {
      return std::ranges::find(family.hypers, param, &HyperRule::param);
    };
    bool tied = false;
    if (const auto rule = rule_of(Param::kTied); rule != family.hypers.end()) {
      SMELT_ASSIGN_OR_RETURN(const auto said, config.Flag(rule->config));
      tied = said.value_or(rule->fallback.number != 0);
    }
    SMELT_ASSIGN_OR_RETURN(const LoraMerged merged,
                           MergeLora(family, tied, adapter, strength, container));
    const auto vocabulary = rule_of(Param::kVocab);
    if (merged.vocabulary_rows != 0 && vocabulary != family.hypers.end()) {
      config =
          config.With(vocabulary->config, JsonValue(static_cast<int64_t>(merged.vocabulary_rows)));
    }
    NoteMerged(adapter.path, strength, merged, container.notes);
    NotePatterns(adapter, container.notes);
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> ReadConfigText(std::string_view name) {
    if (!NameExists(File(name))) {
      SMELT_RETURN_IF_ERROR(RefuseOtherForms(path_));
      const std::vector<std::string> entries = ListEntries(path_);
      return Error(ErrorCode::kNotFound, "no config.json in ", Escape(path_),
                   ": expected a model directory with config.json and its weights",
                   entries.empty() ? "; it is empty" : Cat("; it holds ", ListOf(entries)));
    }
    SMELT_ASSIGN_OR_RETURN(std::string text, ReadTextFile(File(name), kConfigLimit));
    texts_ += text;
    return text;
  }

  absl::Status OpenTokenizer(const Config& config) {
    if (!options_.vocabulary) return absl::OkStatus();
    uint64_t rows = 0;
    if (config.name() != "params.json") {  // there it can be -1: as many as the tokenizer has
      SMELT_ASSIGN_OR_RETURN(const auto said, config.Count("vocab_size", 0, 1u << 24));
      rows = said.value_or(0);
    }
    SMELT_ASSIGN_OR_RETURN(tokenizer_, OpenPublishedTokenizer(path_, rows));
    return OpenAdaptersTokenizer(rows);
  }

  /// An adapter's tokenizer counts where it has other tokens than the base's; else its chat
  /// template does.
  absl::Status OpenAdaptersTokenizer(uint64_t rows) {
    for (const auto& [path, strength] : options_.adapters) {
      if (!IsFolder(path) || !HasTokenizerFiles(path)) continue;
      SMELT_ASSIGN_OR_RETURN(auto own, OpenPublishedTokenizer(path, rows));
      if (own->size() == tokenizer_->size()) {
        template_ = std::move(own);
        continue;
      }
      opened_.notes.push_back(Cat("the vocabulary is that of the adapter ", Escape(path, 80), ": ",
                                  own->size(), " tokens, and the base's has ", tokenizer_->size()));
      tokenizer_ = std::move(own);
      template_.reset();
    }
    return absl::OkStatus();
  }

  absl::Status WriteAdaptersTemplate(Metadata& out) {
    constexpr std::string_view kKey = "tokenizer.chat_template";
    if (template_ == nullptr) return absl::OkStatus();
    Metadata own;
    SMELT_RETURN_IF_ERROR(WriteChatTemplates(template_->folder(), own));
    const MetadataValue* text = own.Find(kKey);
    const MetadataValue* base = out.Find(kKey);
    if (text == nullptr || (base != nullptr && *base == *text)) return absl::OkStatus();
    for (const Metadata::Entry& entry : own.entries()) out.Set(entry.key, entry.value);
    opened_.notes.push_back(
        Cat("the chat template is that of the adapter ", Escape(template_->folder().path, 80)));
    return absl::OkStatus();
  }

  /// A side file that may be absent; unreadable ones are left out with a warning.
  std::optional<std::string> SideFile(std::string_view name, uint64_t limit) {
    if (!NameExists(File(name))) return std::nullopt;
    absl::StatusOr<std::string> text = ReadTextFile(File(name), limit);
    if (!text.ok()) {
      opened_.warnings.push_back(Cat(name, " is left out: ", std::string(text.status().message())));
      return std::nullopt;
    }
    texts_ += *text;
    return *std::move(text);
  }

  void ReadSideFiles(GeneralInputs& inputs) {
    if (const auto text = SideFile("README.md", kCardLimit)) {
      absl::StatusOr<std::optional<JsonValue>> card = ParseModelCard(*text);
      if (card.ok()) {
        inputs.card = *std::move(card);
      } else {
        opened_.warnings.push_back(Cat("README.md: ", std::string(card.status().message()),
                                       "; its metadata are left out"));
      }
    }
    if (const auto text = SideFile("generation_config.json", kConfigLimit)) {
      absl::StatusOr<JsonValue> generation = ParseJsonValue(*text, "generation_config.json");
      if (generation.ok() && generation->is_object()) {
        inputs.generation = *std::move(generation);
      } else {
        opened_.warnings.push_back(Cat("generation_config.json is left out: ",
                                       generation.ok()
                                           ? std::string("no JSON object")
                                           : std::string(generation.status().message())));
      }
    }
  }

  /// How sentence-transformers makes one vector of a text's.
  void ReadModules(std::string_view architecture, Metadata& out) {
    const SentenceModules modules = ReadSentenceModules(
        [this](const std::string& name) { return SideFile(name, kConfigLimit); });
    if (modules.pooling_type) out.Set(Cat(architecture, ".pooling_type"), *modules.pooling_type);
    opened_.notes.insert(opened_.notes.end(), modules.notes.begin(), modules.notes.end());
  }

  /// params.json names no ids: those of SentencePiece's own beginning and end.
  void NameOwnIds(ConfigTokenIds& ids) const {
    constexpr int32_t kControl = 16;  // they are among the first
    for (int32_t id = 0; id < std::min<int32_t>(kControl, tokenizer_->size()); ++id) {
      const std::string piece = tokenizer_->Piece(id);
      if (piece == "<s>" && !ids.bos) ids.bos = id;
      if (piece == "</s>" && !ids.eos) ids.eos = id;
    }
  }

  /// eod_token_id takes the place of the end token, which ends a text as well.
  static absl::Status EndWithEod(const Config& config, uint64_t rows, Metadata& out) {
    SMELT_ASSIGN_OR_RETURN(const auto eod, config.Count("eod_token_id", 0));
    const MetadataValue* eos = out.Find("tokenizer.ggml.eos_token_id");
    if (!eod || *eod >= rows || eos == nullptr || eos->AsUint() == *eod) return absl::OkStatus();
    SMELT_ASSIGN_OR_RETURN(
        std::vector<int32_t> ends,
        ReadOwnList<std::vector<int32_t>>(out, "smelt.tokenizer.end_token_ids", {.tokens = rows}));
    ends.push_back(static_cast<int32_t>(eos->AsUint().value_or(0)));
    WriteOwn<std::vector<int32_t>>(out, "smelt.tokenizer.end_token_ids", std::move(ends));
    out.Set("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(*eod));
    return absl::OkStatus();
  }

  absl::Status WriteMetadata(const Family& family, const Config& config,
                             const DescribedModel& model, Metadata& out) {
    GeneralInputs inputs;
    inputs.architecture = family.architecture.name;
    inputs.states_repetition = !IsWrittenAsIn2025(family);
    inputs.folder = ModelFolderName(path_);
    inputs.sizes = CountSizes(model.tensors);
    const JsonValue* name = config.Find("_name_or_path");
    if (name == nullptr && config.Outer() != nullptr) name = config.Outer()->Find("_name_or_path");
    if (name != nullptr && name->as_string() != nullptr) {
      inputs.config_name = *name->as_string();
    }
    ReadSideFiles(inputs);
    WriteGeneral(inputs, out, opened_.warnings);
    NameAfterAdapters(AdapterNames(options_), base_id_, out);
    for (const Metadata::Entry& entry : model.keys.entries()) out.Set(entry.key, entry.value);
    ReadModules(family.architecture.name, out);
    out.Set("general.quantization_version", uint32_t{2});
    if (tokenizer_ == nullptr) return absl::OkStatus();
    VocabularyOptions options;
    options.rows = model.vocabulary_rows;
    options.architecture = family.architecture.name;
    options.states_boundaries = !IsWrittenAsIn2025(family);
    options.pre = options_.pre;
    options.allow_mismatch = options_.allow_tokenizer_mismatch;
    const JsonValue* generation = inputs.generation ? &*inputs.generation : nullptr;
    SMELT_ASSIGN_OR_RETURN(
        const TokenIds ids,
        ReadTokenIds(config, generation, model.vocabulary_rows, tokenizer_.get(), opened_.notes));
    options.config_ids = ids.named;
    if (config.name() == "params.json") NameOwnIds(options.config_ids);
    SMELT_RETURN_IF_ERROR(WriteVocabulary(*tokenizer_, options, out, opened_.notes));
    SMELT_RETURN_IF_ERROR(WriteAdaptersTemplate(out));
    SMELT_RETURN_IF_ERROR(WriteGenerationEnds(ids.ends, out, opened_.notes));
    return family.ends_with_eod ? EndWithEod(config, model.vocabulary_rows, out) : absl::OkStatus();
  }

  const std::string path_;
  const OpenOptions& options_;
  OpenedModel opened_;
  std::string texts_;
  std::string base_id_;              // what an adapter calls its base
  std::vector<std::string> beside_;  // an adapter that is not applied, unless it is
  std::unique_ptr<PublishedTokenizer> tokenizer_;
  std::unique_ptr<PublishedTokenizer> template_;  // whose chat template counts; null: tokenizer_'s
};

}  // namespace

absl::StatusOr<OpenedModel> OpenFolder(const std::string& path, const OpenOptions& options) {
  return FolderReader(path, options).Read();
}

}  // namespace smelt
