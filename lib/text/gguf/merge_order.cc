#include "lib/text/gguf/merge_order.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>

#include "lib/base/utf8.h"

namespace smelt {
namespace {

constexpr size_t kLongestRun = 64;  // tokens that are one character over and over

size_t FirstLength(std::string_view text) {
  return text.empty() ? 0 : DecodeUtf8(text.substr(0, 4)).length;
}

bool IsOneCharacter(std::string_view text) {
  return !text.empty() && FirstLength(text) == text.size();
}

// The character that a text is made of; empty when it is made of several.
std::string_view RunOf(std::string_view text) {
  const std::string_view c = text.substr(0, FirstLength(text));
  if (c.empty() || text.size() % c.size() != 0) return {};
  for (size_t i = c.size(); i < text.size(); i += c.size()) {
    if (text.substr(i, c.size()) != c) return {};
  }
  return c;
}

class Comparison {
 public:
  Comparison(const TokenTable& tokens, const MergeList& merges, const MergeTable& table,
             const std::vector<float>& scores, const std::function<bool(int32_t)>& joinable)
      : tokens_(tokens), merges_(merges), table_(table), scores_(scores), joinable_(joinable) {}

  bool Same() {
    made_.assign(tokens_.size(), false);
    return Sorted() && Complete() &&
           std::all_of(longest_run_.begin(), longest_run_.end(),
                       [&](const auto& run) { return SameOnRuns(run.first, run.second); });
  }

 private:
  // Only merges that share a symbol can be in each other's way: those of runs of one character meet
  // none of another's, and among themselves are tried out.
  bool Sorted() {
    float lowest = std::numeric_limits<float>::infinity(), lowest_mixed = lowest;
    int32_t last = -1, last_mixed = -1;
    std::string whole;
    for (size_t i = 0; i < merges_.size(); ++i) {
      whole.assign(merges_.Left(i));
      whole.append(merges_.Right(i));
      const int32_t left = tokens_.Find(merges_.Left(i)), right = tokens_.Find(merges_.Right(i)),
                    id = tokens_.Find(whole);
      if (left < 0 || right < 0 || id < 0 || !joinable_(id)) return false;
      made_[static_cast<size_t>(id)] = true;
      const Merge* merge = table_.Find(left, right);
      if (merge == nullptr || merge->rank != i) continue;  // listed once more further on
      const float score = scores_[static_cast<size_t>(id)];
      if (const std::string_view c = RunOf(whole); !c.empty()) {
        if (id != last_mixed && score >= lowest_mixed) return false;
        size_t& longest = longest_run_[std::string(c)];
        longest = std::max(longest, whole.size() / c.size());
      } else {
        if (id != last && score >= lowest) return false;
        lowest_mixed = score;
        last_mixed = id;
      }
      lowest = std::min(lowest, score);
      last = id;
    }
    return true;
  }

  bool Met(std::string_view text, int32_t id) const {
    return IsOneCharacter(text) || (id >= 0 && made_[static_cast<size_t>(id)]);
  }

  // Every pair of symbols that makes a token is listed.
  bool Complete() const {
    for (size_t i = 0; i < tokens_.size(); ++i) {
      const auto id = static_cast<int32_t>(i);
      if (!tokens_.Has(id) || !joinable_(id)) continue;
      const std::string_view text = tokens_.Text(id);
      for (size_t cut = FirstLength(text); cut < text.size();
           cut += FirstLength(text.substr(cut))) {
        const int32_t left = tokens_.Find(text.substr(0, cut));
        if (!Met(text.substr(0, cut), left)) continue;
        const int32_t right = tokens_.Find(text.substr(cut));
        if (!Met(text.substr(cut), right)) continue;
        if (left < 0 || right < 0 || table_.Find(left, right) == nullptr) return false;
      }
    }
    return true;
  }

  // The lengths that `count` times a character comes to; `better` orders two merges.
  template <typename Better>
  std::vector<size_t> MergeRun(const std::vector<int32_t>& ids, size_t count,
                               const Better& better) const {
    std::vector<size_t> lengths(count, 1);
    while (true) {
      const Merge* best = nullptr;
      size_t at = 0;
      for (size_t i = 0; i + 1 < lengths.size(); ++i) {
        if (lengths[i] >= ids.size() || lengths[i + 1] >= ids.size()) continue;
        const Merge* merge = table_.Find(ids[lengths[i]], ids[lengths[i + 1]]);
        if (merge != nullptr && (best == nullptr || better(*merge, *best))) {
          best = merge;
          at = i;
        }
      }
      if (best == nullptr) return lengths;
      lengths[at] += lengths[at + 1];
      lengths.erase(lengths.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    }
  }

  bool SameOnRuns(std::string_view c, size_t longest) const {
    if (longest > kLongestRun) return false;
    std::vector<int32_t> ids(longest + 1, -1);
    std::string text;
    for (size_t n = 1; n <= longest; ++n) ids[n] = tokens_.Find(text.append(c));
    const auto score = [&](const Merge& m) { return scores_[static_cast<size_t>(m.id)]; };
    for (size_t n = 2; n <= 2 * longest + 1; ++n) {
      const auto listed =
          MergeRun(ids, n, [](const Merge& a, const Merge& b) { return a.rank < b.rank; });
      const auto scored =
          MergeRun(ids, n, [&](const Merge& a, const Merge& b) { return score(a) > score(b); });
      if (listed != scored) return false;
    }
    return true;
  }

  const TokenTable& tokens_;
  const MergeList& merges_;
  const MergeTable& table_;
  const std::vector<float>& scores_;
  const std::function<bool(int32_t)>& joinable_;
  std::vector<bool> made_;  // by some merge
  std::map<std::string, size_t> longest_run_;
};

}  // namespace

bool MergesFollowScores(const TokenTable& tokens, const MergeList& merges, const MergeTable& table,
                        const std::vector<float>& scores,
                        const std::function<bool(int32_t)>& joinable) {
  return Comparison(tokens, merges, table, scores, joinable).Same();
}

}  // namespace smelt
