#include "lib/text/spec/spec_difference.h"

#include <algorithm>
#include <utility>

#include "lib/base/cat.h"

namespace smelt {
namespace {

// The first place where two lists are not the same; npos where they are.
template <typename T>
size_t FirstPlace(const std::vector<T>& a, const std::vector<T>& b) {
  const auto [x, y] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return x == a.end() && y == b.end() ? std::string::npos : static_cast<size_t>(x - a.begin());
}

template <typename T>
std::string Compare(std::string_view what, const std::vector<T>& a, const std::vector<T>& b) {
  const size_t place = FirstPlace(a, b);
  return place == std::string::npos ? std::string() : Cat(what, " ", place);
}

std::string CompareTokens(const TokenTable& a, const TokenTable& b) {
  for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    const auto id = static_cast<int32_t>(i);
    if (a.Has(id) != b.Has(id) || a.Text(id) != b.Text(id)) return Cat("token ", i);
  }
  return std::string();
}

std::string CompareAdded(const std::vector<AddedToken>& a, const std::vector<AddedToken>& b) {
  const size_t place = FirstPlace(a, b);
  if (place == std::string::npos) return std::string();
  const AddedToken& token = place < a.size() ? a[place] : b[place];
  return Cat("the added token ", token.id, " (\"", Escape(token.content, 40), "\")");
}

// The parts of a model that are lists; the rest is one thing.
std::string CompareLists(const BpeModel& a, const BpeModel& b) {
  const size_t count = std::min(a.merges.size(), b.merges.size());
  for (size_t i = 0; i < count; ++i) {
    if (a.merges.Left(i) != b.merges.Left(i) || a.merges.Right(i) != b.merges.Right(i))
      return Cat("the merge ", i);
  }
  return a.merges.size() == b.merges.size() ? std::string() : Cat("the merge ", count);
}
std::string CompareLists(const UnigramModel& a, const UnigramModel& b) {
  return Compare("the score of token", a.scores, b.scores);
}
std::string CompareLists(const PieceModel& a, const PieceModel& b) {
  const std::string scores = Compare("the score of token", a.scores, b.scores);
  return scores.empty() ? Compare("the type of token", a.types, b.types) : scores;
}
template <typename Model>
std::string CompareLists(const Model&, const Model&) {
  return std::string();
}

std::string CompareModels(const TokenizerModel& a, const TokenizerModel& b) {
  if (a.index() != b.index()) return "the kind of the model";
  std::string lists = std::visit(
      [&](const auto& model) {
        return CompareLists(model, std::get<std::remove_cvref_t<decltype(model)>>(b));
      },
      a);
  return !lists.empty() || a == b ? lists : "what the model makes of unknown characters and words";
}

}  // namespace

std::string FirstDifference(const PipelineSpec& a, const PipelineSpec& b) {
  std::string what = Compare("the normalizer", a.normalizers, b.normalizers);
  if (what.empty()) what = Compare("the pre-tokenizer", a.pre_tokenizers, b.pre_tokenizers);
  if (what.empty()) what = CompareTokens(a.tokens, b.tokens);
  if (what.empty()) what = CompareAdded(a.added, b.added);
  if (what.empty()) what = CompareModels(a.model, b.model);
  if (what.empty()) what = Compare("the post-processor", a.post_processors, b.post_processors);
  if (what.empty()) what = Compare("the decoder", a.decoders, b.decoders);
  return what;
}

}  // namespace smelt
