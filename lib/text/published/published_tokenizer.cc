#include "lib/text/published/published_tokenizer.h"

#include <algorithm>

#include "lib/base/status.h"

namespace smelt {

absl::StatusOr<std::unique_ptr<PublishedTokenizer>> PublishedTokenizer::Make(
    std::unique_ptr<Pipeline> pipeline, TokenizerFolder folder) {
  std::unique_ptr<PublishedTokenizer> tokenizer(
      new PublishedTokenizer(std::move(pipeline), std::move(folder)));
  SMELT_RETURN_IF_ERROR(tokenizer->Resolve());
  return tokenizer;
}

// The beginning and end tokens of the post-processor, corrected by what tokenizer_config.json says.
absl::Status PublishedTokenizer::Resolve() {
  special_ = ReadSpecialTokens(folder_, pipeline_->spec().post_processors);
  SMELT_RETURN_IF_ERROR(CheckBoundaryRows(folder_, special_));
  if (const std::string text = special_.Text("bos"); !text.empty()) bos_ = pipeline_->Find(text);
  if (const std::string text = special_.Text("eos"); !text.empty()) eos_ = pipeline_->Find(text);
  for (const bool first : {true, false}) {
    const JsonValue* flag = folder_.config.FindNonNull(first ? "add_bos_token" : "add_eos_token");
    const int32_t id = first ? bos_ : eos_;
    if (flag == nullptr || !flag->is_bool() || id < 0) continue;
    std::vector<int32_t>& ids = first ? pipeline_->prefix : pipeline_->suffix;
    const bool there = !ids.empty() && (first ? ids.front() : ids.back()) == id;
    const bool wanted = *flag->as_bool();
    if (wanted && !there) ids.insert(first ? ids.begin() : ids.end(), id);
    if (!wanted && there) ids.erase(first ? ids.begin() : ids.end() - 1);
  }
  if (bos_ < 0 && !pipeline_->prefix.empty()) bos_ = pipeline_->prefix.front();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> PublishedTokenizer::Encode(
    std::string_view text, const EncodeOptions& options) const {
  return pipeline_->Encode(text, options);
}

std::string PublishedTokenizer::Decode(const std::vector<int32_t>& ids,
                                       const DecodeOptions& options) const {
  return pipeline_->Decode(ids, options.show_special);
}

bool PublishedTokenizer::ends_generation(int32_t id) const {
  const bool harmony = std::ranges::all_of(
      kHarmonyEnds, [&](std::string_view end) { return pipeline_->Find(end) >= 0; });
  return (id >= 0 && id == eos_) || LooksLikeEnd(pipeline_->Piece(id), harmony);
}

bool PublishedTokenizer::IsRowless(std::string_view text) const {
  return std::ranges::find(folder_.rowless, text, &AddedToken::content) != folder_.rowless.end();
}

std::string PublishedTokenizer::RowlessPiece(int64_t id) const {
  const auto found = std::ranges::find(folder_.rowless, id, &AddedToken::id);
  return found == folder_.rowless.end() ? std::string() : found->content;
}

}  // namespace smelt
