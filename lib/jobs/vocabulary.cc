// `convert --vocab-only`: tokenizer files to a GGUF without tensors.
#include "smelt/vocabulary.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>

#include "formats/gguf.h"
#include "lib/base/atomic_file.h"
#include "lib/base/folder.h"
#include "lib/base/guard.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/jobs/metadata_edit.h"
#include "lib/jobs/open_model.h"
#include "lib/jobs/output_name.h"
#include "lib/jobs/vocabulary_edits.h"
#include "lib/model/choose_family.h"
#include "lib/model/config.h"
#include "lib/model/family.h"
#include "lib/model/general.h"
#include "lib/model/open.h"
#include "lib/model/token_ids.h"
#include "lib/text/gguf/generation_ends.h"
#include "lib/text/gguf/vocabulary_writer.h"
#include "lib/text/published/published_tokenizer.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;

// Readers ask for an architecture before they look at a vocabulary. Every one knows this.
constexpr std::string_view kAnyArchitecture = "llama";

// What config.json knows of the vocabulary, where there is one.
struct FromConfig {
  std::string architecture;  ///< empty: nothing says
  uint64_t rows = 0;
  std::optional<Config> config;
  std::optional<JsonValue> generation;  ///< generation_config.json
};

absl::StatusOr<FromConfig> ReadConfig(const std::string& folder) {
  FromConfig out;
  const std::string path = (fs::path(folder) / "config.json").string();
  if (!IsFile(path)) return out;
  SMELT_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  SMELT_ASSIGN_OR_RETURN(const Config whole, Config::Parse(text, "config.json"));
  if (const absl::StatusOr<ChosenFamily> chosen = ChooseFamily(whole); chosen.ok())
    out.architecture = chosen->family->architecture.name;
  out.config = whole;
  if (whole.Has("text_config")) {
    SMELT_ASSIGN_OR_RETURN(out.config, whole.Nested("text_config"));
  }
  SMELT_ASSIGN_OR_RETURN(const auto rows, out.config->Count("vocab_size", 0, 1u << 24));
  out.rows = rows.value_or(0);
  const std::string beside = (fs::path(folder) / "generation_config.json").string();
  if (IsFile(beside)) {
    SMELT_ASSIGN_OR_RETURN(const std::string json, ReadTextFile(beside));
    SMELT_ASSIGN_OR_RETURN(out.generation, ParseJsonValue(json, "generation_config.json"));
  }
  return out;
}

std::string NameOf(const std::string& source) {
  const std::string name = IsFolder(source)
                               ? ModelFolderName(source)
                               : fs::path(fs::absolute(source)).parent_path().filename().string();
  return name.substr(name.find_last_of('/') + 1);
}

absl::StatusOr<Metadata> FromTokenizerFiles(const VocabularyRequest& request,
                                            const Observer& observer) {
  const bool folder = IsFolder(request.source);
  FromConfig config;
  if (folder) {
    SMELT_ASSIGN_OR_RETURN(config, ReadConfig(request.source));
  }
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<PublishedTokenizer> tokenizer,
                         OpenPublishedTokenizer(request.source, config.rows));
  Metadata out;
  out.Set("general.architecture",
          config.architecture.empty() ? std::string(kAnyArchitecture) : config.architecture);
  out.Set("general.type", "model");
  if (const std::string name = NameOf(request.source); !name.empty()) out.Set("general.name", name);
  std::vector<std::string> notes;
  TokenIds ids;
  if (config.config) {
    SMELT_ASSIGN_OR_RETURN(
        ids, ReadTokenIds(*config.config, config.generation ? &*config.generation : nullptr,
                          config.rows, tokenizer.get(), notes));
  }
  VocabularyOptions options;
  options.rows = config.rows;
  options.architecture = config.architecture;
  options.config_ids = ids.named;
  options.pre = request.pre;
  options.allow_mismatch = request.allow_tokenizer_mismatch;
  SMELT_RETURN_IF_ERROR(WriteVocabulary(*tokenizer, options, out, notes));
  SMELT_RETURN_IF_ERROR(WriteGenerationEnds(ids.ends, out, notes));
  for (const std::string& note : notes) observer.Note(note);
  return out;
}

