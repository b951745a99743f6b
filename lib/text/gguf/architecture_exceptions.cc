// What llama.cpp's converter knows about single models, and their tokenizers do not say.
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

}  // namespace

void WriteFlagsOfArchitecture(const PublishedTokenizer& tokenizer, const VocabularyOptions& options,
                              Metadata& out) {
  const JsonValue* flag = tokenizer.folder().config.FindNonNull("add_prefix_space");
  if (options.architecture == "llama" && flag != nullptr && flag->is_bool())
    out.Set(std::string(kSpacePrefix), *flag->as_bool());
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
