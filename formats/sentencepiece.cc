#include "formats/sentencepiece.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "lib/base/stand_in.h"
#include "lib/base/status.h"
#include "lib/base/text_hash.h"
#include "lib/base/utf8.h"

namespace smelt {
namespace {

// One field of a protocol buffer message (https://protobuf.dev/programming-guides/encoding/).
struct Field {
  uint64_t number = 0;
  int wire = 0;            // 0 varint, 1 fixed 64, 2 bytes, 5 fixed 32
  uint64_t value = 0;      // of wire types 0, 1, 5
  std::string_view bytes;  // of wire type 2
};

class Reader {
 public:
  Reader(std::string_view bytes, std::string_view name) : rest_(bytes), name_(name) {}
  bool done() const { return rest_.empty(); }

  absl::StatusOr<Field> Next() {
    Field field;
    SMELT_ASSIGN_OR_RETURN(const uint64_t key, Varint());
    field.number = key >> 3;
    field.wire = static_cast<int>(key & 7);
    if (field.number == 0) return Bad("a field with the number 0");
    switch (field.wire) {
      case 0: {
        SMELT_ASSIGN_OR_RETURN(field.value, Varint());
        return field;
      }
      case 1:
        return Fixed(field, 8);
      case 5:
        return Fixed(field, 4);
      case 2: {
        SMELT_ASSIGN_OR_RETURN(const uint64_t size, Varint());
        if (size > rest_.size())
          return Bad(Cat("a field of ", size, " bytes where ", rest_.size(), " are left"));
        field.bytes = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return field;
      }
      default:
        return Bad(Cat("a field of wire type ", field.wire));
    }
  }

 private:
  absl::Status Bad(std::string_view what) const {
    return Error(ErrorCode::kInvalidInput, name_, " is no SentencePiece model (protobuf): it has ",
                 what);
  }
  absl::StatusOr<uint64_t> Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) return Bad("a number cut off at its end");
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) return value;
    }
    return Bad("a number of more than 64 bits");
  }
  absl::StatusOr<Field> Fixed(Field field, size_t size) {
    if (rest_.size() < size) return Bad("a number cut off at its end");
    std::memcpy(&field.value, rest_.data(), size);
    rest_.remove_prefix(size);
    return field;
  }

  std::string_view rest_;
  std::string_view name_;
};

absl::StatusOr<SentencePiece> ParsePiece(std::string_view bytes, size_t id, std::string_view name) {
  SentencePiece piece;
  uint64_t type = 1;
  for (Reader reader(bytes, name); !reader.done();) {
    SMELT_ASSIGN_OR_RETURN(const Field field, reader.Next());
    if (field.number == 1 && field.wire == 2) piece.text = field.bytes;
    if (field.number == 2 && field.wire == 5)
      piece.score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
    if (field.number == 3 && field.wire == 0) type = field.value;
  }
  const auto bad = [&](std::string_view what) {
    return Error(ErrorCode::kInvalidInput, name, ": piece ", id, " (\"", Escape(piece.text, 40),
                 "\") ", what);
  };
  if (piece.text.empty()) return Error(ErrorCode::kInvalidInput, name, ": piece ", id, " is empty");
  if (!IsValidUtf8(piece.text)) return bad("is not valid UTF-8");
  if (!std::isfinite(piece.score)) return bad("has a score that is not finite");
  if (type < 1 || type > 6) return bad(Cat("has the type ", type, ", which does not exist"));
  piece.type = static_cast<PieceType>(type);
  return piece;
}

absl::Status ParseTrainerSpec(std::string_view bytes, std::string_view name,
                              SentencePieceModel& model) {
  for (Reader reader(bytes, name); !reader.done();) {
    SMELT_ASSIGN_OR_RETURN(const Field field, reader.Next());
    if (field.number == 3 && field.wire == 0) {
      if (field.value < 1 || field.value > 4)
        return Error(ErrorCode::kInvalidInput, name, ": model_type ", field.value,
                     " does not exist");
      model.type = static_cast<SentencePieceModel::Type>(field.value);
    }
    if (field.number == 24 && field.wire == 0) model.whitespace_as_suffix = field.value != 0;
    if (field.number == 35 && field.wire == 0) model.byte_fallback = field.value != 0;
    if (field.number == 44 && field.wire == 2) model.unk_surface = field.bytes;
    if (field.number == 46 && field.wire == 2) model.bos_piece = field.bytes;
    if (field.number == 47 && field.wire == 2) model.eos_piece = field.bytes;
  }
  return absl::OkStatus();
}

