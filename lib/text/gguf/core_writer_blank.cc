// SentencePiece-like BPE pipelines as tokenizer.ggml.*: spaces become U+2581, scores say what
// merges first.
#include <algorithm>
#include <set>
#include <utility>

#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/text/gguf/core_writer.h"
#include "lib/text/gguf/merge_order.h"
#include "lib/text/gguf/token_types.h"
#include "lib/text/models/blank_cuts.h"
#include "lib/text/pipeline.h"

namespace smelt {
namespace {

// What an expression of components does to spaces, as far as the GGUF vocabulary of a
// SentencePiece-like tokenizer can say it.
struct BlankRules {
  std::string prefix = "none";  // none, always, unless_present, first
  std::vector<JsonValue> other_normalizers;
  bool maps_spaces = false;
  bool in_normalizer = false;  // the mapping, and the prefix
  bool splits = false;         // before every U+2581
};

bool IsBlankReplace(const JsonValue& step) {
  const JsonValue* pattern = step.FindNonNull("pattern");
  return TextOf(step, "type") == "Replace" && pattern != nullptr &&
         TextOf(*pattern, "String") == " " && TextOf(step, "content") == kBlank;
}

absl::StatusOr<BlankRules> BlankRulesOf(const JsonValue& json) {
  BlankRules rules;
  std::vector<const JsonValue*> normalizers, steps;
  Flatten(json.Find("normalizer"), "normalizers", normalizers);
  Flatten(json.Find("pre_tokenizer"), "pretokenizers", steps);
  for (const JsonValue* n : normalizers) {
    if (IsBlankReplace(*n)) {
      rules.maps_spaces = rules.in_normalizer = true;
    } else if (TextOf(*n, "type") == "Prepend" && TextOf(*n, "prepend") == kBlank &&
               !rules.maps_spaces) {
      rules.prefix = "always";
    } else if (rules.maps_spaces || rules.prefix != "none") {
      return NoForm(
          Cat("the normalizer ", Escape(n->ToText(), 80), " follows the mapping of spaces"));
    } else {
      rules.other_normalizers.push_back(*n);
    }
  }
  for (const JsonValue* step : steps) {
    const std::string type = TextOf(*step, "type");
    const JsonValue* pattern = step->FindNonNull("pattern");
    if (type == "Split" && rules.maps_spaces && pattern != nullptr &&
        TextOf(*pattern, "String") == " ")
      continue;  // no space is left
    const bool plain =
        TextOf(*step, "replacement").empty() || TextOf(*step, "replacement") == kBlank;
    if (type != "Metaspace" || !plain || rules.maps_spaces || rules.prefix != "none") {
      return NoForm(Cat("the step ", Escape(step->ToText(), 100)));
    }
    rules.maps_spaces = true;
    const std::string scheme = TextOf(*step, "prepend_scheme");
    const bool always =
        scheme.empty() ? FlagOf(*step, "add_prefix_space", true) : scheme == "always";
    rules.prefix = scheme == "first" ? "first" : always ? "unless_present" : "none";
    rules.splits = FlagOf(*step, "split", true);
  }
  if (!rules.maps_spaces) return NoForm("nothing maps spaces to U+2581");
  return rules;
}

// The pieces of a SentencePiece model, then what other files declare, then added tokens that it
// does not have.
void FillFromPieces(const SentencePieceModel& model, const std::vector<AddedToken>& declared,
                    const std::vector<AddedToken>& added, VocabularyArrays& arrays) {
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const SentencePiece& piece = model.pieces[id];
    arrays.Set(static_cast<int32_t>(id), piece.text, WrittenType(piece.type), piece.score);
  }
  for (const AddedToken& token : added) {
    if (static_cast<size_t>(token.id) >= model.pieces.size()) arrays.SetAdded(token, kAddedScore);
  }
  for (const AddedToken& token : declared) arrays.SetAdded(token, kAddedScore);
}

// Minus the rank of the first merge that makes a token; the converter's score for added tokens
// where there is none.
std::vector<float> MergeScores(const Pipeline& p) {
  std::vector<float> scores(p.tokens().size(), kAddedScore);
  std::vector<bool> scored(p.tokens().size(), false);
  std::string whole;
  for (size_t i = 0; i < p.merges().size(); ++i) {
    whole = Cat(p.merges().Left(i), p.merges().Right(i));
    const int32_t id = p.tokens().Find(whole);
    if (id < 0 || scored[static_cast<size_t>(id)]) continue;
    scored[static_cast<size_t>(id)] = true;
    scores[static_cast<size_t>(id)] = -static_cast<float>(i);
  }
  return scores;
}

// The converter gives added tokens a score that says nothing. Where merges make such a token, that
// would change their order. Returns the scores that count.
std::vector<float> WriteMergeScores(const Pipeline& p, const VocabularyArrays& arrays,
                                    Metadata& after) {
  std::vector<float> scores = MergeScores(p);
  for (const AddedToken& token : p.added()) {
    const auto id = static_cast<size_t>(token.id);
    if (id < scores.size() && scores[id] != kAddedScore) {
      WriteOwn<std::vector<float>>(after, "smelt.tokenizer.scores", scores);
      return scores;
    }
  }
  for (size_t id = 0; id < std::min(scores.size(), arrays.size()); ++id)
    scores[id] = arrays.score(static_cast<int32_t>(id));
  return scores;
}

// Merging by score falls back to bytes; what the library does where one has no token, only a list
// of merges goes with.
bool LacksBytes(const Pipeline& p) {
  const std::array<int32_t, 256> bytes = ByteTokens(p.tokens());
  return std::find(bytes.begin(), bytes.end(), -1) != bytes.end();
}

// Merging by score joins whatever makes a token. Where the tokenizer's list of merges means
// something else, our engine gets the list.
void WriteListedMerges(const Pipeline& p, const VocabularyArrays& arrays,
                       const std::vector<float>& scores, Metadata& after) {
  const auto joinable = [&](int32_t id) {
    const TokenType type =
        static_cast<size_t>(id) < arrays.size() ? arrays.type(id) : TokenType::kUnused;
    return type == TokenType::kNormal || type == TokenType::kUserDefined;
  };
  if (!LacksBytes(p) &&
      MergesFollowScores(p.tokens(), p.merges(), p.merge_table(), scores, joinable))
    return;
  std::vector<int32_t> ids;
  ids.reserve(3 * p.merges().size());
  for (size_t i = 0; i < p.merges().size(); ++i) {
    const std::string whole = Cat(p.merges().Left(i), p.merges().Right(i));
    ids.insert(ids.end(), {p.tokens().Find(p.merges().Left(i)),
                           p.tokens().Find(p.merges().Right(i)), p.tokens().Find(whole)});
  }
  WriteOwn<std::vector<int32_t>>(after, "smelt.tokenizer.merges", std::move(ids));
}

// True when a token that merges make crosses the place before a U+2581.
bool CrossesBlank(const Pipeline& p) {
  for (size_t i = 0; i < p.merges().size(); ++i) {
    if (Cat(p.merges().Left(i), p.merges().Right(i)).find(kBlank, 1) != std::string::npos)
      return true;
  }
  return false;
}

// Without a SentencePiece model: a piece's score is minus the rank of the first merge that makes
// it, so that the best score merges first.
void FillFromMerges(const Pipeline& p, VocabularyArrays& arrays) {
  const std::vector<float> scores = MergeScores(p);
  const std::array<int32_t, 256> bytes = ByteTokens(p.tokens());
  const std::set<int32_t> byte_ids(bytes.begin(), bytes.end());
  const std::string unknown = TextOf(*p.json().FindNonNull("model"), "unk_token");
  for (size_t id = 0; id < p.tokens().size(); ++id) {
    const auto i = static_cast<int32_t>(id);
    if (!p.tokens().Has(i)) continue;
    const std::string_view text = p.tokens().Text(i);
    const TokenType type = byte_ids.contains(i) ? TokenType::kByte
                           : text == unknown    ? TokenType::kUnknown
                                                : TokenType::kNormal;
    arrays.Set(i, std::string(text), type, scores[id]);
  }
  for (const AddedToken& token : p.added()) {
    const auto id = static_cast<size_t>(token.id);
    arrays.SetAdded(token, id < scores.size() ? scores[id] : kAddedScore);
    if (token.content == unknown)
      arrays.Set(token.id, token.content, TokenType::kUnknown, kAddedScore);
  }
}

}  // namespace

