#include "lib/text/gguf/vocabulary_difference.h"

#include <algorithm>
#include <functional>
#include <string_view>
#include <vector>

#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/text/gguf/gguf_vocabulary.h"
#include "lib/text/gguf/pre_names.h"
#include "lib/text/gguf/self_check.h"

namespace smelt {
namespace {

using Difference = std::optional<VocabularyDifference>;

std::string Quoted(std::string_view text) { return Cat("\"", Escape(text, 40), "\""); }

/// The types as the file has them, without what our own keys change.
std::vector<PieceType> TypesOf(const Metadata& metadata, size_t count) {
  std::vector<PieceType> out(count, PieceType::kNormal);
  const MetadataValue* value = metadata.Find("tokenizer.ggml.token_type");
  for (size_t id = 0; value != nullptr && id < count; ++id) {
    const int64_t type = value->IntAt(id).value_or(0);
    if (type != 0) out[id] = static_cast<PieceType>(type);
  }
  return out;
}

size_t UsedOf(const std::vector<PieceType>& types) {
  size_t used = types.size();
  while (used > 0 && types[used - 1] == PieceType::kUnused) --used;
  return used;
}

/// One side of a comparison.
struct Side {
  const Metadata& metadata;
  GgufVocabulary vocabulary;
  std::vector<PieceType> types;
  size_t used = 0;  ///< tokens without padding

