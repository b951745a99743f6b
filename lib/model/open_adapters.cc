#include "lib/model/open_adapters.h"

#include <memory>
#include <utility>

#include "formats/gguf.h"
#include "lib/base/folder.h"
#include "lib/base/status.h"
#include "lib/model/adapted_source.h"
#include "lib/model/lora_gguf.h"
#include "lib/model/merged_names.h"

namespace smelt {

bool IsGgufFile(const std::string& path) {
  if (!IsFile(path)) return false;
  const absl::StatusOr<std::shared_ptr<Storage>> storage = OpenFile(path);
  return storage.ok() && LooksLikeGguf(**storage);
}

void NoteMerged(const std::string& path, double strength, const LoraMerged& merged,
                std::vector<std::string>& notes) {
  notes.push_back(Cat("the adapter ", Escape(path, 80), ": ", merged.ToText(strength)));
}

void NotePatterns(const LoraAdapter& adapter, std::vector<std::string>& notes) {
  for (const std::string& pattern : adapter.config.UnusedPatterns()) {
    notes.push_back(Cat("the adapter ", Escape(adapter.path, 80), ": its pattern ",
                        Escape(pattern, 60), " has no effect on any of its modules"));
  }
}

std::vector<std::string> AdapterNames(const OpenOptions& options) {
  std::vector<std::string> names;
  for (const auto& [path, strength] : options.adapters) names.push_back(AdapterName(path));
  return names;
}

absl::Status AdaptResult(const OpenOptions& options, bool base_is_gguf, OpenedModel& opened) {
  std::vector<GgufLora> adapters;
  std::string base_id;
  for (const auto& [path, strength] : options.adapters) {
    if (IsGgufFile(path)) {
      SMELT_ASSIGN_OR_RETURN(const GgufFile file, OpenGguf(path));
      if (!IsGgufLora(file)) {
        return Error(ErrorCode::kUnsupported, Escape(path, 100),
                     " is no adapter: expected a GGUF of the type adapter (general.type), or a "
                     "folder of PEFT's");
      }
      SMELT_ASSIGN_OR_RETURN(GgufLora adapter, ReadGgufLora(file, strength, *opened.source));
      adapters.push_back(std::move(adapter));
    } else if (base_is_gguf) {
      SMELT_ASSIGN_OR_RETURN(LoraAdapter peft, OpenLora(path));
      SMELT_ASSIGN_OR_RETURN(GgufLora adapter, ToGgufLora(peft, strength, *opened.source));
      NotePatterns(peft, opened.notes);
      if (base_id.empty()) base_id = peft.config.Base();
      adapters.push_back(std::move(adapter));
    } else {
      continue;
    }
    NoteMerged(path, strength, adapters.back().merged, opened.notes);
  }
  if (adapters.empty()) return absl::OkStatus();
  Metadata metadata = opened.source->metadata();
  if (base_is_gguf) NameAfterAdapters(AdapterNames(options), base_id, metadata);
  SMELT_ASSIGN_OR_RETURN(
      opened.source,
      MakeAdaptedSource(std::move(opened.source), std::move(adapters), std::move(metadata)));
  return absl::OkStatus();
}

}  // namespace smelt