absl::Status WriteBlankBpe(const Pipeline& p, const CoreWriteOptions& options, Metadata& out,
                           Metadata& after) {
  const JsonValue& m = *p.json().FindNonNull("model");
  for (const std::string_view key : {"end_of_word_suffix", "continuing_subword_prefix"}) {
    if (!TextOf(m, key).empty()) return NoForm(Cat("its BPE has a ", key));
  }
  if (!FlagOf(m, "byte_fallback", false))
    return NoForm("its BPE works on characters without falling back to bytes");
  if (FlagOf(m, "ignore_merges", false)) return NoForm("its SentencePiece-like BPE ignores merges");
  SMELT_ASSIGN_OR_RETURN(BlankRules rules, BlankRulesOf(p.json()));
  // Added tokens that are looked for in the normalized text see U+2581 where that puts it.
  if (rules.in_normalizer && std::any_of(p.added().begin(), p.added().end(),
                                         [](const AddedToken& t) { return t.normalized; })) {
    std::vector<const JsonValue*> normalizers;
    Flatten(p.json().Find("normalizer"), "normalizers", normalizers);
    rules.other_normalizers.clear();
    for (const JsonValue* n : normalizers) rules.other_normalizers.push_back(*n);
    if (rules.prefix == "always") rules.prefix = "normalizer";
  }
  out.Set("tokenizer.ggml.model", "llama");
  out.Set("tokenizer.ggml.pre", "default");
  VocabularyArrays arrays(RowsOf(options, p.size()));
  std::vector<float> scores;
  if (p.pieces()) {
    FillFromPieces(*p.pieces(), options.declared, p.added(), arrays);
    scores = WriteMergeScores(p, arrays, after);
  } else {
    FillFromMerges(p, arrays);
    scores = MergeScores(p);
  }
  WriteListedMerges(p, arrays, scores, after);
  if (LacksBytes(p)) WriteUnknown(m, after);
  std::move(arrays).Write(true, out);
  if (rules.prefix == "none") after.Set("tokenizer.ggml.add_space_prefix", false);
  if (rules.prefix != "none" && rules.prefix != "always")
    WriteOwn<std::string>(after, "smelt.tokenizer.space_prefix", rules.prefix);
  if (rules.splits && CrossesBlank(p)) WriteOwn<bool>(after, "smelt.tokenizer.split_blanks", true);
  WriteNormalizers(rules.other_normalizers, after);
  WriteAddedFlags(p.added(), AddedTo::kPipeline, p.tokens().Find(TextOf(m, "unk_token")), after);
  return absl::OkStatus();
}

}  // namespace smelt
