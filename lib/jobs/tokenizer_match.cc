#include "lib/jobs/tokenizer_match.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "lib/base/status.h"
#include "lib/jobs/text_ids.h"

namespace smelt {
namespace {

constexpr std::string_view kModel = "tokenizer.ggml.model";

using Found = absl::StatusOr<std::optional<VocabularyDifference>>;

/// Where the ids of a text part.
Found CompareIds(const Tokenizer& a, const Tokenizer& b, const NamedText& text) {
  SMELT_ASSIGN_OR_RETURN(const std::vector<int32_t> x, EvaluationIds(a, text.text));
  SMELT_ASSIGN_OR_RETURN(const std::vector<int32_t> y, EvaluationIds(b, text.text));
  const auto [p, q] = std::mismatch(x.begin(), x.end(), y.begin(), y.end());
  if (p == x.end() && q == y.end()) return std::nullopt;
  const auto at = p - x.begin();
  const auto shown = [at](const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
    if (static_cast<size_t>(at) >= ids.size()) return std::string("not there");
    const int32_t id = ids[static_cast<size_t>(at)];
    return Cat(id, " (\"", Escape(tokenizer.Piece(id), 40), "\")");
  };
  return VocabularyDifference{Cat("token ", at, " of ", Escape(text.name, 60)), shown(a, x),
                              shown(b, y)};
}

Found FirstDifference(const ModelSource& model, const ModelSource& reference,
                      const std::vector<NamedText>& texts) {
  Found found = CompareVocabularies(model.metadata(), reference.metadata());
  if (!found.ok() || (*found && (*found)->ids) || texts.empty()) return found;
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> a, TokenizerOf(model));
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> b, TokenizerOf(reference));
  for (const NamedText& text : texts) {
    Found ids = CompareIds(*a, *b, text);
    if (!ids.ok() || *ids) return ids;
  }
  return found;
}

/// Figures are compared over the rows that both heads have.
absl::Status CompareRows(const ModelSource& model, const ModelSource& reference, bool padding,
                         const Observer& observer) {
  const uint64_t a = VocabularyRows(model), b = VocabularyRows(reference);
  if (a == b) return absl::OkStatus();
  if (!padding) {
    return Error(ErrorCode::kInvalidInput, "the models have ", a, " and ", b,
                 " tokens, and nothing says which of them are the same; "
                 "--allow-tokenizer-mismatch compares the first ",
                 std::min(a, b));
  }
  observer.Note(Cat("the models have ", a, " and ", b,
                    " rows of tokens: KL divergence and top-1 are over the ", std::min(a, b),
                    " that both have"));
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckSameTokens(const ModelSource& model, const ModelSource& reference,
                             const std::vector<NamedText>& texts, bool allow,
                             const Observer& observer) {
  const bool here = model.metadata().Has(kModel), there = reference.metadata().Has(kModel);
  if (here != there) {
    observer.Note(Cat(Escape((here ? reference : model).name()),
                      " has no vocabulary: that its tokens are the same cannot be checked"));
  }
  if (!here || !there) return CompareRows(model, reference, allow, observer);
  SMELT_ASSIGN_OR_RETURN(const std::optional<VocabularyDifference> found,
                         FirstDifference(model, reference, texts));
  if (found && !found->ids) {
    observer.Note(Cat(Sentence(*found, "the model", "the reference"),
                      ": generated text ends differently, these figures are not affected"));
  } else if (found && !allow) {
    return Error(ErrorCode::kInvalidInput, "the model and the reference read text differently: ",
                 Sentence(*found, "the model", "the reference"),
                 "; --allow-tokenizer-mismatch compares them all the same");
  } else if (found) {
    observer.Warn(Cat(Sentence(*found, "the model", "the reference"),
                      ": the reference is given the model's ids, which may mean something else to "
                      "it"));
  }
  return CompareRows(model, reference, true, observer);
}

}  // namespace smelt
