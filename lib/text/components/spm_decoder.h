// SentencePiece's way from ids to text.
#pragma once

#include <string>
#include <string_view>

#include "lib/text/components/charsmap.h"

namespace smelt {

struct SpmDecoding {
  bool strips_blank =
      true;                ///< the first U+2581 goes: add_dummy_prefix or remove_extra_whitespaces
  bool strips_all = true;  ///< all at the beginning go: remove_extra_whitespaces
  std::string unknown = " \xe2\x81\x87 ";  ///< unk_surface
  Charsmap rules;                          ///< of the denormalizer
};

/// The text of ids that are added one by one.
class SpmText {
 public:
  /// `raw`: bytes that belong to no character are kept as they are.
  explicit SpmText(const SpmDecoding& how, bool raw = false) : how_(how), raw_(raw) {}
  void Byte(char byte) { bytes_.push_back(byte); }
  void Unknown();
  void Piece(std::string_view text);
  /// What the library does not show: control pieces, tokens of other files. No part of the text as
  /// far as its beginning is concerned.
  void Beside(std::string_view text);
  std::string Finish() &&;

 private:
  void FlushBytes();

  const SpmDecoding& how_;
  const bool raw_;
  std::string text_, bytes_;
  bool started_ = false;  ///< no U+2581 goes any more
};

}  // namespace smelt
