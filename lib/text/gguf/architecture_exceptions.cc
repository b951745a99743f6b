// What llama.cpp's converter knows about single models, and their tokenizers do not say.
#include <algorithm>
#include <iterator>
#include <utility>
#include <variant>

#include "lib/text/gguf/vocabulary_writer.h"

namespace smelt {
namespace {

constexpr std::string_view kSpacePrefix = "tokenizer.ggml.add_space_prefix";

/// Models are known by the rows of their embedding.
struct Exception {
  std::string_view architecture;
  uint64_t rows;
  std::string_view key;
  std::variant<bool, uint32_t> value;
};
constexpr Exception kExceptions[] = {
    {"llama", 49152, "tokenizer.ggml.add_bos_token", false},            // small Granite models
    {"llama", 32016, "tokenizer.ggml.eot_token_id", uint32_t{32010}}};  // CodeLlama's <EOT>

constexpr int32_t kGemmaEndOfTurn = 107;

/// What GLM-4's special tokens are to the converter, whatever the folder calls them; in its order.
struct SpecialText {
  std::string_view key, text;
};
constexpr SpecialText kGlm4[] = {{"tokenizer.ggml.bos_token_id", "[gMASK]"},
                                 {"tokenizer.ggml.eot_token_id", "<|user|>"},
                                 {"tokenizer.ggml.unknown_token_id", "<|endoftext|>"},
                                 {"tokenizer.ggml.eom_token_id", "<|observation|>"}};
constexpr std::string_view kOfGlm4[] = {"glm4moe", "deepseek2"};

}  // namespace

void WriteFlagsOfArchitecture(const PublishedTokenizer& tokenizer, const VocabularyOptions& options,
                              Metadata& out) {
  const JsonValue* flag = tokenizer.folder().config.FindNonNull("add_prefix_space");
  if (options.architecture == "llama" && flag != nullptr && flag->is_bool())
    out.Set(std::string(kSpacePrefix), *flag->as_bool());
}

void WriteSpecialExceptions(const PublishedTokenizer& tokenizer, const VocabularyOptions& options,
                            Metadata& out) {
  if (std::ranges::find(kOfGlm4, options.architecture) == std::end(kOfGlm4)) return;
  const auto id_of = [&](const SpecialText& row) {
    const std::vector<AddedToken>& added = tokenizer.pipeline().spec().added;
    const auto it = std::ranges::find(added, row.text, &AddedToken::content);
    return it == added.end() ? -1 : it->id;
  };
  if (std::ranges::any_of(kGlm4, [&](const SpecialText& row) { return id_of(row) < 0; })) return;
  for (const SpecialText& row : kGlm4) {
    if (!out.Has(row.key)) out.Set(std::string(row.key), static_cast<uint32_t>(id_of(row)));
  }
}

void WriteExceptions(const PublishedTokenizer& tokenizer, const VocabularyOptions& options,
                     Metadata& out, Metadata& after) {
  for (const Exception& row : kExceptions) {
    if (row.architecture != options.architecture || row.rows != options.rows) continue;
    std::visit([&](auto value) { out.Set(std::string(row.key), value); }, row.value);
  }
  if (options.architecture == "gemma" && tokenizer.size() > kGemmaEndOfTurn &&
      tokenizer.Piece(kGemmaEndOfTurn).starts_with('<'))
    out.Set("tokenizer.ggml.eot_token_id", static_cast<uint32_t>(kGemmaEndOfTurn));
  if (options.architecture.starts_with("gemma"))
    (out.Has(kSpacePrefix) ? out : after).Set(std::string(kSpacePrefix), false);
}

}  // namespace smelt
