// WordPiece as tokenizer.ggml.model "bert".
#include <algorithm>
#include <utility>

#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/text/gguf/kind_writers.h"
#include "lib/text/spec/component_json.h"

namespace smelt {
namespace {

constexpr std::string_view kContinues = "##";

// What begins a word has U+2581 before it, what continues one loses its mark.
void WriteTokens(const Pipeline& p, const SpecWriteOptions& options, Metadata& out, Metadata& after,
                 PipelineSpec& written) {
  const PipelineSpec& spec = p.spec();
  VocabularyArrays arrays(RowsOf(options, p));
  std::vector<int32_t> marked;  // continuations that look like beginnings
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    if (!spec.tokens.Has(id)) continue;
    std::string_view text = spec.tokens.Text(id);
    const bool continues = text.starts_with(kContinues);
    if (continues) text.remove_prefix(kContinues.size());
    arrays.Set(id, continues ? std::string(text) : Cat(kMetaspace, text), PieceType::kNormal);
    if (continues && text.starts_with(kMetaspace)) marked.push_back(id);
  }
  if (!marked.empty())
    WriteOwn<std::vector<int32_t>>(after, "smelt.tokenizer.continuations", std::move(marked));
  for (const AddedToken& token : spec.added) arrays.SetAdded(token, 0);
  written.tokens = spec.tokens;
  written.added = AddedAsWritten(spec.added, AddedTo::kPipeline, -1, arrays);
  std::move(arrays).Write(false, out);
}

// Only what is not BERT's own is written out.
void WriteSteps(const PipelineSpec& spec, Metadata& after) {
  const BertNormalizer* bert =
      spec.normalizers.size() == 1 ? std::get_if<BertNormalizer>(&spec.normalizers[0]) : nullptr;
  const bool lower = bert != nullptr && bert->lowercase;
  after.Set("tokenizer.ggml.normalizer.lowercase", lower);
  if (bert == nullptr || *bert != BertNormalizer{.strip_accents = lower, .lowercase = lower})
    WriteOwn<std::string>(after, "smelt.tokenizer.normalizer", ToJson(spec.normalizers));
  if (spec.pre_tokenizers != std::vector<PreTokenizerStep>{BertPreTokenizer()})
    WriteOwn<std::string>(after, "smelt.tokenizer.pre_tokenizer", ToJson(spec.pre_tokenizers));
}

}  // namespace

absl::StatusOr<PipelineSpec> WriteWordPiece(const Pipeline& p, const SpecWriteOptions& options,
                                            Metadata& out, Metadata& after) {
  const PipelineSpec& spec = p.spec();
  const WordPieceModel& model = std::get<WordPieceModel>(spec.model);
  if (model.continuing_subword_prefix != kContinues) {
    return NoForm(Cat("its WordPiece model continues words with \"",
                      Escape(model.continuing_subword_prefix, 20), "\" instead of \"##\""));
  }
  out.Set("tokenizer.ggml.token_type_count", uint32_t{2});
  out.Set("tokenizer.ggml.model", "bert");
  out.Set("tokenizer.ggml.pre",
          "jina-v2-en");  // the name that llama.cpp's table has for BERT's own splitting
  PipelineSpec written;
  WriteTokens(p, options, out, after, written);
  WriteSteps(spec, after);
  WriteOwn<std::string>(after, "smelt.tokenizer.unknown_token", model.unk_token);
  constexpr int32_t kUsualUnknown = 100;  // what readers take where the key is missing
  if (const int32_t id = spec.tokens.Find(model.unk_token); id >= 0 && id != kUsualUnknown)
    after.Set("tokenizer.ggml.unknown_token_id", static_cast<uint32_t>(id));
  if (model.max_input_chars_per_word != WordPieceModel().max_input_chars_per_word) {
    WriteOwn<uint32_t>(
        after, "smelt.tokenizer.max_word_chars",
        static_cast<uint32_t>(std::min<size_t>(model.max_input_chars_per_word, 1 << 30)));
  }
  const bool keeps_spaces =
      std::any_of(spec.decoders.begin(), spec.decoders.end(), [](const DecoderStep& step) {
        const WordPieceDecoder* decoder = std::get_if<WordPieceDecoder>(&step);
        return decoder != nullptr && !decoder->cleanup;
      });
  if (keeps_spaces) WriteOwn<bool>(after, "smelt.tokenizer.cleanup", false);
  WriteAddedFlags(spec.added, AddedTo::kPipeline, -1, after);
  written.normalizers = spec.normalizers;
  written.pre_tokenizers = spec.pre_tokenizers;
  WordPieceModel kept = model;
  kept.max_input_chars_per_word = std::min<size_t>(kept.max_input_chars_per_word, 1 << 30);
  written.model = std::move(kept);
  written.decoders = {WordPieceDecoder{.cleanup = !keeps_spaces}};
  return written;
}

}  // namespace smelt
