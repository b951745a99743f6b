#include "lib/text/models/metaspace_cuts.h"

#include <algorithm>
#include <set>

#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr size_t kMaxCrossing = 200;

// The character that ends before `end`.
std::string_view CharBefore(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80) --begin;
  return text.substr(begin, end - begin);
}

}  // namespace

MetaspaceCuts::MetaspaceCuts(const TokenTable& tokens) {
  std::set<std::string> crossing = {std::string(kMetaspace)};
  for (size_t id = 0; id < tokens.size(); ++id) {
    const std::string_view text = tokens.Text(static_cast<int32_t>(id));
    for (size_t at = text.find(kMetaspace, 1); at != std::string_view::npos;
         at = text.find(kMetaspace, at + 1)) {
      crossing.emplace(CharBefore(text, at));
    }
  }
  not_after_.assign(crossing.begin(), crossing.end());
  enabled_ = tokens.Find(kMetaspace) >= 0 && not_after_.size() <= kMaxCrossing;
}

absl::Status MetaspaceCuts::Split(const TokenTable& tokens, std::string_view text,
                                  absl::FunctionRef<absl::Status(std::string_view)> emit) const {
  if (enabled_) {
    size_t from = 1;
    for (size_t at = text.find(kMetaspace, from); at != std::string_view::npos;
         at = text.find(kMetaspace, from)) {
      const std::string_view before = CharBefore(text, at);
      if (std::binary_search(not_after_.begin(), not_after_.end(), before) ||
          tokens.Find(before) < 0) {
        from = at + 1;
        continue;
      }
      SMELT_RETURN_IF_ERROR(emit(text.substr(0, at)));
      text.remove_prefix(at);
      from = 1;
    }
  }
  return text.empty() ? absl::OkStatus() : emit(text);
}

}  // namespace smelt
