// What the fuzz targets of tokenizers share: an accepted tokenizer must be usable.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/text/components/decoder.h"
#include "lib/text/gguf/self_check.h"
#include "lib/text/gguf/spec_writer.h"
#include "lib/text/gguf/vocabulary_writer.h"
#include "lib/text/pipeline.h"
#include "lib/text/published/published_tokenizer.h"
#include "lib/text/tokenizer.h"
#include "tests/fuzz/fuzz.h"

namespace smelt::fuzz {

/// A file and the text to encode with it: after the last zero byte, which neither has.
struct FileAndText {
  std::string_view file;
  std::string text;  ///< valid UTF-8
};
inline FileAndText SplitInput(std::string_view all) {
  const size_t end = all.rfind('\0');
  if (end == std::string_view::npos) return {all, RepairUtf8(all.substr(0, 200))};
  return {all.substr(0, end), RepairUtf8(all.substr(end + 1))};
}

/// Base64 of up to three bytes.
inline std::string Base64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  uint32_t value = 0;
  for (size_t i = 0; i < 3; ++i)
    value = value << 8 | (i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0u);
  std::string out;
  for (size_t i = 0; i < 4; ++i)
    out.push_back(i <= bytes.size() ? kDigits[value >> (18 - 6 * i) & 63] : '=');
  return out;
}

/// The value, or nullptr after a look at the message.
template <typename T>
std::unique_ptr<T> ValueOrNull(absl::StatusOr<std::unique_ptr<T>> value) {
  if (value.ok()) return *std::move(value);
  RequireGoodMessage(value.status());
  return nullptr;
}

/// Encodes, decodes, writes; the written vocabulary is read. Whatever fails must say why. `pre`:
/// finding the name of an expression takes seconds in an instrumented program.
inline void UseSpec(absl::StatusOr<PipelineSpec> spec, std::string_view text, const char* pre) {
  if (!spec.ok()) {
    RequireGoodMessage(spec.status());
    return;
  }
  const auto made = ValueOrNull(Pipeline::Make(*std::move(spec), "input"));
  if (made == nullptr) return;
  const Pipeline& pipeline = *made;
  std::vector<int32_t> ids;
  if (const absl::Status status = pipeline.EncodeText(text, true, ids); !status.ok()) {
    RequireGoodMessage(status);
    return;
  }
  for (const int32_t id : ids)
    Require(id >= 0 && static_cast<size_t>(id) < pipeline.size(), "an id is in the vocabulary");
  pipeline.Decode(ids, true);
  Metadata metadata, after;
  SpecWriteOptions options;
  options.pre = pre;
  if (const absl::Status written = WriteSpec(pipeline, options, metadata, after).status();
      !written.ok()) {
    RequireGoodMessage(written);
    return;
  }
  for (const Metadata::Entry& entry : after.entries()) metadata.Set(entry.key, entry.value);
  ValueOrNull(GgufTokenizer(metadata));
}

/// The vocabulary that conversion writes from a tokenizer, or nullptr when it refuses.
inline std::unique_ptr<Tokenizer> Convert(const PublishedTokenizer& published,
                                          const VocabularyOptions& options = {}) {
  Metadata metadata;
  std::vector<std::string> notes;
  if (const absl::Status status = WriteVocabulary(published, options, metadata, notes);
      !status.ok()) {
    RequireGoodMessage(status);
    return nullptr;
  }
  if (const absl::Status status = CheckVocabulary(published, metadata); !status.ok()) {
    RequireGoodMessage(status);
    return nullptr;
  }
  return ValueOrNull(GgufTokenizer(metadata));
}

}  // namespace smelt::fuzz
