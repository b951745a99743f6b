#include "lib/text/gguf/vocabulary_writer.h"

#include <algorithm>
#include <utility>

#include "lib/base/status.h"
#include "lib/text/gguf/gguf_vocabulary.h"
#include "lib/text/gguf/llama_notes.h"
#include "lib/text/gguf/self_check.h"
#include "lib/text/gguf/spec_writer.h"

namespace smelt {
namespace {

/// A kind of special tokens: as files name it, as keys do, and who names it in config.json.
struct Kind {
  std::string_view name, key;
  std::optional<int64_t> ConfigTokenIds::*config;
};
constexpr Kind kKinds[] = {{"bos", "bos", &ConfigTokenIds::bos},
                           {"eos", "eos", &ConfigTokenIds::eos},
                           {"unk", "unknown", &ConfigTokenIds::unknown},
                           {"sep", "seperator", &ConfigTokenIds::separator},
                           {"pad", "padding", &ConfigTokenIds::padding},
                           {"mask", "mask", &ConfigTokenIds::mask},
                           {"eot", "eot", nullptr},
                           {"eom", "eom", nullptr}};

class VocabularyWriter {
 public:
  VocabularyWriter(const PublishedTokenizer& tokenizer, const VocabularyOptions& options,
                   Metadata& out)
      : tokenizer_(tokenizer),
        pipeline_(tokenizer.pipeline()),
        folder_(tokenizer.folder()),
        options_(options),
        out_(out) {}

  absl::Status Write(std::vector<std::string>& notes) {
    notes.insert(notes.end(), folder_.notes.begin(), folder_.notes.end());
    Metadata after;
    WriteFlagsOfArchitecture(tokenizer_, options_, out_);
    SMELT_ASSIGN_OR_RETURN(PipelineSpec written, WriteTokens(after));
    SMELT_RETURN_IF_ERROR(WriteSpecialTokens());
    SMELT_RETURN_IF_ERROR(WriteChatTemplates(folder_, out_));
    WriteExceptions(tokenizer_, options_, out_, after);
    for (const Metadata::Entry& entry : after.entries()) {
      if (!out_.Has(entry.key)) out_.Set(entry.key, entry.value);
    }
    SMELT_RETURN_IF_ERROR(WriteAroundText());
    if (std::string note = LlamaCppNote(out_); !note.empty()) notes.push_back(std::move(note));
    return options_.allow_mismatch ? absl::OkStatus() : Check(std::move(written));
  }

 private:
  std::string where() const { return Cat(Escape(folder_.path, 60), ": "); }

  absl::StatusOr<PipelineSpec> WriteTokens(Metadata& after) {
    absl::StatusOr<PipelineSpec> written =
        WriteSpec(pipeline_,
                  {.rows = options_.rows,
                   .pre = options_.pre,
                   .declared = folder_.declared,
                   .pieces = folder_.pieces ? &*folder_.pieces : nullptr,
                   .zero_scores = folder_.zero_scores,
                   .lists_merges = options_.architecture == kGemma4 && !pipeline_.prefix.empty()},
                  out_, after);
    if (!written.ok()) return Prefixed(where(), written.status());
    return written;
  }

  absl::Status WriteSpecialTokens() {
    // As the converter finds them: those of tokenizer_config.json, then those of config.json.
    for (const bool added : {true, false}) {
      for (const auto& [name, text] : tokenizer_.special().texts) {
        const auto kind = std::find_if(std::begin(kKinds), std::end(kKinds),
                                       [&name = name](const Kind& k) { return k.name == name; });
        if (kind == std::end(kKinds) || (AddedId(text) >= 0) != added) continue;
        SMELT_ASSIGN_OR_RETURN(const int32_t id, IdOf(*kind, text));
        if (id >= 0)
          out_.Set(Cat("tokenizer.ggml.", kind->key, "_token_id"), static_cast<uint32_t>(id));
      }
    }
    WriteSpecialExceptions(tokenizer_, options_, out_);
    const MetadataValue* model = out_.Find("tokenizer.ggml.model");
    const bool bytes =
        model != nullptr && model->AsString() != nullptr && *model->AsString() == "gpt2";
    if (bytes && options_.states_boundaries) {
      for (const char* key : {"tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token"})
        if (!out_.Has(key)) out_.Set(key, false);
    }
    for (const auto& [name, value] : tokenizer_.special().add) {
      if (name == "bos" || name == "eos" || name == "sep")
        out_.Set(Cat("tokenizer.ggml.add_", name, "_token"), value);
    }
    return absl::OkStatus();
  }

  bool InRows(int64_t id) const {
    const size_t rows = options_.rows != 0 ? options_.rows : pipeline_.size();
    return id >= 0 && static_cast<uint64_t>(id) < rows;
  }

