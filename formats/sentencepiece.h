// SentencePiece models (tokenizer.model, spiece.model): the protocol buffer `ModelProto` of
// sentencepiece_model.proto, as far as encoding and decoding need it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace smelt {

enum class PieceType : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

/// The text of a byte piece: "<0x0A>".
std::string BytePiece(uint8_t byte);
/// The byte of such a text, whose digits may be small letters too; -1 for other texts.
int ByteOfPiece(std::string_view text);

struct SentencePiece {
  std::string text;
  float score = 0;
  PieceType type = PieceType::kNormal;
};

/// `NormalizerSpec`, also that of the denormalizer.
struct SentencePieceRules {
  std::string charsmap;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
};

struct SentencePieceModel {
  enum class Type { kUnigram = 1, kBpe = 2, kWord = 3, kChar = 4 };
  Type type = Type::kUnigram;
  std::vector<SentencePiece> pieces;  ///< by id
  bool byte_fallback = false;
  bool whitespace_as_suffix = false;
  std::string unk_surface = " \xe2\x81\x87 ";
  std::string bos_piece = "<s>", eos_piece = "</s>";
  SentencePieceRules normalizer, denormalizer;  ///< before encoding, after decoding
};

/// Everything in it is checked: pieces unique, not empty, valid UTF-8, finite scores, known types,
/// one unknown piece, all 256 bytes where the model falls back to them. Unknown fields are skipped.
/// `name` is the file's name for messages.
absl::StatusOr<SentencePieceModel> ParseSentencePiece(std::string_view bytes,
                                                      std::string_view name);

}  // namespace smelt
