// A published tokenizer (tokenizer.json, tokenizer.model, ... of a folder).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/text/pipeline.h"
#include "lib/text/published/tokenizer_folder.h"
#include "lib/text/tokenizer.h"

namespace smelt {

class PublishedTokenizer : public Tokenizer {
 public:
  /// The tokens around a text are the pipeline's, corrected by what the folder says.
  static absl::StatusOr<std::unique_ptr<PublishedTokenizer>> Make(
      std::unique_ptr<Pipeline> pipeline, TokenizerFolder folder);

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              const EncodeOptions& options) const override;
  std::string Decode(const std::vector<int32_t>& ids, const DecodeOptions& options) const override;
  size_t size() const override { return pipeline_->size(); }
  std::string Piece(int32_t id) const override { return pipeline_->Piece(id); }
  bool adds_bos() const override {
    return bos_ >= 0 && !pipeline_->prefix.empty() && pipeline_->prefix.front() == bos_;
  }
  int32_t bos() const override { return bos_; }
  bool ends_generation(int32_t id) const override;

  const Pipeline& pipeline() const { return *pipeline_; }
  const TokenizerFolder& folder() const { return folder_; }
  const SpecialTokens& special() const { return special_; }
  /// Added tokens that are left out because the embedding has no row for them.
  bool IsRowless(std::string_view text) const;
  std::string RowlessPiece(int64_t id) const;  ///< empty when the id is none of those

 private:
  PublishedTokenizer(std::unique_ptr<Pipeline> pipeline, TokenizerFolder folder)
      : pipeline_(std::move(pipeline)), folder_(std::move(folder)) {}
  absl::Status Resolve();

  std::unique_ptr<Pipeline> pipeline_;
  TokenizerFolder folder_;
  SpecialTokens special_;
  int32_t bos_ = -1, eos_ = -1;
};

/// Whether a folder has a file that OpenPublishedTokenizer would read.
bool HasTokenizerFiles(const std::string& folder);

/// Reads the tokenizer files of a folder, or one tokenizer file. kNotFound when the folder has
/// none. `rows` of the model's embedding, where they are known: special tokens that only a
/// configuration names and that would lie beyond them are left out.
absl::StatusOr<std::unique_ptr<PublishedTokenizer>> OpenPublishedTokenizer(const std::string& path,
                                                                           uint64_t rows = 0);

}  // namespace smelt