  // The id of an added token of tokenizer.json; -1: the text is none.
  int32_t AddedId(const std::string& text) const {
    if (text.empty() || !folder_.has_tokenizer_json || tokenizer_.IsRowless(text)) return -1;
    const std::vector<AddedToken>& added = pipeline_.spec().added;
    const auto token = std::find_if(added.begin(), added.end(),
                                    [&](const AddedToken& t) { return t.content == text; });
    return token != added.end() && InRows(token->id) ? token->id : -1;
  }

  // -1 when the folder does not say, or names a token without a row.
  absl::StatusOr<int32_t> IdOf(const Kind& kind, const std::string& text) const {
    if (tokenizer_.IsRowless(text)) return -1;
    const int32_t id = text.empty() ? -1 : pipeline_.Find(text);
    if (!text.empty() && id < 0 && (kind.name == "bos" || kind.name == "eos")) {
      return Error(ErrorCode::kInvalidInput, where(), kind.name, "_token is \"", Escape(text, 60),
                   "\", which the vocabulary does not have");
    }
    if (const int32_t added = AddedId(text); added >= 0) return added;
    if (kind.config != nullptr) {
      const std::optional<int64_t> named = options_.config_ids.*kind.config;
      if (named && InRows(*named)) return static_cast<int32_t>(*named);
    }
    return InRows(id) ? id : -1;
  }

  // What a reader takes when keys are missing must be what the tokenizer does.
  absl::Status WriteAroundText() {
    SMELT_ASSIGN_OR_RETURN(const GgufVocabulary read, ReadGgufVocabulary(out_));
    const bool begins = !pipeline_.prefix.empty(), ends = !pipeline_.suffix.empty();
    const auto set = [&](const std::string& key, int32_t id) {  // also over what absence would mean
      if (!out_.Has(key)) out_.Set(key, static_cast<uint32_t>(id));
    };
    if (begins) set("tokenizer.ggml.bos_token_id", pipeline_.prefix.front());
    if (ends) set("tokenizer.ggml.eos_token_id", pipeline_.suffix.back());
    if (begins != (read.add_bos && (read.bos >= 0 || begins)))
      out_.Set("tokenizer.ggml.add_bos_token", begins);
    if (ends != (read.add_eos && (read.eos >= 0 || ends)))
      out_.Set("tokenizer.ggml.add_eos_token", ends);
    return absl::OkStatus();
  }

  // One token on each side of a text, which a key names.
  absl::Status CheckAroundText(const GgufVocabulary& read) const {
    for (const bool first : {true, false}) {
      const std::vector<int32_t>& around = first ? pipeline_.prefix : pipeline_.suffix;
      const std::string_view side = first ? " before" : " after";
      const int32_t id = first ? read.bos : read.eos;
      if (around.size() > 1) {
        return Error(ErrorCode::kUnsupported, where(),
                     "the tokenizer has no GGUF form: its post-processor puts ", around.size(),
                     " tokens", side,
                     " a text, where a GGUF vocabulary has one; --allow-tokenizer-mismatch goes on "
                     "without");
      }
      if (around.empty() || around.front() == id) continue;
      return Error(ErrorCode::kUnsupported, where(),
                   "the tokenizer has no GGUF form: its post-processor puts \"",
                   Escape(pipeline_.Piece(around.front()), 40), "\"", side, " a text, but its ",
                   first ? "bos" : "eos", "_token is \"", Escape(pipeline_.Piece(id), 40), "\"");
    }
    return absl::OkStatus();
  }

  // The keys against the spec that they should say.
  absl::Status Check(PipelineSpec written) const {
    SMELT_ASSIGN_OR_RETURN(const GgufVocabulary read, ReadGgufVocabulary(out_));
    SMELT_RETURN_IF_ERROR(CheckAroundText(read));
    written.post_processors.clear();
    written.post_processors.push_back(TemplateAround(pipeline_.prefix, pipeline_.suffix));
    if (PieceModel* pieces = std::get_if<PieceModel>(&written.model);
        pieces != nullptr && folder_.has_tokenizer_json)
      pieces->unknown = read.unknown;  // only a SentencePiece model says it itself
    const absl::Status same = CheckVocabulary(tokenizer_, out_, &written);
    return same.ok() ? same : Prefixed(where(), same);
  }

  const PublishedTokenizer& tokenizer_;
  const Pipeline& pipeline_;
  const TokenizerFolder& folder_;
  const VocabularyOptions& options_;
  Metadata& out_;
};

}  // namespace

absl::Status WriteVocabulary(const PublishedTokenizer& tokenizer, const VocabularyOptions& options,
                             Metadata& out, std::vector<std::string>& notes) {
  return VocabularyWriter(tokenizer, options, out).Write(notes);
}

}  // namespace smelt
