#include "lib/text/merge_order.h"

#include "lib/base/cat.h"
#include "lib/base/utf8.h"

namespace smelt {
namespace {

bool IsOneCharacter(std::string_view text) {
  return !text.empty() && DecodeUtf8(text.substr(0, 4)).length == text.size();
}

}  // namespace

bool MergesFollowScores(const TokenTable& tokens, const MergeList& merges, const MergeTable& table,
                        const std::vector<float>& scores,
                        const std::function<bool(int32_t)>& joinable) {
  std::vector<bool> made(tokens.size(), false);
  int32_t previous = -1;
  std::string whole;
  for (size_t i = 0; i < merges.size(); ++i) {
    const int32_t left = tokens.Find(merges.Left(i)), right = tokens.Find(merges.Right(i));
    whole.assign(merges.Left(i));
    whole.append(merges.Right(i));
    const int32_t id = tokens.Find(whole);
    if (left < 0 || right < 0 || id < 0) return false;
    made[static_cast<size_t>(id)] = true;
    const Merge* last = table.Find(left, right);
    if (last == nullptr || last->rank != i) continue;  // listed once more further on
    if (!joinable(id)) return false;
    const bool sorted = previous < 0 || previous == id ||
                        scores[static_cast<size_t>(previous)] > scores[static_cast<size_t>(id)];
    if (!sorted) return false;
    previous = id;
  }
  const auto met = [&](std::string_view text, int32_t id) {
    return IsOneCharacter(text) || (id >= 0 && made[static_cast<size_t>(id)]);
  };
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    if (!tokens.Has(id) || !joinable(id)) continue;
    const std::string_view text = tokens.Text(id);
    for (size_t cut = 0; cut < text.size();) {
      cut += DecodeUtf8(text.substr(cut, 4)).length;
      if (cut >= text.size()) break;
      const int32_t left = tokens.Find(text.substr(0, cut)), right = tokens.Find(text.substr(cut));
      if (!met(text.substr(0, cut), left) || !met(text.substr(cut), right)) continue;
      if (left < 0 || right < 0 || table.Find(left, right) == nullptr) return false;
    }
  }
  return true;
}

}  // namespace smelt
