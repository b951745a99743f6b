// The names that GGUF files give to pre-tokenizers (tokenizer.ggml.pre), and what each of them
// means.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/text/spec/pipeline_spec.h"

namespace smelt {

/// Names that mean one pipeline. Lists of names are separated by spaces.
struct PreTokenizerName {
  std::string_view name;
  std::string_view same = {};  ///< further names with the same meaning
  /// Those of all these before whose texts llama.cpp puts a beginning token where a byte-level
  /// vocabulary does not say whether it wants one.
  std::string_view begins_texts = {};
  bool ignore_merges = false;                ///< a word that is a token as a whole is that token
  std::vector<PreTokenizerStep> steps = {};  ///< of the original tokenizer.json
  /// On which texts llama.cpp, which has an expression of its own for the name, cuts elsewhere.
  std::vector<std::string_view> llama_differs = {};
  /// False: the pipeline is llama.cpp's alone; a file with such a name has to bring its own along.
  bool known = true;

  bool BeginsTexts(std::string_view which) const;
};

/// Every name that is known, to us or to llama.cpp.
std::span<const PreTokenizerName> PreTokenizerTable();

/// The row of a name; nullptr where nobody knows it.
const PreTokenizerName* FindPreTokenizer(std::string_view name);
/// The same, nullptr also for llama.cpp's alone.
const PreTokenizerName* FindPipelineOf(std::string_view name);

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
