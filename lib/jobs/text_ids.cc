#include "lib/jobs/text_ids.h"

#include <limits>

#include "lib/base/json.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "smelt/text.h"

namespace smelt {
absl::StatusOr<std::string> ReadEvaluationText(const std::string& path, const Observer& observer) {
  absl::StatusOr<std::string> text = ReadText(path, observer);
  if (text.ok() && text->ends_with('\n')) text->pop_back();
  return text;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerOf(const ModelSource& source) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = GgufTokenizer(source.metadata());
  if (!tokenizer.ok()) return Prefixed(Cat(Escape(source.name()), ": "), tokenizer.status());
  const uint64_t rows = VocabularyRows(source);
  if (rows != 0 && (*tokenizer)->size() > rows) {
    return Error(ErrorCode::kInvalidInput, Escape(source.name()), ": tokenizer.ggml.tokens has ",
                 (*tokenizer)->size(), " tokens, token_embd.weight only ", rows, " rows");
  }
  return tokenizer;
}

absl::StatusOr<std::vector<int32_t>> EvaluationIds(const Tokenizer& tokenizer,
                                                   std::string_view text) {
  // A text is cut into windows wherever they end: an end token behind its last word, which
  // llama.cpp's protocol does not know, would only make figures depend on the flag.
  return tokenizer.Encode(text, {.add_special = true, .add_end = false, .parse_special = false});
}

absl::StatusOr<std::vector<int32_t>> ReadIdsFile(const std::string& path, uint64_t vocabulary) {
  SMELT_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  SMELT_ASSIGN_OR_RETURN(const JsonValue json, ParseJsonValue(text, Escape(path)));
  if (!json.is_array()) {
    return Error(ErrorCode::kInvalidInput, Escape(path), " holds ", json.KindName(),
                 "; a JSON list of token ids is needed");
  }
  std::vector<int32_t> ids;
  for (const JsonValue& item : *json.as_array()) {
    const std::optional<int64_t> id = item.as_int();
    const int64_t limit =
        vocabulary != 0 ? static_cast<int64_t>(vocabulary) : std::numeric_limits<int32_t>::max();
    if (!id || *id < 0 || *id >= limit) {
      return Error(ErrorCode::kInvalidInput, Escape(path), ": element ", ids.size(), " (",
                   Escape(item.ToText(), 30), ") is no token id below ", limit);
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
  return ids;
}

uint64_t VocabularyRows(const ModelSource& source) {
  const int embedding = source.Find("token_embd.weight");
  return embedding < 0 ? 0 : source.tensors()[static_cast<size_t>(embedding)].shape.ne[1];
}

}  // namespace smelt
