#include "lib/text/gguf/generation_ends.h"

#include <algorithm>

#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/text/gguf/gguf_vocabulary.h"

namespace smelt {
absl::Status WriteGenerationEnds(std::span<const int64_t> ids, Metadata& out,
                                 std::vector<std::string>& notes) {
  if (ids.empty()) return absl::OkStatus();
  std::vector<int32_t> further;
  std::string names;
  {
    SMELT_ASSIGN_OR_RETURN(const GgufVocabulary vocabulary, ReadGgufVocabulary(out));
    const std::unordered_set<int32_t> ends = EndsOf(vocabulary);
    for (const int64_t wide : ids) {
      if (wide < 0 || static_cast<uint64_t>(wide) >= vocabulary.size()) continue;
      const auto id = static_cast<int32_t>(wide);
      if (!ends.contains(id) && std::ranges::find(further, id) == further.end())
        further.push_back(id);
    }
  }
  for (const std::string_view kind : {"eos", "eot", "eom"}) {
    const std::string key = Cat("tokenizer.ggml.", kind, "_token_id");
    if (further.empty() || out.Has(key)) continue;
    out.Set(key, static_cast<uint32_t>(further.front()));
    further.erase(further.begin());
  }
  if (further.empty()) return absl::OkStatus();
  for (const int32_t id : further) names += Cat(names.empty() ? "" : ", ", id);
  notes.push_back(Cat("llama.cpp does not end texts at the ids ", names.substr(0, 100),
                      ", for which a GGUF has no key; smelt does"));
  WriteOwn<std::vector<int32_t>>(out, "smelt.tokenizer.end_token_ids", std::move(further));
  return absl::OkStatus();
}

}  // namespace smelt
