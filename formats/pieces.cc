#include "formats/pieces.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "formats/weight_index.h"
#include "lib/base/atomic_file.h"
#include "lib/base/folder.h"
#include "lib/base/status.h"
#include "lib/base/unfinished.h"
#include "smelt/text.h"

namespace smelt {
namespace {

constexpr std::string_view kEndings[] = {".gguf", ".safetensors", ".bin", ".pth",
                                         ".pt",   ".ckpt",        ".zip"};
constexpr std::string_view kWords[] = {"split", "part", "piece", "chunk", "segment", "seg"};
constexpr std::string_view kSeparators = "-._";
constexpr size_t kMostDigits = 5;
constexpr size_t kLongestCommand = 190;  // bytes of a sentence that may have 400

bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

std::string LowerCase(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return lower;
}

/// A piece's name taken apart: the whole's, what all pieces of it share behind that, and its place.
struct Piece {
  std::string whole, form;
  uint64_t number = 0;  ///< letters count from 0, as `split` does
  uint64_t total = 0;   ///< where the name says it
  bool said = false;    ///< a word ("part") says that it is a piece
  bool apart = false;   ///< and is apart from the place
};

/// "ab" as a number of 26 digits.
std::optional<uint64_t> LettersAsNumber(std::string_view text) {
  if (text.empty() || text.size() > 3 || !std::ranges::all_of(text, IsLower)) return std::nullopt;
  uint64_t number = 0;
  for (const char c : text) number = number * 26 + static_cast<uint64_t>(c - 'a');
  return number;
}

std::optional<uint64_t> Digits(std::string_view text) {
  if (text.empty() || text.size() > kMostDigits || !std::ranges::all_of(text, IsDigit))
    return std::nullopt;
  uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

/// "2of3", "2-of-3", "02", "ab": the place of a piece. `form` receives what its neighbours share.
bool ReadPlace(std::string_view text, Piece& piece) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  if (digits == 0) {
    const auto number = LettersAsNumber(text);
    if (!number || (text.size() != 2 && !piece.apart)) return false;
    piece.number = *number;
    piece.form += Cat("letters", text.size());
    return true;
  }
  const auto number = Digits(text.substr(0, digits));
  if (!number) return false;
  piece.number = *number;
  std::string_view rest = text.substr(digits);
  if (rest.empty()) {
    piece.form += "digits";
    // model.gguf.1 is the name of a second download; pieces without a word are counted 001, 002.
    return piece.said || digits >= 2;
  }
  while (!rest.empty() && kSeparators.find(rest[0]) != kSeparators.npos) rest.remove_prefix(1);
  if (!rest.starts_with("of")) return false;
  rest.remove_prefix(2);
  while (!rest.empty() && kSeparators.find(rest[0]) != kSeparators.npos) rest.remove_prefix(1);
  const auto total = Digits(rest);
  if (!total || *total < *number) return false;
  piece.total = *total;
  piece.said = true;
  piece.form += Cat("of", *total);
  return true;
}

std::optional<Piece> ReadPiece(std::string_view name) {
  if (!NameWhenFinished(std::string(name)).empty()) return std::nullopt;
  const std::string lower = LowerCase(name);
  size_t end = 0;  // of the whole's name
  for (std::string_view ending : kEndings) {
    const size_t at = lower.rfind(ending);
    if (at == lower.npos || at == 0) continue;
    const size_t behind = at + ending.size();
    if (behind < lower.size() && kSeparators.find(lower[behind]) != kSeparators.npos)
      end = std::max(end, behind);
  }
  if (end == 0) return std::nullopt;
  Piece piece{std::string(name.substr(0, end)), lower.substr(end, 1)};
  std::string_view rest = std::string_view(lower).substr(end + 1);
  for (std::string_view word : kWords) {
    if (!rest.starts_with(word)) continue;
    piece.said = true;
    piece.form += word;
    rest.remove_prefix(word.size());
    if (!rest.empty() && kSeparators.find(rest[0]) != kSeparators.npos) {
      piece.form += rest[0];
      piece.apart = true;
      rest.remove_prefix(1);
    }
    break;
  }
  if (!ReadPlace(rest, piece)) return std::nullopt;
  return piece;
}

/// The command that joins pieces in a folder. A pattern stands for many where a shell's order is
/// theirs; empty where no command is short enough.
std::string JoiningCommand(const std::string& folder, const Pieces& pieces) {
  const std::string to = Cat(" > ", ShellQuoted(pieces.whole));
  const std::string enter = folder == "." ? "" : Cat("cd ", ShellQuoted(folder), " && ");
  std::string all = Cat(enter, "cat");
  for (const std::string& file : pieces.files) all += Cat(" ", ShellQuoted(file));
  all += to;
  if (all.size() <= kLongestCommand) return all;
  size_t common = pieces.files[0].size();
  for (const std::string& file : pieces.files) {
    const auto differs = std::ranges::mismatch(file, pieces.files[0]).in1;
    common = std::min(common, static_cast<size_t>(differs - file.begin()));
  }
  const std::string pattern =
      Cat(enter, "cat ", ShellQuoted(pieces.files[0].substr(0, common)), "*", to);
  return std::ranges::is_sorted(pieces.files) && pattern.size() <= kLongestCommand ? pattern : "";
}

absl::Status Refuse(const std::string& folder, const Pieces& pieces) {
  const std::string command = JoiningCommand(folder, pieces);
  const bool alone = pieces.files.size() == 1;
  return Error(
      ErrorCode::kInvalidInput, Escape(pieces.files[0], 60),
      alone ? " is a piece" : Cat(" to ", Escape(pieces.files.back(), 50), " are pieces"),
      " of one file cut by bytes: ",
      alone || pieces.gaps ? "download those that are missing, then join them all" : "join them",
      alone             ? ""
      : command.empty() ? Cat(" in this order with cat into ", Escape(pieces.whole, 60))
                        : Cat(" with `", command, "`"));
}

std::vector<std::string> FilesOf(const std::string& folder) {
  const auto names = ListFolder(folder);
  return names.ok() ? *names : std::vector<std::string>();
}

}  // namespace

Pieces PiecesWith(std::string_view name, const std::vector<std::string>& names) {
  const std::optional<Piece> one = ReadPiece(name);
  if (!one) return {};
  std::vector<std::pair<uint64_t, std::string>> found;
  for (const std::string& other : names) {
    const std::optional<Piece> piece = ReadPiece(other);
    if (piece && piece->whole == one->whole && piece->form == one->form)
      found.emplace_back(piece->number, other);
  }
  std::ranges::sort(found);
  // Without a word, two neighbours from the first on are needed to tell.
  if (found.empty() || (!one->said && (found.size() < 2 || found[0].first > 1))) return {};
  Pieces pieces{one->whole, {}, false};
  for (size_t i = 0; i < found.size(); ++i) {
    pieces.gaps |= found[i].first != found[0].first + i;
    pieces.files.push_back(std::move(found[i].second));
  }
  pieces.gaps |= found[0].first > 1 || (one->total != 0 && found.size() < one->total);
  return pieces;
}

absl::Status RefusePiece(const std::string& path) {
  const std::string folder = DirectoryOf(path);
  const std::string name = path.substr(path.find_last_of('/') + 1);
  if (!ReadPiece(name) && NameExists(path)) return absl::OkStatus();
  const std::vector<std::string> names = FilesOf(folder);
  if (const Pieces pieces = PiecesWith(name, names); !pieces.empty()) return Refuse(folder, pieces);
  if (name.empty() || NameExists(path)) return absl::OkStatus();
  for (const std::string& other : names) {
    if (!other.starts_with(name)) continue;
    const Pieces pieces = PiecesWith(other, names);
    if (!pieces.empty() && pieces.whole == name) return Refuse(folder, pieces);
  }
  return absl::OkStatus();
}

absl::Status RefusePiecesIn(const std::string& folder) {
  const std::vector<std::string> names = FilesOf(folder);
  for (const std::string& name : names) {
    if (const Pieces pieces = PiecesWith(name, names); !pieces.empty())
      return Refuse(folder, pieces);
  }
  return absl::OkStatus();
}

}  // namespace smelt
