// The names that GGUF files give to pre-tokenizers (tokenizer.ggml.pre), and what each of them
// means.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/text/pipeline_spec.h"

namespace smelt {

struct PreTokenizerName {
  std::string_view name;
  std::string_view same = {};  ///< further names with the same meaning, separated by spaces
  bool ignore_merges = false;  ///< a word that is a token as a whole is that token
  std::vector<PreTokenizerStep> steps = {};  ///< of the original tokenizer.json
};

/// Every name whose meaning we know.
std::span<const PreTokenizerName> PreTokenizerTable();

/// nullptr for names that we do not know.
const PreTokenizerName* FindPreTokenizer(std::string_view name);

/// Whether llama.cpp puts a beginning token before the texts of a byte-level vocabulary with this
/// name that does not say whether it wants one.
bool BeginsTexts(std::string_view name);

/// Names of llama.cpp that stand for byte-level pipelines which we do not have: a file with one of
/// them has to bring its pipeline along.
bool OnlyLlamaCppKnows(std::string_view name);

/// What a published pipeline is called.
struct PreTokenizerMatch {
  std::string name;
  bool exact =
      true;  ///< false: the same but for rare characters (a digit class of another Unicode version)
};

/// Compares structure and meaning: expressions are the same when they match the same on every text,
/// however they are written. kUnsupported when nothing matches: the sentence shows the pattern, the
/// nearest known names and what differs.
absl::StatusOr<PreTokenizerMatch> NamePreTokenizer(std::span<const PreTokenizerStep> steps,
                                                   bool ignore_merges);

/// All names, for messages.
std::string KnownPreTokenizers();

}  // namespace smelt
