#include "lib/text/published/published.h"

#include <algorithm>
#include <utility>

#include "lib/base/status.h"
#include "lib/text/gguf/gguf_vocabulary.h"
#include "lib/text/gguf/llama_notes.h"
#include "lib/text/gguf/self_check.h"
#include "lib/text/gguf/spec_writer.h"

namespace smelt {
namespace {

constexpr std::pair<std::string_view, std::string_view> kIdKeys[] = {
    {"bos", "bos"},     {"eos", "eos"},   {"unk", "unknown"}, {"sep", "seperator"},
    {"pad", "padding"}, {"mask", "mask"}, {"eot", "eot"},     {"eom", "eom"}};

std::optional<int64_t> ConfigId(const ConfigTokenIds& ids, std::string_view kind) {
  if (kind == "bos") return ids.bos;
  if (kind == "eos") return ids.eos;
  if (kind == "unk") return ids.unknown;
  if (kind == "sep") return ids.separator;
  if (kind == "pad") return ids.padding;
  if (kind == "mask") return ids.mask;
  if (kind == "cls") return ids.cls;
  return std::nullopt;
}

}  // namespace

absl::StatusOr<std::unique_ptr<FolderTokenizer>> FolderTokenizer::Make(
    std::unique_ptr<Pipeline> pipeline, TokenizerFolder folder) {
  std::unique_ptr<FolderTokenizer> tokenizer(
      new FolderTokenizer(std::move(pipeline), std::move(folder)));
  SMELT_RETURN_IF_ERROR(tokenizer->Resolve());
  return tokenizer;
}

// The beginning and end tokens of the post-processor, corrected by what tokenizer_config.json says.
absl::Status FolderTokenizer::Resolve() {
  special_ = ReadSpecialTokens(folder_, pipeline_->spec().post_processors);
  SMELT_RETURN_IF_ERROR(CheckBoundaryRows(folder_, special_));
  for (const auto& [kind, text] : special_.texts) {
    if (text.empty()) continue;
    if (kind == "bos") bos_ = pipeline_->Find(text);
    if (kind == "eos") eos_ = pipeline_->Find(text);
  }
  for (const bool first : {true, false}) {
    const JsonValue* flag = folder_.config.FindNonNull(first ? "add_bos_token" : "add_eos_token");
    const int32_t id = first ? bos_ : eos_;
    if (flag == nullptr || !flag->is_bool() || id < 0) continue;
    std::vector<int32_t>& ids = first ? pipeline_->prefix : pipeline_->suffix;
    const bool there = !ids.empty() && (first ? ids.front() : ids.back()) == id;
    const bool wanted = *flag->as_bool();
    if (wanted && !there) ids.insert(first ? ids.begin() : ids.end(), id);
    if (!wanted && there) ids.erase(first ? ids.begin() : ids.end() - 1);
  }
  if (bos_ < 0 && !pipeline_->prefix.empty()) bos_ = pipeline_->prefix.front();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> FolderTokenizer::Encode(std::string_view text,
                                                             const EncodeOptions& options) const {
  return pipeline_->Encode(text, options);
}

std::string FolderTokenizer::Decode(const std::vector<int32_t>& ids,
                                    const DecodeOptions& options) const {
  return pipeline_->Decode(ids, options.show_special);
}

bool FolderTokenizer::ends_generation(int32_t id) const {
  return (id >= 0 && id == eos_) || LooksLikeEnd(pipeline_->Piece(id));
}

const AddedToken* FolderTokenizer::FindRowless(std::string_view text) const {
  const auto found = std::find_if(folder_.rowless.begin(), folder_.rowless.end(),
                                  [&](const AddedToken& token) { return token.content == text; });
  return found == folder_.rowless.end() ? nullptr : &*found;
}

std::string FolderTokenizer::RowlessPiece(int64_t id) const {
  const auto found = std::ranges::find(folder_.rowless, id, &AddedToken::id);
  return found == folder_.rowless.end() ? std::string() : found->content;
}

// -1 when the folder does not say, or names a token without a row.
absl::StatusOr<int32_t> FolderTokenizer::SpecialId(const std::string& kind,
                                                   const VocabularyOptions& options) const {
  const size_t rows = options.rows != 0 ? options.rows : pipeline_->size();
  const auto entry = std::find_if(special_.texts.begin(), special_.texts.end(),
                                  [&](const auto& e) { return e.first == kind; });
  const std::string text = entry == special_.texts.end() ? std::string() : entry->second;
  if (FindRowless(text) != nullptr) return -1;
  if (!text.empty() && (kind == "bos" || kind == "eos") && pipeline_->Find(text) < 0) {
    return Error(ErrorCode::kInvalidInput, Escape(folder_.path, 60), ": ", kind, "_token is \"",
                 Escape(text, 60), "\", which the vocabulary does not have");
  }
  if (!text.empty() && folder_.has_tokenizer_json) {
    const std::vector<AddedToken>& added = pipeline_->spec().added;
    const auto token = std::find_if(added.begin(), added.end(),
                                    [&](const AddedToken& t) { return t.content == text; });
    if (token != added.end() && static_cast<size_t>(token->id) < rows) return token->id;
  }
  if (const std::optional<int64_t> id = ConfigId(options.config_ids, kind);
      id && *id >= 0 && static_cast<uint64_t>(*id) < rows)
    return static_cast<int32_t>(*id);
  if (text.empty()) return -1;
  const int32_t id = pipeline_->Find(text);
  return id >= 0 && static_cast<size_t>(id) < rows ? id : -1;
}

absl::Status FolderTokenizer::WriteVocabulary(const VocabularyOptions& options, Metadata& out,
                                              std::vector<std::string>& notes) const {
  notes.insert(notes.end(), folder_.notes.begin(), folder_.notes.end());
  const bool llama = options.architecture == "llama";
  if (const JsonValue* flag = folder_.config.FindNonNull("add_prefix_space");
      llama && flag != nullptr && flag->is_bool()) {
    out.Set("tokenizer.ggml.add_space_prefix", *flag->as_bool());
  }
  const SpecWriteOptions spec_options{.rows = options.rows,
                                      .pre = options.pre,
                                      .declared = folder_.declared,
                                      .pieces = folder_.pieces ? &*folder_.pieces : nullptr,
                                      .zero_scores = folder_.zero_scores};
  Metadata after;
  absl::StatusOr<PipelineSpec> written = WriteSpec(*pipeline_, spec_options, out, after);
  if (!written.ok()) return Prefixed(Cat(Escape(folder_.path, 60), ": "), written.status());
  for (const auto& [kind, text] : special_.texts) {
    const auto key =
        std::find_if(std::begin(kIdKeys), std::end(kIdKeys),
                     [&kind = kind](const auto& entry) { return entry.first == kind; });
    if (key == std::end(kIdKeys)) continue;
    SMELT_ASSIGN_OR_RETURN(const int32_t id, SpecialId(kind, options));
    if (id >= 0)
      out.Set(Cat("tokenizer.ggml.", key->second, "_token_id"), static_cast<uint32_t>(id));
  }
  for (const auto& [kind, value] : special_.add) {
    if (kind == "bos" || kind == "eos" || kind == "sep")
      out.Set(Cat("tokenizer.ggml.add_", kind, "_token"), value);
  }
  SMELT_RETURN_IF_ERROR(WriteChatTemplates(folder_, out));
  if (llama && options.rows == 49152) out.Set("tokenizer.ggml.add_bos_token", false);
  // Ends of a turn that the converter knows by number: CodeLlama's and Gemma's.
  if (llama && options.rows == 32016) out.Set("tokenizer.ggml.eot_token_id", uint32_t{32010});
  if (options.architecture == "gemma" && pipeline_->size() > 107 &&
      pipeline_->Piece(107).starts_with('<'))
    out.Set("tokenizer.ggml.eot_token_id", uint32_t{107});
  for (const Metadata::Entry& entry : after.entries()) {
    if (!out.Has(entry.key)) out.Set(entry.key, entry.value);
  }
  if (options.architecture.starts_with("gemma")) out.Set("tokenizer.ggml.add_space_prefix", false);
  SMELT_RETURN_IF_ERROR(WriteAroundText(out));
  if (std::string note = LlamaCppNote(out); !note.empty()) notes.push_back(std::move(note));
  if (options.allow_mismatch) return absl::OkStatus();
  for (const std::vector<int32_t>* around : {&pipeline_->prefix, &pipeline_->suffix}) {
    if (around->size() <= 1) continue;
    return Error(ErrorCode::kUnsupported, Escape(folder_.path, 60),
                 ": the tokenizer has no GGUF form: its post-processor puts ", around->size(),
                 " tokens ", around == &pipeline_->prefix ? "before" : "after",
                 " a text, where a GGUF vocabulary has one; --allow-tokenizer-mismatch goes on "
                 "without");
  }
  SMELT_ASSIGN_OR_RETURN(const GgufVocabulary read, ReadGgufVocabulary(out));
  for (const bool first : {true, false}) {
    const std::vector<int32_t>& around = first ? pipeline_->prefix : pipeline_->suffix;
    const int32_t id = first ? read.bos : read.eos;
    if (around.empty() || around.front() == id) continue;
    return Error(ErrorCode::kUnsupported, Escape(folder_.path, 60),
                 ": the tokenizer has no GGUF form: its post-processor puts \"",
                 Escape(pipeline_->Piece(around.front()), 40), "\" ", first ? "before" : "after",
                 " a text, but its ", first ? "bos" : "eos", "_token is \"",
                 Escape(pipeline_->Piece(id), 40), "\"");
  }
  written->post_processors = {TemplateAround(pipeline_->prefix, pipeline_->suffix)};
  if (PieceModel* pieces = std::get_if<PieceModel>(&written->model);
      pieces != nullptr && folder_.has_tokenizer_json)
    pieces->unknown = read.unknown;  // only a SentencePiece model says it itself
  const absl::Status same = CheckVocabulary(*this, out, &*written);
  return same.ok() ? same : Prefixed(Cat(Escape(folder_.path, 60), ": "), same);
}

// What a reader takes when keys are missing must be what the tokenizer does.
absl::Status FolderTokenizer::WriteAroundText(Metadata& out) const {
  SMELT_ASSIGN_OR_RETURN(const GgufVocabulary read, ReadGgufVocabulary(out));
  const bool begins = !pipeline_->prefix.empty(), ends = !pipeline_->suffix.empty();
  const auto set = [&](const std::string& key, int32_t id) {  // also over what absence would mean
    if (!out.Has(key)) out.Set(key, static_cast<uint32_t>(id));
  };
  if (begins) set("tokenizer.ggml.bos_token_id", pipeline_->prefix.front());
  if (ends) set("tokenizer.ggml.eos_token_id", pipeline_->suffix.back());
  if (begins != (read.add_bos && (read.bos >= 0 || begins)))
    out.Set("tokenizer.ggml.add_bos_token", begins);
  if (ends != (read.add_eos && (read.eos >= 0 || ends)))
    out.Set("tokenizer.ggml.add_eos_token", ends);
  return absl::OkStatus();
}

}  // namespace smelt
