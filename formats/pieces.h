// One file that was cut into pieces by bytes, because a hub takes no larger ones: X.gguf-split-a,
// X.gguf.part1of2, X.gguf.part-aa, X.gguf.001. No piece is a file of its own format; joined they
// are X.gguf. (Files that gguf-split or a shard index knows are something else: each is whole.)
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace smelt {

/// Pieces of one file among a folder's names.
struct Pieces {
  std::string whole;               ///< the name of the file that was cut
  std::vector<std::string> files;  ///< in their order
  bool gaps = false;               ///< some are missing, by their numbers

  bool empty() const { return files.empty(); }
};

/// The pieces to which `name`, one of `names`, belongs; none when it is no piece.
Pieces PiecesWith(std::string_view name, const std::vector<std::string>& names);

/// kInvalidInput with the command that joins them, when `path` is a piece, or the whole whose
/// pieces lie in its folder.
absl::Status RefusePiece(const std::string& path);

/// The same when a folder holds pieces.
absl::Status RefusePiecesIn(const std::string& folder);

}  // namespace smelt