absl::Status ParseNormalizerSpec(std::string_view bytes, std::string_view name,
                                 SentencePieceRules& rules) {
  for (Reader reader(bytes, name); !reader.done();) {
    SMELT_ASSIGN_OR_RETURN(const Field field, reader.Next());
    if (field.number == 2 && field.wire == 2) rules.charsmap = field.bytes;
    if (field.number == 3 && field.wire == 0) rules.add_dummy_prefix = field.value != 0;
    if (field.number == 4 && field.wire == 0) rules.remove_extra_whitespaces = field.value != 0;
    if (field.number == 5 && field.wire == 0) rules.escape_whitespaces = field.value != 0;
  }
  return absl::OkStatus();
}

absl::Status Check(const SentencePieceModel& model, std::string_view name) {
  if (model.pieces.empty())
    return Error(ErrorCode::kInvalidInput, name, " is a SentencePiece model without pieces");
  TextMap<std::string_view, size_t> ids;
  std::optional<size_t> unknown;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const SentencePiece& piece = model.pieces[id];
    const auto [entry, fresh] = ids.try_emplace(piece.text, id);
    if (!fresh) {
      return Error(ErrorCode::kInvalidInput, name, ": duplicate piece \"", Escape(piece.text, 40),
                   "\" (ids ", entry->second, " and ", id, ")");
    }
    if (piece.type != PieceType::kUnknown) continue;
    if (unknown)
      return Error(ErrorCode::kInvalidInput, name, ": pieces ", *unknown, " and ", id,
                   " are both of type UNKNOWN (unk)");
    unknown = id;
  }
  if (!unknown) return Error(ErrorCode::kInvalidInput, name, ": no piece is of type UNKNOWN (unk)");
  if (!model.byte_fallback) return absl::OkStatus();
  for (int b = 0; b < 256; ++b) {
    const std::string text = BytePiece(static_cast<uint8_t>(b));
    const auto entry = ids.find(text);
    if (entry == ids.end() || model.pieces[entry->second].type != PieceType::kByte) {
      return Error(ErrorCode::kInvalidInput, name,
                   ": the model falls back to bytes, but has no byte piece ", text);
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::string BytePiece(uint8_t byte) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  return {'<', '0', 'x', kHex[byte >> 4], kHex[byte & 15], '>'};
}

int ByteOfPiece(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  int value = 0;
  for (const char c : text.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

absl::StatusOr<SentencePieceModel> ParseSentencePiece(std::string_view bytes,
                                                      std::string_view name) {
  SMELT_RETURN_IF_ERROR(RefuseStandIn(name, bytes.substr(0, kStandInBytes)));
  if (bytes.empty())
    return Error(ErrorCode::kInvalidInput, name, " is empty, so no SentencePiece model");
  SentencePieceModel model;
  for (Reader reader(bytes, name); !reader.done();) {
    SMELT_ASSIGN_OR_RETURN(const Field field, reader.Next());
    if (field.wire != 2) continue;
    if (field.number == 1) {
      SMELT_ASSIGN_OR_RETURN(SentencePiece piece,
                             ParsePiece(field.bytes, model.pieces.size(), name));
      model.pieces.push_back(std::move(piece));
    }
    if (field.number == 2) SMELT_RETURN_IF_ERROR(ParseTrainerSpec(field.bytes, name, model));
    if (field.number == 3)
      SMELT_RETURN_IF_ERROR(ParseNormalizerSpec(field.bytes, name, model.normalizer));
    if (field.number == 5)
      SMELT_RETURN_IF_ERROR(ParseNormalizerSpec(field.bytes, name, model.denormalizer));
  }
  SMELT_RETURN_IF_ERROR(Check(model, name));
  return model;
}

}  // namespace smelt
