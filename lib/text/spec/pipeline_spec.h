// What a tokenizer is, as one value: whatever file it came from, readers give this, the engine
// (pipeline.h) runs it, and writers write it. The words are those of the `tokenizers` library.
// Sequences are flattened: a component is the list of its steps.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "formats/sentencepiece.h"
#include "lib/base/unicode.h"
#include "lib/text/spec/merge_list.h"
#include "lib/text/spec/token_table.h"

namespace smelt {

/// SentencePiece's space, U+2581.
inline constexpr std::string_view kMetaspace = "\xe2\x96\x81";

/// A token that is found in the text before the model sees it.
struct AddedToken {
  int32_t id = -1;
  std::string content;
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = false;
  bool special = false;
  bool outside = false;  ///< the model itself does not have it
  bool operator==(const AddedToken&) const = default;
};

/// What a Replace or a Split looks for.
struct Pattern {
  std::string text;
  bool is_regex = false;  ///< else the text itself
  bool operator==(const Pattern&) const = default;
};

// ---- normalizers: text in, text out

struct UnicodeForm {  ///< NFC, NFD, NFKC, NFKD
  NormalForm form = NormalForm::kNfc;
  bool operator==(const UnicodeForm&) const = default;
};
struct Lowercase {
  bool operator==(const Lowercase&) const = default;
};
struct Nmt {
  bool operator==(const Nmt&) const = default;
};
struct StripAccents {
  bool operator==(const StripAccents&) const = default;
};
struct BertNormalizer {
  bool clean_text = true, handle_chinese_chars = true, strip_accents = true, lowercase = true;
  bool operator==(const BertNormalizer&) const = default;
};
struct Strip {
  bool left = true, right = true;
  bool operator==(const Strip&) const = default;
};
struct Prepend {
  std::string text;
  bool operator==(const Prepend&) const = default;
};
struct Replace {  ///< also a decoder
  Pattern pattern;
  std::string content;
  bool operator==(const Replace&) const = default;
};
inline Replace ReplaceLiteral(std::string text, std::string content) {
  Replace step;
  step.pattern.text = std::move(text);
  step.content = std::move(content);
  return step;
}
struct Precompiled {
  std::string charsmap;  ///< SentencePiece's compiled rules (charsmap.h)
  bool operator==(const Precompiled&) const = default;
};

/// Where a space is put before a text: before every stretch between added tokens, before the text's
/// own beginning, nowhere.
enum class PrependScheme { kAlways, kFirst, kNever };

/// All of SentencePiece's own normalization. User-defined pieces of the model pass unchanged.
struct SentencePieceNormalizer {
  std::string charsmap;
  /// kAlways: whatever a text begins with; kFirst: not before a space.
  PrependScheme dummy_prefix = PrependScheme::kAlways;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  bool whitespace_as_suffix = false;
  bool operator==(const SentencePieceNormalizer&) const = default;
};

using NormalizerStep = std::variant<UnicodeForm, Lowercase, Nmt, StripAccents, BertNormalizer,
                                    Strip, Prepend, Replace, Precompiled, SentencePieceNormalizer>;

// ---- pre-tokenizers: text cut into words

/// What becomes of what was found (SplitDelimiterBehavior).
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

struct ByteLevel {
  bool add_prefix_space = true, use_regex = true;
  bool operator==(const ByteLevel&) const = default;
};
struct Split {
  Pattern pattern;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;
  bool operator==(const Split&) const = default;
};
struct Metaspace {
  std::string replacement = std::string(kMetaspace);
  PrependScheme scheme = PrependScheme::kAlways;  ///< never before what begins with one already
  bool split = true;
  bool operator==(const Metaspace&) const = default;
};
struct Digits {
  bool individual = false;
  bool operator==(const Digits&) const = default;
};
struct Punctuation {
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool operator==(const Punctuation&) const = default;
};
struct Whitespace {
  bool operator==(const Whitespace&) const = default;
};
struct WhitespaceSplit {
  bool operator==(const WhitespaceSplit&) const = default;
};
struct CharDelimiterSplit {
  std::string delimiter;
  bool operator==(const CharDelimiterSplit&) const = default;
};
struct BertPreTokenizer {
  bool operator==(const BertPreTokenizer&) const = default;
};

using PreTokenizerStep = std::variant<ByteLevel, Split, Metaspace, Digits, Punctuation, Whitespace,
                                      WhitespaceSplit, CharDelimiterSplit, BertPreTokenizer>;

// ---- models: one word in, ids out

/// Merges by a list; with a ByteLevel step before it, on bytes.
struct BpeModel {
  MergeList merges;
  std::string unk_token;                  ///< empty: what has no token is dropped
  std::string continuing_subword_prefix;  ///< before all characters of a word but the first
  std::string end_of_word_suffix;
  bool fuse_unk = false;
  bool byte_fallback = false;  ///< <0xNN> for what has no token
  bool ignore_merges = false;  ///< a word that is a token is that token
  bool operator==(const BpeModel&) const = default;
};
/// What an unknown character costs more than the worst piece, where segmentations have scores.
inline constexpr float kUnknownPenalty = 10.0f;

/// The segmentation with the best sum of scores, in double precision, as the library computes it.
struct UnigramModel {
  std::vector<double> scores;  ///< by id
  double unknown_score = 0;    ///< of a character that no token begins with
  int32_t unk_id = -1;         ///< -1: such a character is an error
  bool byte_fallback = false;
  bool operator==(const UnigramModel&) const = default;
};
struct WordPieceModel {
  std::string unk_token = "[UNK]";
  std::string continuing_subword_prefix = "##";
  size_t max_input_chars_per_word = 100;
  bool operator==(const WordPieceModel&) const = default;
};
struct WordLevelModel {
  std::string unk_token;
  bool operator==(const WordLevelModel&) const = default;
};
/// A SentencePiece model: merging whatever makes a piece, the best score first (kBpe), or the best
/// segmentation in single precision (kUnigram).
struct PieceModel {
  SentencePieceModel::Type algorithm = SentencePieceModel::Type::kBpe;
  std::vector<float> scores;     ///< by id
  std::vector<PieceType> types;  ///< by id
  int32_t unknown = 0;
  float unknown_score = 0;     ///< kUnigram: of a character that no piece begins with
  bool byte_fallback = false;  ///< as far as there are byte pieces
  bool operator==(const PieceModel&) const = default;
};

using TokenizerModel =
    std::variant<BpeModel, UnigramModel, WordPieceModel, WordLevelModel, PieceModel>;

// ---- post-processors: tokens put around a text

/// One place of a template: a special token, or a text.
struct TemplateItem {
  std::string token;         ///< of a special token, as the component names it
  std::vector<int32_t> ids;  ///< of a special token
  std::string sequence;      ///< of a text: "A", in pairs also "B"
  bool operator==(const TemplateItem&) const = default;
};
struct TemplateProcessing {
  std::vector<TemplateItem> single, pair;
  bool operator==(const TemplateProcessing&) const = default;
};
struct BertProcessing {
  TemplateItem cls, sep;
  bool operator==(const BertProcessing&) const = default;
};
struct RobertaProcessing {
  TemplateItem cls, sep;
  bool operator==(const RobertaProcessing&) const = default;
};

using PostProcessorStep = std::variant<TemplateProcessing, BertProcessing, RobertaProcessing>;

/// A text between tokens.
inline TemplateProcessing TemplateAround(const std::vector<int32_t>& before,
                                         const std::vector<int32_t>& after) {
  TemplateProcessing out;
  for (const int32_t id : before) out.single.push_back({.token = "", .ids = {id}, .sequence = ""});
  out.single.push_back({.token = "", .ids = {}, .sequence = "A"});
  for (const int32_t id : after) out.single.push_back({.token = "", .ids = {id}, .sequence = ""});
  return out;
}

// ---- decoders: texts of tokens in, text out

struct JoinWithSpaces {  ///< what a tokenizer without a decoder does
  bool operator==(const JoinWithSpaces&) const = default;
};
struct ByteLevelDecoder {
  bool operator==(const ByteLevelDecoder&) const = default;
};
struct ByteFallback {
  bool operator==(const ByteFallback&) const = default;
};
struct Fuse {
  bool operator==(const Fuse&) const = default;
};
struct WordPieceDecoder {
  std::string prefix = "##";
  bool cleanup = true;
  bool operator==(const WordPieceDecoder&) const = default;
};
struct MetaspaceDecoder {
  std::string replacement = std::string(kMetaspace);
  bool drops_first = true;  ///< all of the first token
  bool operator==(const MetaspaceDecoder&) const = default;
};
struct StripDecoder {
  std::string content;
  size_t start = 0, stop = 0;  ///< so many at most
  bool operator==(const StripDecoder&) const = default;
};
struct BpeDecoder {
  std::string suffix;
  bool operator==(const BpeDecoder&) const = default;
};
/// SentencePiece's own way from ids to text, which asks for the types of pieces.
struct SentencePieceDecoder {
  bool strips_space = true;   ///< the first U+2581 goes
  bool strips_spaces = true;  ///< all at the beginning go
  std::string unknown_surface = " \xe2\x81\x87 ";
  std::string charsmap;  ///< rules applied at last
  bool operator==(const SentencePieceDecoder&) const = default;
};

using DecoderStep =
    std::variant<JoinWithSpaces, ByteLevelDecoder, ByteFallback, Fuse, WordPieceDecoder,
                 MetaspaceDecoder, StripDecoder, BpeDecoder, Replace, SentencePieceDecoder>;

// ---- the whole

struct PipelineSpec {
  std::vector<AddedToken> added;
  std::vector<NormalizerStep> normalizers;
  std::vector<PreTokenizerStep> pre_tokenizers;
  TokenTable tokens;  ///< what the model knows; added tokens may lie outside
  TokenizerModel model;
  std::vector<PostProcessorStep> post_processors;
  std::vector<DecoderStep> decoders;

  bool MapsBytes() const {  ///< words become characters of the byte-level alphabet
    for (const PreTokenizerStep& step : pre_tokenizers) {
      if (std::holds_alternative<ByteLevel>(step)) return true;
    }
    return false;
  }
};

}  // namespace smelt
