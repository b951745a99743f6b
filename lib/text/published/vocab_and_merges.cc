// GPT-2's form: vocab.json and merges.txt.
#include <algorithm>
#include <iterator>
#include <utility>

#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/text/published/readers.h"
#include "lib/text/spec/json_members.h"

namespace smelt {
namespace {

// A class of transformers that builds a byte-level pipeline around the two files, which do not say
// which pipeline is theirs.
struct Class {
  std::string_view name;  ///< without "Fast"
  bool nfc;
  std::string_view pattern;  ///< empty: ByteLevel's own
  std::string_view bos, end,
      pad;  ///< defaults of bos_token, of unk_token and eos_token, of pad_token
};

constexpr std::string_view kEnd = "<|endoftext|>";
constexpr Class kClasses[] = {
    {"GPT2Tokenizer", false, "", kEnd, kEnd, ""},
    {"CodeGenTokenizer", false, "", kEnd, kEnd, ""},
    {"GPTNeoXTokenizer", true, "", kEnd, kEnd, "<|padding|>"},
    {"Qwen2Tokenizer", true,
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "", kEnd, kEnd},
};

// Types of models whose class is one of these when no file names one.
constexpr std::pair<std::string_view, std::string_view> kOfModelType[] = {
    {"codegen", "GPT2Tokenizer"},       {"dbrx", "GPT2Tokenizer"},
    {"gpt2", "GPT2Tokenizer"},          {"gpt_neo", "GPT2Tokenizer"},
    {"gptj", "GPT2Tokenizer"},          {"jais2", "GPT2Tokenizer"},
    {"opt", "GPT2Tokenizer"},           {"phi", "GPT2Tokenizer"},
    {"starcoder2", "GPT2Tokenizer"},    {"falcon_mamba", "GPTNeoXTokenizer"},
    {"gpt_neox", "GPTNeoXTokenizer"},   {"mamba", "GPTNeoXTokenizer"},
    {"mamba2", "GPTNeoXTokenizer"},     {"mpt", "GPTNeoXTokenizer"},
    {"olmo", "GPTNeoXTokenizer"},       {"olmoe", "GPTNeoXTokenizer"},
    {"rwkv", "GPTNeoXTokenizer"},       {"qwen2", "Qwen2Tokenizer"},
    {"qwen2_5_vl", "Qwen2Tokenizer"},   {"qwen2_audio", "Qwen2Tokenizer"},
    {"qwen2_moe", "Qwen2Tokenizer"},    {"qwen2_vl", "Qwen2Tokenizer"},
    {"qwen3", "Qwen2Tokenizer"},        {"qwen3_moe", "Qwen2Tokenizer"},
    {"qwen3_next", "Qwen2Tokenizer"},   {"qwen3_vl", "Qwen2Tokenizer"},
    {"qwen3_vl_moe", "Qwen2Tokenizer"},
};

// The class that a folder names: `tokenizer_class` of tokenizer_config.json, then that of
// config.json, then the one of its `model_type`; GPT-2's when nothing says anything. An error for
// the others, whose pipelines are not known. `folder` is for messages.
absl::StatusOr<const Class*> FindClass(const JsonValue& tokenizer_config,
                                       const JsonValue& model_config, const std::string& folder) {
  std::string said = TextOf(tokenizer_config, "tokenizer_class");
  if (said.empty()) said = TextOf(model_config, "tokenizer_class");
  std::string_view name = said;
  if (name.ends_with("Fast")) name.remove_suffix(4);
  const std::string type = TextOf(model_config, "model_type");
  if (name.empty()) {
    const auto of_type = std::find_if(std::begin(kOfModelType), std::end(kOfModelType),
                                      [&](const auto& entry) { return entry.first == type; });
    if (of_type != std::end(kOfModelType)) name = of_type->second;
    if (type.empty()) name = kClasses[0].name;
  }
  const auto row = std::find_if(std::begin(kClasses), std::end(kClasses),
                                [&](const Class& c) { return c.name == name; });
  if (row == std::end(kClasses)) {
    return Error(ErrorCode::kUnsupported, folder, ": vocab.json and merges.txt do not say how ",
                 name.empty() ? Cat("a tokenizer of the model_type \"", Escape(type, 60), "\"")
                              : Cat("the tokenizer_class \"", Escape(said, 60), "\""),
                 " cuts a text, and it is none of those that are known; save the tokenizer as "
                 "tokenizer.json, which says it");
  }
  return &*row;
}

absl::Status ReadMerges(std::string_view text, const std::string& file, MergeList& merges) {
  size_t number = 0;
  while (!text.empty()) {
    ++number;
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with("#version")) continue;
    const auto parts = MergeParts(line);
    if (!parts) {
      return Error(ErrorCode::kInvalidInput, file, ": line ", number, " \"", Escape(line, 60),
                   "\" is not a merge of two parts");
    }
    merges.Add(parts->first, parts->second);
  }
  return absl::OkStatus();
}

// Every token of several characters is made by a merge, but for a few special ones: a list that is
// much shorter is a part of one.
absl::Status CheckMergesAreWhole(const TokenTable& tokens, size_t merges,
                                 const std::string& merges_file) {
  constexpr size_t kFewSpecial = 64;
  size_t made = 0;
  for (int32_t id = 0; id < static_cast<int32_t>(tokens.size()); ++id) {
    const std::string_view text = tokens.Text(id);
    made += tokens.Has(id) && DecodeUtf8(text.empty() ? " " : text).length < text.size();
  }
  if (made < kFewSpecial || merges >= made / 10 * 9) return absl::OkStatus();
  return Error(ErrorCode::kInvalidInput, merges_file, " has ", merges, " merges for ", made,
               " tokens of several characters: it is not whole; download it again");
}

void AddPipeline(const Class& known, bool prefix_space, PipelineSpec& spec) {
  if (known.nfc) spec.normalizers = {UnicodeForm{NormalForm::kNfc}};
  if (!known.pattern.empty()) {
    spec.pre_tokenizers = {
        Split{.pattern = {.text = std::string(known.pattern), .is_regex = true}}};
  }
  spec.pre_tokenizers.emplace_back(
      ByteLevel{.add_prefix_space = prefix_space, .use_regex = known.pattern.empty()});
  spec.decoders = {ByteLevelDecoder()};
}

}  // namespace

absl::StatusOr<PipelineSpec> ReadVocabAndMerges(std::string_view vocab,
                                                const std::string& vocab_file,
                                                std::string_view merges,
                                                const std::string& merges_file,
                                                TokenizerFolder& folder) {
  SMELT_ASSIGN_OR_RETURN(const Class* known,
                         FindClass(folder.config, folder.model_config, Escape(folder.path, 60)));
  PipelineSpec spec;
  AddPipeline(*known, FlagOf(folder.config, "add_prefix_space", false), spec);
  SMELT_ASSIGN_OR_RETURN(spec.tokens, ReadVocabJson(vocab, vocab_file));
  BpeModel model;
  SMELT_RETURN_IF_ERROR(ReadMerges(merges, merges_file, model.merges));
  SMELT_RETURN_IF_ERROR(CheckMergesAreWhole(spec.tokens, model.merges.size(), merges_file));
  spec.model = std::move(model);
  for (const auto& [key, text] :
       {std::pair("bos_token", known->bos), std::pair("eos_token", known->end),
        std::pair("unk_token", known->end), std::pair("pad_token", known->pad)}) {
    if (!text.empty()) folder.special_defaults.emplace_back(key, text);
  }
  return spec;
}

}  // namespace smelt