  std::string Token(int32_t id) const {
    if (id < 0) return "not there";
    return Cat(id, " (", Quoted((*vocabulary.tokens)[static_cast<size_t>(id)]), ")");
  }
  bool Bool(std::string_view key, bool fallback) const {
    const MetadataValue* value = metadata.Find(key);
    return value == nullptr ? fallback : value->AsBool().value_or(fallback);
  }
};

absl::StatusOr<Side> Read(const Metadata& metadata) {
  SMELT_ASSIGN_OR_RETURN(GgufVocabulary vocabulary, ReadGgufVocabulary(metadata));
  Side side{.metadata = metadata, .vocabulary = std::move(vocabulary), .types = {}};
  side.types = TypesOf(metadata, side.vocabulary.size());
  side.used = UsedOf(side.types);
  return side;
}

/// Settings that change the ids of texts. `models`: kinds of vocabulary that know it, "" = all.
struct Setting {
  std::string_view name, models;
  std::function<std::string(const Side&)> value;
};

std::string Flag(bool on) { return on ? "true" : "false"; }

const std::vector<Setting>& Settings() {
  static const std::vector<Setting> settings = {
      {"tokenizer.ggml.add_bos_token", "",
       [](const Side& s) { return Flag(s.vocabulary.add_bos && s.vocabulary.bos >= 0); }},
      {"tokenizer.ggml.bos_token_id", "",
       [](const Side& s) {
         return s.vocabulary.add_bos ? s.Token(s.vocabulary.bos) : std::string();
       }},
      {"tokenizer.ggml.add_eos_token", "",
       [](const Side& s) { return Flag(s.vocabulary.add_eos && s.vocabulary.eos >= 0); }},
      {"tokenizer.ggml.eos_token_id", "",
       [](const Side& s) {
         return s.vocabulary.add_eos ? s.Token(s.vocabulary.eos) : std::string();
       }},
      {"tokenizer.ggml.unknown_token_id", "llama t5 bert",
       [](const Side& s) { return s.Token(s.vocabulary.unknown); }},
      {"tokenizer.ggml.add_space_prefix", "llama t5",
       [](const Side& s) { return Flag(s.Bool("tokenizer.ggml.add_space_prefix", true)); }},
      {"tokenizer.ggml.remove_extra_whitespaces", "t5",
       [](const Side& s) { return Flag(s.Bool("tokenizer.ggml.remove_extra_whitespaces", true)); }},
      {"tokenizer.ggml.normalizer.lowercase", "bert",
       [](const Side& s) { return Flag(s.Bool("tokenizer.ggml.normalizer.lowercase", true)); }},
  };
  return settings;
}

/// Ids after which generation stops, by key.
const std::vector<Setting>& Ends() {
  static const std::vector<Setting> ends = {
      {"tokenizer.ggml.eos_token_id", "", [](const Side& s) { return s.Token(s.vocabulary.eos); }},
      {"tokenizer.ggml.eot_token_id", "", [](const Side& s) { return s.Token(s.vocabulary.eot); }},
      {"tokenizer.ggml.eom_token_id", "", [](const Side& s) { return s.Token(s.vocabulary.eom); }},
  };
  return ends;
}

Difference CompareSettings(const std::vector<Setting>& settings, const Side& a, const Side& b,
                           bool ids) {
  for (const Setting& setting : settings) {
    if (!setting.models.empty() && setting.models.find(a.vocabulary.model) == std::string::npos)
      continue;
    std::string one = setting.value(a), other = setting.value(b);
    if (one != other)
      return VocabularyDifference{.what = std::string(setting.name),
                                  .one = std::move(one),
                                  .other = std::move(other),
                                  .ids = ids};
  }
  return std::nullopt;
}

/// Keys that are compared by what they mean, or token by token.
bool ComparedElsewhere(std::string_view key) {
  for (const std::string_view known : {"pre_tokenizer", "ignore_merges", "scores", "source"}) {
    if (key.substr(kOwnTokenizerPrefix.size()) == known) return true;
  }
  return false;
}

std::string Shown(const MetadataValue& value) {
  if (const std::string* text = value.AsString(); text != nullptr) return Quoted(*text);
  if (const std::optional<bool> flag = value.AsBool()) return Flag(*flag);
  if (const std::optional<double> number = value.AsFloat()) return Cat(*number);
  return Cat("a list of ", value.size());
}

/// Keys of ours that both have, and the rules of a t5 vocabulary's normalizer.
Difference CompareOwnKeys(const Side& a, const Side& b) {
  for (const Metadata::Entry& entry : a.metadata.entries()) {
    const bool ours = entry.key.starts_with(kOwnTokenizerPrefix) && !ComparedElsewhere(entry.key);
    if (!ours && entry.key != "tokenizer.ggml.precompiled_charsmap") continue;
    const MetadataValue* other = b.metadata.Find(entry.key);
    if (other == nullptr || *other == entry.value) continue;
    std::string one = Shown(entry.value), two = Shown(*other);
    if (one == two) two = "another one";
    return VocabularyDifference{.what = entry.key, .one = std::move(one), .other = std::move(two)};
  }
  return std::nullopt;
}

Difference CompareTokens(const Side& a, const Side& b) {
  static constexpr std::string_view kTypes[] = {
      "", "normal", "unknown", "control", "user-defined", "unused", "byte"};
  const std::vector<std::string>&x = *a.vocabulary.tokens, &y = *b.vocabulary.tokens;
  for (size_t id = 0; id < std::max(a.used, b.used); ++id) {
    const auto text = [id](const std::vector<std::string>& tokens) {
      return id < tokens.size() ? Quoted(tokens[id]) : std::string("not there");
    };
    if (id >= x.size() || id >= y.size() || x[id] != y[id])
      return VocabularyDifference{.what = Cat("token ", id), .one = text(x), .other = text(y)};
    const PieceType one = a.types[id], other = b.types[id];
    if (one == other) continue;
    return VocabularyDifference{.what = Cat("the type of token ", id, " (", text(x), ")"),
                                .one = std::string(kTypes[static_cast<size_t>(one)]),
                                .other = std::string(kTypes[static_cast<size_t>(other)])};
  }
  return std::nullopt;
}

Difference CompareMerges(const Side& a, const Side& b) {
  static const std::vector<std::string> kNone;
  const auto merges = [](const Side& side) -> const std::vector<std::string>& {
    const MetadataValue* value = side.metadata.Find("tokenizer.ggml.merges");
    const auto* list = value == nullptr ? nullptr : value->get_if<std::vector<std::string>>();
    return list == nullptr ? kNone : *list;
  };
  const std::vector<std::string>&x = merges(a), &y = merges(b);
  const auto [p, q] = std::mismatch(x.begin(), x.end(), y.begin(), y.end());
  if (p == x.end() && q == y.end()) return std::nullopt;
  return VocabularyDifference{.what = Cat("merge ", p - x.begin()),
                              .one = p == x.end() ? "not there" : Quoted(*p),
                              .other = q == y.end() ? "not there" : Quoted(*q)};
}

/// Scores of used tokens, from the key that both have.
std::vector<float> ScoresOf(const Side& side, std::string_view key) {
  std::vector<float> out(side.used);
  const MetadataValue* scores = side.metadata.Find(key);
  for (size_t id = 0; scores != nullptr && id < std::min(side.used, scores->size()); ++id)
    out[id] = static_cast<float>(scores->FloatAt(id).value_or(0));
  return out;
}

/// SentencePiece's BPE sees only the order of scores, Unigram their values. Tokens that no merge
/// makes have scores of no meaning.
Difference CompareScores(const Side& a, const Side& b) {
  constexpr OwnKeyName kExact = "smelt.tokenizer.scores";
  const bool exact = a.metadata.Has(kExact) && b.metadata.Has(kExact);
  const std::string_view key = exact ? std::string_view(kExact) : "tokenizer.ggml.scores";
  const std::vector<float> x = ScoresOf(a, key), y = ScoresOf(b, key);
  if (x == y) return std::nullopt;
  const auto counts = [&](size_t id) {
    const PieceType type = a.types[id];
    return type == PieceType::kNormal || type == PieceType::kUserDefined ||
           type == PieceType::kUnused;
  };
  const auto difference = [&](size_t id) {
    return VocabularyDifference{
        .what = Cat("the score of token ", id, " (", Quoted((*a.vocabulary.tokens)[id]), ")"),
        .one = Cat(x[id]),
        .other = Cat(y[id])};
  };
  std::vector<size_t> ids;
  for (size_t id = 0; id < x.size(); ++id) {
    if (counts(id)) ids.push_back(id);
  }
  if (a.vocabulary.model != "llama") {
    const auto other =
        std::find_if(ids.begin(), ids.end(), [&](size_t id) { return x[id] != y[id]; });
    return other == ids.end() ? Difference() : difference(*other);
  }
  std::stable_sort(ids.begin(), ids.end(), [&](size_t p, size_t q) { return x[p] > x[q]; });
  for (size_t i = 1; i < ids.size(); ++i) {  // one order: neighbours stand alike in both
    const size_t p = ids[i - 1], q = ids[i];
    if (x[p] == x[q] ? y[p] != y[q] : !(y[p] > y[q])) return difference(q);
  }
  return std::nullopt;
}

/// What splits the text of a byte-level vocabulary: a pipeline that both bring along, or what their
/// names mean.
Difference CompareSplitting(const Side& a, const Side& b) {
  constexpr OwnKeyName kPipeline = "smelt.tokenizer.pre_tokenizer";
  const MetadataValue *own = a.metadata.Find(kPipeline), *other = b.metadata.Find(kPipeline);
  if (own != nullptr && other != nullptr) {
    if (*own == *other) return std::nullopt;
    return VocabularyDifference{
        .what = Cat("the pre-tokenizer (", std::string_view(kPipeline), ")"),
        .one = Shown(*own),
        .other = Shown(*other)};
  }
  const std::string &x = a.vocabulary.pre, &y = b.vocabulary.pre;
  const auto meaning = [](const std::string& name) {
    return FindPipelineOf(name.empty() ? "default" : name);
  };
  const PreTokenizerName *p = meaning(x), *q = meaning(y);
  const bool known = p != nullptr && q != nullptr;
  if (known ? p->steps == q->steps && p->ignore_merges == q->ignore_merges : x == y)
    return std::nullopt;
  return VocabularyDifference{
      .what = "the pre-tokenizer (tokenizer.ggml.pre)", .one = Quoted(x), .other = Quoted(y)};
}

}  // namespace

std::string Sentence(const VocabularyDifference& difference, std::string_view first,
                     std::string_view second) {
  return Cat(difference.what, " is ", difference.one, " in ", first, " and ", difference.other,
             " in ", second);
}

absl::StatusOr<std::optional<VocabularyDifference>> CompareVocabularies(const Metadata& first,
                                                                        const Metadata& second) {
  SMELT_ASSIGN_OR_RETURN(const Side a, Read(first));
  SMELT_ASSIGN_OR_RETURN(const Side b, Read(second));
  const std::string& model = a.vocabulary.model;
  if (model != b.vocabulary.model) {
    return VocabularyDifference{.what = "the kind of tokenizer (tokenizer.ggml.model)",
                                .one = Quoted(model),
                                .other = Quoted(b.vocabulary.model)};
  }
  if (Difference found = CompareTokens(a, b)) return found;
  // Before the settings: what stands for a missing one may depend on the pre-tokenizer's name.
  if (model == "gpt2") {
    if (Difference found = CompareSplitting(a, b)) return found;
  }
  if (Difference found = CompareSettings(Settings(), a, b, true)) return found;
  const bool scored = model == "llama" || model == "t5";
  if (Difference found = scored ? CompareScores(a, b) : CompareMerges(a, b)) return found;
  if (Difference found = CompareOwnKeys(a, b)) return found;
  return CompareSettings(Ends(), a, b, false);
}

absl::StatusOr<std::optional<VocabularyDifference>> CompareOnProbes(const Tokenizer& a,
                                                                    const Tokenizer& b) {
  for (const std::string& probe : ProbeTexts()) {
    SMELT_ASSIGN_OR_RETURN(const std::vector<int32_t> x, a.Encode(probe, {}));
    SMELT_ASSIGN_OR_RETURN(const std::vector<int32_t> y, b.Encode(probe, {}));
    if (x == y) continue;
    const auto at = static_cast<size_t>(
        std::mismatch(x.begin(), x.end(), y.begin(), y.end()).first - x.begin());
    const auto shown = [at](const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
      return at < ids.size() ? Cat(ids[at], " (", Quoted(tokenizer.Piece(ids[at])), ")")
                             : std::string("not there");
    };
    return VocabularyDifference{.what = Cat("id ", at, " of the text ", Quoted(probe)),
                                .one = shown(a, x),
                                .other = shown(b, y)};
  }
  return std::nullopt;
}

}  // namespace smelt
