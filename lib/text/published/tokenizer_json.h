// tokenizer.json read event by event: the vocabulary and the merges straight into their tables, the
// rest as a small tree.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/json.h"
#include "lib/text/components/added_tokens.h"
#include "lib/text/models/model.h"
#include "lib/text/published/component_members.h"

namespace smelt {

/// A tokenizer.json, checked but not interpreted.
struct TokenizerJson {
  JsonValue rest;              ///< everything but model.vocab, model.merges
  TokenTable tokens;           ///< model.vocab
  std::vector<double> scores;  ///< by id, when model.vocab is a list of [text, score] (Unigram)
  MergeList merges;            ///< model.merges
  bool has_vocab = false;
  bool has_merges = false;        ///< model.merges is a list, of no merges perhaps
  std::vector<AddedToken> added;  ///< ids of `tokens` where the content is one
  ModelKind kind = ModelKind::kBpe;

  /// The member "model".
  const JsonValue* model() const { return rest.FindNonNull("model"); }
};

/// `name` is the file's name for messages.
absl::StatusOr<TokenizerJson> ParseTokenizerJson(std::string_view text, std::string_view name);

/// vocab.json: {text: id}.
absl::StatusOr<TokenTable> ParseVocabJson(std::string_view text, std::string_view name);

/// One entry of added_tokens (or of added_tokens_decoder, whose id is the key).
absl::StatusOr<AddedToken> ParseAddedToken(const JsonValue& json, std::string_view name);

}  // namespace smelt
