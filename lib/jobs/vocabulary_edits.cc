#include "lib/jobs/vocabulary_edits.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <set>

#include "lib/base/own_key_table.h"
#include "lib/base/status.h"
#include "lib/jobs/metadata_edit.h"
#include "lib/text/chat/chat_template.h"
#include "lib/text/gguf/vocabulary_difference.h"
#include "lib/text/tokenizer.h"

namespace smelt {
namespace {

bool OfTokenizer(std::string_view key) {
  return key.starts_with("tokenizer.") || key.starts_with(kOwnTokenizerPrefix);
}

Metadata TokenizerKeys(const Metadata& all) {
  Metadata out;
  for (const Metadata::Entry& entry : all.entries()) {
    if (OfTokenizer(entry.key)) out.Set(entry.key, entry.value);
  }
  return out;
}

MetadataEdits EditsOfTokenizer(const MetadataEdits& edits) {
  MetadataEdits out;
  for (const auto& edit : edits) {
    if (OfTokenizer(edit.first)) out.push_back(edit);
  }
  return out;
}

bool SaysTheSize(std::string_view key) { return key.ends_with(".vocab_size"); }

/// Ids that the edits set are ids of the vocabulary, and the size that they set is its own.
/// `after`: the tokenizer's keys as edited.
absl::Status CheckIdsAndSize(const Metadata& source, const MetadataEdits& edits,
                             const Metadata& after) {
  const MetadataValue* list = after.Find("tokenizer.ggml.tokens");
  if (list == nullptr || !list->is_array()) return absl::OkStatus();
  const uint64_t tokens = list->size();
  for (const auto& edit : edits) {
    const std::string& key = edit.first;
    if (!edit.second || (!NamesAnId(key) && !SaysTheSize(key))) continue;
    Metadata one;
    if (const MetadataValue* old = source.Find(key)) one.Set(key, *old);
    SMELT_RETURN_IF_ERROR(EditMetadata({edit}, one));
    const std::optional<uint64_t> value = one.Find(key)->AsUint();
    const bool good = value && (NamesAnId(key) ? *value < tokens : *value == tokens);
    if (good) continue;
    return Error(ErrorCode::kInvalidInput, Escape(key, 60), " is ", Escape(*edit.second, 40),
                 ", but there are ", tokens, " tokens");
  }
  return absl::OkStatus();
}

/// Templates that the edits set are templates.
void WarnOfTemplates(const MetadataEdits& edits, const Observer& observer) {
  constexpr std::string_view kTemplate = "tokenizer.chat_template";
  for (const auto& [key, text] : edits) {
    if (!text || (key != kTemplate && !key.starts_with(Cat(kTemplate, ".")))) continue;
    std::string_view content = *text;
    for (std::string_view type : {"string:", "str:"}) {
      if (content.starts_with(type)) content.remove_prefix(type.size());
    }
    const auto parsed = ChatTemplate::Parse(content, Escape(key, 60));
    if (!parsed.ok())
      observer.Warn(
          Cat(std::string(parsed.status().message()), "; conversations cannot be made with it"));
  }
}

/// A key of the tokenizer that `written` lacks, has in addition, or has with another value than
/// `edited` or else, unless it was `removed`, `source` gives; empty when there is none.
std::string WrongKey(const Metadata& source, const Metadata& edited,
                     const std::set<std::string>& removed, const Metadata& written) {
  for (const Metadata::Entry& entry : written.entries()) {
    if (!OfTokenizer(entry.key)) continue;
    const MetadataValue* value = edited.Find(entry.key);
    if (value == nullptr && !removed.contains(entry.key)) value = source.Find(entry.key);
    if (value == nullptr || !(*value == entry.value)) return entry.key;
  }
  for (const Metadata* side : {&source, &edited}) {
    for (const Metadata::Entry& entry : side->entries()) {
      if (OfTokenizer(entry.key) && !removed.contains(entry.key) && !written.Has(entry.key))
        return entry.key;
    }
  }
  return "";
}

/// The first thing that the edits change, by keys or else by what texts become.
absl::StatusOr<std::optional<VocabularyDifference>> Changed(const Metadata& before,
                                                            const Metadata& after) {
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> edited, GgufTokenizer(after));
  const absl::StatusOr<std::unique_ptr<Tokenizer>> original = GgufTokenizer(before);
  if (!original.ok()) return std::nullopt;  // there was nothing to keep
  SMELT_ASSIGN_OR_RETURN(const std::optional<VocabularyDifference> found,
                         CompareVocabularies(after, before));
  if (found && found->ids) return found;
  SMELT_ASSIGN_OR_RETURN(const std::optional<VocabularyDifference> probe,
                         CompareOnProbes(*edited, **original));
  return probe ? probe : found;
}

}  // namespace

absl::Status CheckVocabularyEdits(const Metadata& source, const MetadataEdits& edits,
                                  bool must_work, const Observer& observer) {
  const MetadataEdits ours = EditsOfTokenizer(edits);
  const bool sized =
      std::ranges::any_of(edits, [](const auto& edit) { return SaysTheSize(edit.first); });
  if (ours.empty() && !sized) return absl::OkStatus();
  const Metadata before = TokenizerKeys(source);
  Metadata after = before;
  SMELT_RETURN_IF_ERROR(EditMetadata(ours, after));
  WarnOfTemplates(ours, observer);
  absl::StatusOr<std::optional<VocabularyDifference>> found = std::optional<VocabularyDifference>();
  if (const absl::Status sane = CheckIdsAndSize(source, edits, after); !sane.ok()) {
    found = sane;
  } else if (!ours.empty()) {
    found = Changed(before, after);
  }
  if (!found.ok()) {
    const std::string sentence = Cat("the vocabulary that the edits give cannot be used: ",
                                     std::string(found.status().message()));
    if (must_work) return Error(ErrorCode::kInvalidInput, sentence);
    observer.Warn(sentence);
  } else if (*found) {
    observer.Warn(
        Cat("the edits change the vocabulary: ", Sentence(**found, "the result", "the source"),
            (*found)->ids ? "; texts get other ids than the model was trained on, unless "
                            "this mends a wrong vocabulary"
                          : "; generated text ends differently"));
  }
  return absl::OkStatus();
}

absl::Status CheckWrittenVocabulary(const Metadata& source, const MetadataEdits& edits,
                                    const Metadata& written) {
  const MetadataEdits ours = EditsOfTokenizer(edits);
  Metadata edited;  // only the keys that change: the lists of tokens are large
  for (const auto& [key, value] : ours) {
    if (const MetadataValue* old = source.Find(key); old != nullptr) edited.Set(key, *old);
  }
  SMELT_RETURN_IF_ERROR(EditMetadata(ours, edited));
  std::set<std::string> removed;
  for (const MetadataEdit& edit : ours) {
    if (!edited.Has(edit.first)) removed.insert(edit.first);
  }
  const std::string wrong = WrongKey(source, edited, removed, written);
  if (wrong.empty()) return absl::OkStatus();
  std::string what = Escape(wrong);
  if (ours.empty()) {  // say what it means, where that can be said
    const auto difference = CompareVocabularies(written, source);
    if (difference.ok() && *difference) what = Sentence(**difference, "the result", "the source");
  }
  return Error(ErrorCode::kGateMissed,
               "the vocabulary does not read back as it was to be written: ", what);
}

}  // namespace smelt
