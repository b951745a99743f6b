// From the two kinds of published tokenizers to tokenizer.ggml.*.
#include "lib/text/gguf/core_writer.h"

#include <utility>

#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/text/components/byte_level.h"
#include "lib/text/gguf/pre_names.h"
#include "lib/text/gguf/token_types.h"
#include "lib/text/pipeline.h"
#include "lib/text/published/sentencepiece_core.h"

namespace smelt {

void Flatten(const JsonValue* json, std::string_view list_name,
             std::vector<const JsonValue*>& out) {
  if (json == nullptr || json->is_null()) return;
  const JsonValue* list =
      TextOf(*json, "type") == "Sequence" ? json->FindNonNull(list_name) : nullptr;
  if (list == nullptr) {
    out.push_back(json);
    return;
  }
  if (!list->is_array()) return;
  for (const JsonValue& item : *list->as_array()) Flatten(&item, list_name, out);
}

// llama.cpp's converter does not know user-defined pieces: it writes them as normal ones.
TokenType WrittenType(PieceType type) {
  return type == PieceType::kUserDefined ? TokenType::kNormal : static_cast<TokenType>(type);
}

absl::Status NoForm(std::string_view what) {
  return Error(ErrorCode::kUnsupported, "the tokenizer has no GGUF form: ", what,
               " (its pre-tokenizer and normalizer must be those of a known kind)");
}

void WriteNormalizers(const std::vector<JsonValue>& normalizers, Metadata& after) {
  if (normalizers.empty()) return;
  std::string text = normalizers.size() == 1 ? normalizers[0].ToText()
                                             : std::string(R"({"type":"Sequence","normalizers":[)");
  if (normalizers.size() > 1) {
    for (size_t i = 0; i < normalizers.size(); ++i)
      text += Cat(i > 0 ? "," : "", normalizers[i].ToText());
    text += "]}";
  }
  WriteOwn<std::string>(after, "smelt.tokenizer.normalizer", text);
}

void WriteUnknown(const JsonValue& bpe, Metadata& after) {
  if (TextOf(bpe, "unk_token").empty()) return;
  WriteOwn<std::string>(after, "smelt.tokenizer.unknown_token", TextOf(bpe, "unk_token"));
  if (FlagOf(bpe, "fuse_unk", false)) WriteOwn<bool>(after, "smelt.tokenizer.fuse_unknown", true);
}

size_t RowsOf(const CoreWriteOptions& options, size_t tokens) {
  return options.rows != 0 ? options.rows : tokens;
}

namespace {

std::string MergeText(std::string_view left, std::string_view right) {
  std::string out;
  for (const std::string_view part : {left, right}) {
    if (!out.empty()) out.push_back(' ');
    for (const char c : part) {
      if (c == ' ') {
        out += "\xc4\xa0";  // U+0120
      } else {
        out.push_back(c);
      }
    }
  }
  return out;
}

// Tokens beyond the embedding have no row.
absl::Status CheckRows(const CoreWriteOptions& options, const TokenTable& tokens,
                       const std::vector<AddedToken>& added) {
  const size_t rows = options.rows;
  if (rows == 0) return absl::OkStatus();
  if (tokens.size() > rows) {
    return Error(ErrorCode::kInvalidInput, "the vocabulary has ", tokens.size(),
                 " tokens, but the embedding has ", rows, " rows");
  }
  for (const AddedToken& token : added) {
    if (static_cast<size_t>(token.id) < rows) continue;
    return Error(ErrorCode::kInvalidInput, "the added token \"", Escape(token.content, 60),
                 "\" has id ", token.id, ", but the embedding has only ", rows,
                 " rows (vocab_size)");
  }
  return absl::OkStatus();
}

bool LacksBytes(const TokenTable& tokens) {
  for (int b = 0; b < 256; ++b) {
    const char c = static_cast<char>(b);
    std::string text;
    AppendByteLevel(text, std::string_view(&c, 1));
    if (tokens.Find(text) < 0) return true;
  }
  return false;
}

absl::Status WriteByteLevelBpe(const Pipeline& p, const CoreWriteOptions& options, Metadata& out,
                               Metadata& after) {
  const JsonValue& json = p.json();
  const JsonValue& m = *json.FindNonNull("model");
  for (const std::string_view key : {"end_of_word_suffix", "continuing_subword_prefix"}) {
    if (!TextOf(m, key).empty()) return NoForm(Cat("its BPE has a ", key));
  }
  const bool ignore_merges = FlagOf(m, "ignore_merges", false);
  std::vector<const JsonValue*> steps, normalizers;
  Flatten(json.Find("pre_tokenizer"), "pretokenizers", steps);
  Flatten(json.Find("normalizer"), "normalizers", normalizers);
  const bool maps_bytes = std::any_of(steps.begin(), steps.end(), [](const JsonValue* step) {
    return TextOf(*step, "type") == "ByteLevel";
  });
  if (!maps_bytes) return NoForm("its decoder is ByteLevel, but no step before its model is");
  absl::StatusOr<PreTokenizerMatch> match =
      NamePreTokenizer(*json.Find("pre_tokenizer"), ignore_merges);
  const bool insists = !options.pre.empty();
  if (insists && FindPreTokenizer(options.pre) == nullptr && !OnlyLlamaCppKnows(options.pre)) {
    return Error(ErrorCode::kUnsupported, "the pre-tokenizer name \"", Escape(options.pre, 60),
                 "\" is not known; known are ", KnownPreTokenizers());
  }
  if (!insists && !match.ok()) return match.status();
  const std::string name = insists ? options.pre : match->name;
  const bool fits = match.ok() && match->name == name;  // not only because somebody insists
  bool exact = !fits || match->exact;
  if (!insists) {
    // Some of the names stand for tokenizers with NFC, which few texts see. Others change much
    // more.
    const auto more = std::find_if(normalizers.begin(), normalizers.end(),
                                   [](const JsonValue* n) { return TextOf(*n, "type") != "NFC"; });
    if (more != normalizers.end()) {
      return Error(
          ErrorCode::kUnsupported,
          "the tokenizer has no GGUF form: no pre-tokenizer name stands for its normalizer ",
          Escape(TextOf(**more, "type"), 30), ", which llama.cpp would leave out; --pre ", name,
          " insists");
    }
  }
  bool prefix_space = false;
  for (const JsonValue* step : steps) {
    if (TextOf(*step, "type") == "ByteLevel" && FlagOf(*step, "add_prefix_space", true))
      prefix_space = true;
  }
  if (prefix_space) exact = false;
  out.Set("tokenizer.ggml.model", "gpt2");
  out.Set("tokenizer.ggml.pre", name);
  const size_t rows = RowsOf(options, p.size());
  VocabularyArrays arrays(rows);
  for (size_t id = 0; id < p.tokens().size(); ++id) {
    const auto i = static_cast<int32_t>(id);
    if (p.tokens().Has(i)) arrays.Set(i, std::string(p.tokens().Text(i)), TokenType::kNormal);
  }
  for (const AddedToken& token : p.added()) arrays.SetAdded(token, 0);
  if (p.writes_scores()) arrays.ZeroScores();
  std::move(arrays).Write(p.writes_scores(), out);
  std::vector<std::string> merges;
  merges.reserve(p.merges().size());
  for (size_t i = 0; i < p.merges().size(); ++i)
    merges.push_back(MergeText(p.merges().Left(i), p.merges().Right(i)));
  out.Set("tokenizer.ggml.merges", std::move(merges));
  std::vector<JsonValue> others;
  for (const JsonValue* n : normalizers) others.push_back(*n);
  WriteNormalizers(others, after);
  WriteAddedFlags(p.added(), AddedTo::kByteLevel, -1, after);
  const PreTokenizerName* known = FindPreTokenizer(name);
  if ((!exact && fits) || known == nullptr)
    WriteOwn<std::string>(after, "smelt.tokenizer.pre_tokenizer",
                          json.Find("pre_tokenizer")->ToText());
  if ((known != nullptr && known->ignore_merges) != ignore_merges)
    WriteOwn<bool>(after, "smelt.tokenizer.ignore_merges", ignore_merges);
  if (LacksBytes(p.tokens())) WriteUnknown(m, after);
  return absl::OkStatus();
}

}  // namespace

absl::Status Pipeline::WriteTokens(const CoreWriteOptions& options, Metadata& out,
                                   Metadata& after) const {
  SMELT_RETURN_IF_ERROR(CheckRows(options, tokens(), added_));
  switch (kind_) {
    case ModelKind::kWordLevel:
      return NoForm("its model is WordLevel");
    case ModelKind::kWordPiece:
      return WriteWordPiece(options, out, after);
    case ModelKind::kUnigram:
      return WriteUnigram(options, out, after);
    case ModelKind::kBpe:
      break;
  }
  return byte_level_ || UsesBytes() ? WriteByteLevelBpe(*this, options, out, after)
                                    : WriteBlankBpe(*this, options, out, after);
}

absl::Status SentencePieceCore::WriteTokens(const CoreWriteOptions& options, Metadata& out,
                                            Metadata& after) const {
  SMELT_RETURN_IF_ERROR(CheckRows(options, tokens_, declared_));
  const bool unigram = model_.type == SentencePieceModel::Type::kUnigram;
  const SentencePieceRules& rules = model_.normalizer;
  out.Set("tokenizer.ggml.model", unigram ? "t5" : "llama");
  out.Set("tokenizer.ggml.pre", "default");
  VocabularyArrays arrays(RowsOf(options, size_));
  for (size_t id = 0; id < model_.pieces.size(); ++id) {
    const SentencePiece& piece = model_.pieces[id];
    arrays.Set(static_cast<int32_t>(id), piece.text, WrittenType(piece.type), piece.score);
  }
  for (const AddedToken& token : declared_) arrays.SetAdded(token, kAddedScore);
  std::move(arrays).Write(true, out);
  if (unigram) {
    out.Set("tokenizer.ggml.add_space_prefix", rules.add_dummy_prefix);
    out.Set("tokenizer.ggml.remove_extra_whitespaces", rules.remove_extra_whitespaces);
    if (!rules.charsmap.empty())
      out.Set("tokenizer.ggml.precompiled_charsmap",
              std::vector<uint8_t>(rules.charsmap.begin(), rules.charsmap.end()));
  } else {
    if (!rules.add_dummy_prefix) {
      after.Set("tokenizer.ggml.add_space_prefix", false);
    } else if (prefix_at_start_only) {
      WriteOwn<std::string>(after, "smelt.tokenizer.space_prefix", "first");
    }
    if (rules.remove_extra_whitespaces)
      WriteOwn<bool>(after, "smelt.tokenizer.remove_extra_whitespaces", true);
    if (!rules.charsmap.empty())
      WriteOwn<std::vector<uint8_t>>(
          after, "smelt.tokenizer.precompiled_charsmap",
          std::vector<uint8_t>(rules.charsmap.begin(), rules.charsmap.end()));
  }
  if (model_.whitespace_as_suffix)
    WriteOwn<bool>(after, "smelt.tokenizer.whitespace_as_suffix", true);
  if (!rules.escape_whitespaces) WriteOwn<bool>(after, "smelt.tokenizer.escape_whitespaces", false);
  std::vector<int32_t> user_defined;
  for (size_t id = 0; id < model_.pieces.size(); ++id) {
    if (model_.pieces[id].type == PieceType::kUserDefined)
      user_defined.push_back(static_cast<int32_t>(id));
  }
  if (!user_defined.empty())
    WriteOwn<std::vector<int32_t>>(after, "smelt.tokenizer.user_defined", std::move(user_defined));
  if (model_.unk_surface != SpmDecoding().unknown)
    WriteOwn<std::string>(after, "smelt.tokenizer.unknown_surface", model_.unk_surface);
  if (const std::string& back = model_.denormalizer.charsmap; !back.empty())
    WriteOwn<std::vector<uint8_t>>(after, "smelt.tokenizer.denormalizer_charsmap",
                                   std::vector<uint8_t>(back.begin(), back.end()));
  // What readers take where the key is missing.
  const int32_t usual_unknown = unigram ? 2 : 0;
  if (unknown_ != usual_unknown)
    after.Set("tokenizer.ggml.unknown_token_id", static_cast<uint32_t>(unknown_));
  WriteOwn<std::string>(after, "smelt.tokenizer.source", "sentencepiece");
  WriteAddedFlags(declared_, AddedTo::kSentencePiece, -1, after);
  return absl::OkStatus();
}

}  // namespace smelt
