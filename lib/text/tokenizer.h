// Text to ids and back.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/metadata.h"

namespace smelt {

struct EncodeOptions {
  bool add_special = true;    ///< beginning and end tokens, as the model asks
  bool add_end = true;        ///< with add_special; text that is to go on has no end
  bool parse_special = true;  ///< texts of special tokens become those tokens
};

struct DecodeOptions {
  bool show_special = true;
};

/// A spec with its engine (pipeline.h): of published files, or of a GGUF's keys. Thread-safe after
/// construction.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                                      const EncodeOptions& options) const = 0;
  virtual std::string Decode(const std::vector<int32_t>& ids,
                             const DecodeOptions& options) const = 0;
  /// Decode, but byte for byte where a vocabulary has bytes: nothing is repaired where the ids
  /// begin or end inside a character.
  virtual std::string Bytes(const std::vector<int32_t>& ids) const { return Decode(ids, {}); }
  virtual size_t size() const = 0;                  ///< number of ids
  virtual std::string Piece(int32_t id) const = 0;  ///< the vocabulary's own text of an id

  // Facts that evaluation and generation need.
  virtual bool adds_bos() const = 0;
  virtual int32_t bos() const = 0;                     ///< -1 when there is none
  virtual bool ends_generation(int32_t id) const = 0;  ///< eos, eot, eom, and what looks like them
};

/// Bytes of generated tokens turned into text that never ends inside a UTF-8 character.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, DecodeOptions options = {});
  std::string Push(int32_t id);  ///< text that is complete now
  std::string Finish();          ///< the rest; broken bytes become U+FFFD

 private:
  std::string Rest(const std::string& text, size_t end) const;
  void Shorten(const std::string& text);

  const Tokenizer& tokenizer_;
  DecodeOptions options_;
  std::vector<int32_t> ids_;
  size_t emitted_ = 0;  ///< bytes of the decoded ids_ that were handed out
  int held_ = 0;        ///< ids pushed since text was last complete
};

/// Texts of tokens at which generation ends, whatever files say. `harmony`: the vocabulary has both
/// of kHarmonyEnds, and "<|end|>" ends only a message of several, which one answer consists of.
bool LooksLikeEnd(std::string_view text, bool harmony = false);
inline constexpr std::string_view kHarmonyEnds[] = {"<|return|>", "<|call|>"};

/// From `tokenizer.ggml.*`. kUnsupported names models and pre-tokenizers that we do not know.
absl::StatusOr<std::unique_ptr<Tokenizer>> GgufTokenizer(const Metadata& metadata);

}  // namespace smelt
