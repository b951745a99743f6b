// SentencePiece-like BPE pipelines as tokenizer.ggml.model "llama": spaces become U+2581, scores
// say what merges first; or as "gemma4", with the merges themselves.
#include <algorithm>
#include <set>
#include <utility>

#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/text/gguf/gguf_vocabulary.h"
#include "lib/text/gguf/kind_writers.h"
#include "lib/text/gguf/merge_order.h"
#include "lib/text/gguf/space_prefix.h"
#include "lib/text/gguf/token_types.h"
#include "lib/text/spec/component_json.h"

namespace smelt {
namespace {

// What steps do to spaces, as far as the GGUF vocabulary of a SentencePiece-like tokenizer can say
// it.
struct SpaceRules {
  SpacePrefix prefix = SpacePrefix::kNone;
  std::vector<NormalizerStep> other_normalizers;
  bool maps_spaces = false;
  bool in_normalizer = false;  // the mapping, and the prefix
  bool splits = false;         // before every U+2581
};

// A step that none of these rules is.
absl::Status NoRule(std::string_view what) {
  return NoForm(Cat(what, " (steps that map spaces to U+2581, as SentencePiece does, have one)"));
}

bool IsLiteral(const Pattern& pattern, std::string_view text) {
  return !pattern.is_regex && pattern.text == text;
}

absl::Status AddNormalizer(const NormalizerStep& step, SpaceRules& rules) {
  if (step == NormalizerStep(ReplaceLiteral(" ", std::string(kMetaspace)))) {
    rules.maps_spaces = rules.in_normalizer = true;
  } else if (step == NormalizerStep(Prepend{std::string(kMetaspace)}) && !rules.maps_spaces) {
    rules.prefix = SpacePrefix::kAlways;
  } else if (rules.maps_spaces || rules.prefix != SpacePrefix::kNone) {
    return NoRule(Cat("the normalizer ", Escape(ToJson(std::vector<NormalizerStep>{step}), 80),
                      " follows the mapping of spaces"));
  } else {
    rules.other_normalizers.push_back(step);
  }
  return absl::OkStatus();
}

absl::Status AddPreTokenizer(const PreTokenizerStep& step, SpaceRules& rules) {
  if (const Split* split = std::get_if<Split>(&step);
      split != nullptr && rules.maps_spaces && IsLiteral(split->pattern, " "))
    return absl::OkStatus();  // no space is left
  const Metaspace* metaspace = std::get_if<Metaspace>(&step);
  if (metaspace == nullptr || metaspace->replacement != kMetaspace || rules.maps_spaces ||
      rules.prefix != SpacePrefix::kNone) {
    return NoRule(Cat("the step ", Escape(ToJson(std::vector<PreTokenizerStep>{step}), 100)));
  }
  rules.maps_spaces = true;
  rules.prefix = metaspace->scheme == PrependScheme::kFirst    ? SpacePrefix::kFirst
                 : metaspace->scheme == PrependScheme::kAlways ? SpacePrefix::kUnlessPresent
                                                               : SpacePrefix::kNone;
  rules.splits = metaspace->split;
  return absl::OkStatus();
}

absl::StatusOr<SpaceRules> SpaceRulesOf(const PipelineSpec& spec) {
  SpaceRules rules;
  for (const NormalizerStep& step : spec.normalizers)
    SMELT_RETURN_IF_ERROR(AddNormalizer(step, rules));
  for (const PreTokenizerStep& step : spec.pre_tokenizers)
    SMELT_RETURN_IF_ERROR(AddPreTokenizer(step, rules));
  if (!rules.maps_spaces) return NoRule("nothing maps spaces to U+2581");
  // Added tokens that are looked for in the normalized text see U+2581 where that puts it.
  if (rules.in_normalizer && std::any_of(spec.added.begin(), spec.added.end(),
                                         [](const AddedToken& t) { return t.normalized; })) {
    rules.other_normalizers = spec.normalizers;
    if (rules.prefix == SpacePrefix::kAlways) rules.prefix = SpacePrefix::kNormalizer;
  }
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
std::vector<float> MergeScores(const TokenTable& tokens, const MergeList& merges) {
  std::vector<float> scores(tokens.size(), kAddedScore);
  std::vector<bool> scored(tokens.size(), false);
  for (size_t i = 0; i < merges.size(); ++i) {
    const int32_t id = tokens.Find(merges.Whole(i));
    if (id < 0 || scored[static_cast<size_t>(id)]) continue;
    scored[static_cast<size_t>(id)] = true;
    scores[static_cast<size_t>(id)] = -static_cast<float>(i);
  }
  return scores;
}

// The converter gives added tokens a score that says nothing. Where merges make such a token, that
// would change their order. Returns the scores that count.
std::vector<float> WriteMergeScores(std::vector<float> scores, const std::vector<AddedToken>& added,
                                    const VocabularyArrays& arrays, Metadata& after) {
  for (const AddedToken& token : added) {
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

// Merging by score joins whatever makes a token. True where the tokenizer's list of merges means
// something else.
bool NeedsList(const Pipeline& p, const MergeList& merges, const VocabularyArrays& arrays,
               const std::vector<float>& scores) {
  const TokenTable& tokens = p.spec().tokens;
  const auto joinable = [&](int32_t id) {
    const PieceType type =
        static_cast<size_t>(id) < arrays.size() ? arrays.type(id) : PieceType::kUnused;
    return type == PieceType::kNormal || type == PieceType::kUserDefined;
  };
  // Merging by score falls back to bytes; what the library does where one has no token, only a list
  // of merges goes with.
  return !ByteTokens(tokens).HasAll() ||
         !MergesFollowScores(tokens, merges, *p.merges(), scores, joinable);
}

void WriteListedMerges(const TokenTable& tokens, const MergeList& merges, Metadata& after) {
  std::vector<int32_t> ids;
  ids.reserve(3 * merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    ids.insert(ids.end(), {tokens.Find(merges.Left(i)), tokens.Find(merges.Right(i)),
                           tokens.Find(merges.Whole(i))});
  }
  WriteOwn<std::vector<int32_t>>(after, "smelt.tokenizer.merges", std::move(ids));
}

// The tokens and the model that these arrays are read as.
void AsWritten(const PipelineSpec& spec, const VocabularyArrays& arrays,
               const std::vector<float>& scores, PipelineSpec& written) {
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    if (spec.tokens.Has(id) && arrays.type(id) != PieceType::kUnused)
      written.tokens.Add(id, spec.tokens.Text(id));
  }
  PieceModel model;
  for (size_t i = 0; i < arrays.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const PieceType type = arrays.type(id);
    model.types.push_back(type == PieceType::kUserDefined ? PieceType::kNormal : type);
    const float score = i < scores.size() ? scores[i] : arrays.score(id);
    model.scores.push_back(written.tokens.Has(id) ? score : 0);
  }
  model.byte_fallback = true;
  written.model = std::move(model);
}

// True when a token that merges make crosses the place before a U+2581.
bool CrossesSpace(const MergeList& merges) {
  for (size_t i = 0; i < merges.size(); ++i) {
    if (merges.Whole(i).find(kMetaspace, 1) != std::string_view::npos) return true;
  }
  return false;
}

// Without a SentencePiece model: a piece's score is minus the rank of the first merge that makes
// it, so that the best score merges first.
void FillFromMerges(const PipelineSpec& spec, std::string_view unknown,
                    const std::vector<float>& scores, VocabularyArrays& arrays) {
  const ByteTokens bytes(spec.tokens);
  const std::set<int32_t> byte_ids(bytes.ids().begin(), bytes.ids().end());
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    if (!spec.tokens.Has(id)) continue;
    const std::string_view text = spec.tokens.Text(id);
    const PieceType type = byte_ids.contains(id) ? PieceType::kByte
                           : text == unknown     ? PieceType::kUnknown
                                                 : PieceType::kNormal;
    arrays.Set(id, std::string(text), type, scores[i]);
  }
  for (const AddedToken& token : spec.added) {
    const auto id = static_cast<size_t>(token.id);
    arrays.SetAdded(token, id < scores.size() ? scores[id] : kAddedScore);
    if (token.content == unknown)
      arrays.Set(token.id, token.content, PieceType::kUnknown, kAddedScore);
  }
}

/// Special tokens of Gemma 4 that llama.cpp's converter makes user-defined ones: chat parsers read
/// them in the text.
constexpr std::string_view kShown[] = {"<|channel>",   "<channel|>",       "<|tool_call>",
                                       "<tool_call|>", "<|tool_response>", "<tool_response|>",
                                       "<|\"|>"};

// Whether "gemma4" says it: spaces are mapped and nothing else, all bytes are there, and no merge
// has a space, which stands between its parts.
bool CanListMerges(const PipelineSpec& spec, const MergeList& merges, const SpaceRules& rules) {
  if (rules.prefix != SpacePrefix::kNone || !rules.other_normalizers.empty() || rules.splits ||
      !ByteTokens(spec.tokens).HasAll())
    return false;
  for (size_t i = 0; i < merges.size(); ++i) {
    if (merges.Whole(i).find(' ') != std::string_view::npos) return false;
  }
  return true;
}

void FillListed(const PipelineSpec& spec, std::string_view unknown, VocabularyArrays& arrays) {
  FillFromMerges(spec, unknown, std::vector<float>(spec.tokens.size(), kAddedScore), arrays);
  for (const std::string_view shown : kShown) {
    const int32_t id = spec.tokens.Find(shown);
    if (id >= 0) arrays.Set(id, std::string(shown), PieceType::kUserDefined, kAddedScore);
  }
}

void WriteMerges(const MergeList& merges, Metadata& out) {
  std::vector<std::string> lines;
  lines.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i)
    lines.push_back(Cat(merges.Left(i), " ", merges.Right(i)));
  out.Set("tokenizer.ggml.merges", std::move(lines));
}

}  // namespace

absl::StatusOr<PipelineSpec> WriteMetaspaceBpe(const Pipeline& p, const SpecWriteOptions& options,
                                               Metadata& out, Metadata& after) {
  const PipelineSpec& spec = p.spec();
  const BpeModel& model = std::get<BpeModel>(spec.model);
  SMELT_RETURN_IF_ERROR(RefuseAffixes(model));
  if (!model.byte_fallback)
    return NoForm("its BPE works on characters without falling back to bytes (byte_fallback)");
  if (model.ignore_merges)
    return NoForm("its SentencePiece-like BPE ignores merges, which only byte-level BPE can");
  SMELT_ASSIGN_OR_RETURN(const SpaceRules rules, SpaceRulesOf(spec));
  const bool lists = options.lists_merges && CanListMerges(spec, model.merges, rules);
  out.Set("tokenizer.ggml.model", std::string(lists ? kGemma4 : "llama"));
  if (!lists) out.Set("tokenizer.ggml.pre", "default");
  VocabularyArrays arrays(RowsOf(options, p));
  std::vector<float> scores = MergeScores(spec.tokens, model.merges);
  if (lists) {
    FillListed(spec, model.unk_token, arrays);
  } else if (options.pieces != nullptr) {
    FillFromPieces(*options.pieces, options.declared, spec.added, arrays);
    scores = WriteMergeScores(std::move(scores), spec.added, arrays, after);
  } else {
    FillFromMerges(spec, model.unk_token, scores, arrays);
  }
  PipelineSpec written;
  const int32_t unknown = spec.tokens.Find(model.unk_token);
  AsWritten(spec, arrays, scores, written);
  written.added = AddedAsWritten(spec.added, AddedTo::kPipeline, unknown, arrays);
  const bool listed = lists || NeedsList(p, model.merges, arrays, scores);
  const bool lacks_bytes = !ByteTokens(spec.tokens).HasAll();
  if (listed) {
    if (!lists) WriteListedMerges(spec.tokens, model.merges, after);
    written.model = BpeModel{.merges = model.merges,
                             .unk_token = lacks_bytes ? model.unk_token : std::string(),
                             .continuing_subword_prefix = "",
                             .end_of_word_suffix = "",
                             .fuse_unk = lacks_bytes && model.fuse_unk && !model.unk_token.empty(),
                             .byte_fallback = true};
  }
  if (lacks_bytes) WriteUnknown(model, after);
  std::move(arrays).Write(true, out);
  if (lists) WriteMerges(model.merges, out);
  if (rules.prefix == SpacePrefix::kNone) {
    after.Set("tokenizer.ggml.add_space_prefix", false);
  } else if (rules.prefix != SpacePrefix::kAlways) {
    WriteOwn<std::string>(after, "smelt.tokenizer.space_prefix", std::string(NameOf(rules.prefix)));
  }
  const bool splits = rules.splits && CrossesSpace(model.merges);
  if (splits) WriteOwn<bool>(after, "smelt.tokenizer.split_blanks", true);
  WriteNormalizers(rules.other_normalizers, after);
  WriteAddedFlags(spec.added, AddedTo::kPipeline, unknown, after);
  written.normalizers = rules.other_normalizers;
  AddSpaceSteps(rules.prefix, splits, written);
  return written;
}

}  // namespace smelt