// A GGUF's metadata are all kept, as llama.cpp's converter keeps a model's.
absl::StatusOr<Metadata> FromGguf(const std::string& path) {
  SMELT_ASSIGN_OR_RETURN(GgufFile file, OpenGguf(path));
  if (!file.metadata.Has("tokenizer.ggml.model"))
    return Error(ErrorCode::kInvalidInput, Escape(path), " has no vocabulary");
  return std::move(file.metadata);
}

absl::StatusOr<Metadata> VocabularyOf(const VocabularyRequest& request, const std::string& path,
                                      const Observer& observer) {
  if (IsFile(path)) {
    SMELT_ASSIGN_OR_RETURN(const std::shared_ptr<Storage> storage, OpenFile(path));
    if (LooksLikeGguf(*storage)) return FromGguf(path);
  }
  VocabularyRequest files = request;
  files.source = path;
  return FromTokenizerFiles(files, observer);
}

// An output over one of the files that it is made of, however it is spelled.
bool IsInput(const std::string& output, const std::string& source) {
  if (!Exists(output)) return false;
  std::error_code error;
  if (fs::equivalent(output, source, error)) return true;
  if (!IsFolder(source) || output.ends_with(".gguf")) return false;
  const absl::StatusOr<std::vector<std::string>> names = ListFolder(source);
  return names.ok() && std::any_of(names->begin(), names->end(), [&](const std::string& name) {
           std::error_code ignored;
           return fs::equivalent(output, fs::path(source) / name, ignored);
         });
}

}  // namespace

absl::StatusOr<VocabularyResult> ConvertVocabulary(const VocabularyRequest& request,
                                                   const Observer& watcher) try {
  const JobScope job(watcher);
  const Observer& observer = job.observer();
  SMELT_ASSIGN_OR_RETURN(const std::string path, ResolveVocabulary(request.source));
  VocabularyResult result;
  result.output = request.output;
  const std::string name = NameOf(path);
  const std::string file_name = Cat(SafeFileName(name), "-vocab.gguf");
  SMELT_RETURN_IF_ERROR(RefuseStandardOutput(request.output, "-o"));
  if (result.output.empty()) {
    result.output = file_name;
  } else if (IsFolder(result.output)) {
    result.output = (fs::path(result.output) / file_name).string();
  }
  if (IsInput(result.output, path)) {
    return Error(ErrorCode::kUsage, Escape(result.output),
                 " is the input itself; choose another output with -o");
  }
  SMELT_RETURN_IF_ERROR(CheckOutput(result.output, request.force));
  SMELT_ASSIGN_OR_RETURN(Metadata metadata, VocabularyOf(request, path, observer));
  SMELT_ASSIGN_OR_RETURN(const MetadataEdits edits, ResolveEdits(request.metadata, metadata));
  SMELT_RETURN_IF_ERROR(CheckVocabularyEdits(metadata, edits, /*must_work=*/true, observer));
  SMELT_RETURN_IF_ERROR(EditMetadata(edits, metadata));
  SMELT_ASSIGN_OR_RETURN(const uint64_t alignment,
                         metadata.UintOr("general.alignment", kGgufDefaultAlignment));
  SMELT_ASSIGN_OR_RETURN(const GgufLayout layout, SerializeGgufHeader(metadata, {}, alignment));
  SMELT_RETURN_IF_ERROR(WriteFileAtomically(
      result.output,
      std::string_view(reinterpret_cast<const char*>(layout.header.data()), layout.header.size()),
      request.force));
  SMELT_ASSIGN_OR_RETURN(result.architecture, metadata.StringOr("general.architecture", ""));
  SMELT_ASSIGN_OR_RETURN(result.tokenizer, metadata.StringOr("tokenizer.ggml.model", ""));
  SMELT_ASSIGN_OR_RETURN(result.pre, metadata.StringOr("tokenizer.ggml.pre", ""));
  if (const MetadataValue* tokens = metadata.Find("tokenizer.ggml.tokens"); tokens != nullptr)
    result.tokens = tokens->size();
  result.bytes = layout.file_size;
  return result;
} catch (...) {
  return CaughtError();
}

}  // namespace smelt
