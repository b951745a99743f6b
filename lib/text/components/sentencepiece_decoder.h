// SentencePiece's way from ids to text.
#pragma once

#include <string>
#include <string_view>

#include "lib/text/components/charsmap.h"
#include "lib/text/spec/pipeline_spec.h"

namespace smelt {

/// The text of ids that are added one by one.
class SentencePieceText {
 public:
  /// `charsmap`: that of `how`. `raw`: bytes that belong to no character are kept as they are.
  SentencePieceText(const SentencePieceDecoder& how, const Charsmap& charsmap, bool raw = false)
      : how_(how), charsmap_(charsmap), raw_(raw) {}
  void Byte(char byte) { bytes_.push_back(byte); }
  void Unknown();
  void Piece(std::string_view text);
  /// What the library does not show: control pieces, tokens of other files. No part of the text as
  /// far as its beginning is concerned.
  void Beside(std::string_view text);
  std::string Finish() &&;

 private:
  void FlushBytes();

  const SentencePieceDecoder& how_;
  const Charsmap& charsmap_;
  const bool raw_;
  std::string text_, bytes_;
  bool started_ = false;  ///< no U+2581 goes any more
};

}  // namespace smelt
