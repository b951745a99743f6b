#include "lib/text/gguf/llama_notes.h"

#include <algorithm>
#include <bitset>
#include <cctype>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/cat.h"
#include "lib/base/json.h"
#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/text/gguf/gguf_vocabulary.h"
#include "lib/text/gguf/pre_names.h"
#include "lib/text/gguf/token_types.h"
#include "lib/text/spec/component_json.h"

namespace smelt {
namespace {

// Keys that are written only where the tokenizer does what llama.cpp does not. `models` are the
// kinds of vocabulary to which that applies.
struct KeyCause {
  OwnKeyName key;
  std::string_view models, cause;
};
constexpr KeyCause kKeyCauses[] = {
    {"smelt.tokenizer.precompiled_charsmap", "llama", "characters that its normalizer changes"},
    {"smelt.tokenizer.remove_extra_whitespaces", "llama", "runs of spaces and spaces at the ends"},
    {"smelt.tokenizer.split_blanks", "llama", "runs of spaces"},
    {"smelt.tokenizer.merges", "llama",
     "words where it merges only the pairs that it lists, llama.cpp whatever makes a token"},
    {"smelt.tokenizer.whitespace_as_suffix", "llama t5", "all spaces (they end its words)"},
    {"smelt.tokenizer.escape_whitespaces", "llama t5", "all spaces (it does not mark them)"},
    {"smelt.tokenizer.user_defined", "llama t5", "its user-defined pieces inside a text"},
    {"smelt.tokenizer.ignore_merges", "gpt2", "words that are whole tokens (ignore_merges)"},
    {"smelt.tokenizer.unknown_token", "gpt2", "characters that the vocabulary lacks"},
};

// Tokens whose blanks llama.cpp removes nevertheless in models with these in their names.
constexpr std::string_view kStripsRight[] = {"phi-3", "phi3"};
constexpr std::string_view kNeverStrips[] = {"<unk>", "<s>", "<|endoftext|>"};

bool Has(std::string_view list, std::string_view word) {
  return Cat(" ", list, " ").find(Cat(" ", word, " ")) != std::string::npos;
}

std::string TextAt(const Metadata& written, std::string_view key) {
  const MetadataValue* value = written.Find(key);
  const std::string* text = value == nullptr ? nullptr : value->AsString();
  return text == nullptr ? std::string() : *text;
}

std::string OwnTextAt(const Metadata& written, OwnKey<std::string> key) {
  return ReadOwn(written, key, "").value_or("");
}

template <typename T>
const std::vector<T>& ListAt(const Metadata& written, std::string_view key) {
  static const std::vector<T> kNone;
  const MetadataValue* value = written.Find(key);
  const auto* list = value == nullptr ? nullptr : value->get_if<std::vector<T>>();
  return list == nullptr ? kNone : *list;
}

// The component that a key holds; null when there is none.
JsonValue ComponentAt(const Metadata& written, OwnKey<std::string> key) {
  absl::StatusOr<JsonValue> json = ParseJsonValue(OwnTextAt(written, key), key);
  return json.ok() ? *std::move(json) : JsonValue();
}

void AddNormalizer(const Metadata& written, std::vector<std::string>& causes) {
  constexpr OwnKey<std::string> kKey = "smelt.tokenizer.normalizer";
  const JsonValue json = ComponentAt(written, kKey);
  const absl::StatusOr<std::vector<NormalizerStep>> steps =
      ReadNormalizers(&json, kKey, Members::kAny);
  if (!steps.ok() || steps->empty()) return;
  causes.push_back(Cat("text that its normalizer (", TypeNames(*steps), ") changes"));
}

void AddPreTokenizer(const Metadata& written, std::vector<std::string>& causes) {
  constexpr OwnKey<std::string> kKey = "smelt.tokenizer.pre_tokenizer";
  const JsonValue json = ComponentAt(written, kKey);
  const absl::StatusOr<std::vector<PreTokenizerStep>> steps =
      ReadPreTokenizers(&json, kKey, Members::kAny);
  const auto prefixes = [](const PreTokenizerStep& step) {
    const ByteLevel* bytes = std::get_if<ByteLevel>(&step);
    return bytes != nullptr && bytes->add_prefix_space;
  };
  if (steps.ok() && std::any_of(steps->begin(), steps->end(), prefixes))
    causes.push_back("beginnings of texts (it puts a space there: add_prefix_space)");
  if (const PreTokenizerName* pre = FindPreTokenizer(TextAt(written, "tokenizer.ggml.pre")))
    causes.insert(causes.end(), pre->llama_differs.begin(), pre->llama_differs.end());
}

void AddWordPiece(const Metadata& written, std::vector<std::string>& causes) {
  const MetadataValue* lower = written.Find("tokenizer.ggml.normalizer.lowercase");
  if (lower != nullptr && lower->AsBool().value_or(false))
    causes.push_back("Korean, and words with vowel signs (Hindi, Bengali, ...)");
  causes.push_back("very long words, control characters, a typed \xe2\x96\x81 (U+2581)");
  if (written.Has(OwnKeyName("smelt.tokenizer.normalizer")))
    causes.push_back("text that it does not normalize as BERT does");
  if (written.Has(OwnKeyName("smelt.tokenizer.pre_tokenizer")))
    causes.push_back("text that it does not split as BERT does");
}

void AddSpaces(const Metadata& written, std::vector<std::string>& causes) {
  const std::string prefix = OwnTextAt(written, "smelt.tokenizer.space_prefix");
  if (prefix == "unless_present") causes.push_back("texts that begin with a space");
  if (prefix == "first" || prefix == "normalizer")
    causes.push_back("text after special tokens, spaces at the beginning");
  std::bitset<256> bytes;
  for (const std::string& token : ListAt<std::string>(written, "tokenizer.ggml.tokens")) {
    if (const int byte = ByteOfPiece(token);
        byte >= 0 && token == BytePiece(static_cast<uint8_t>(byte)))
      bytes.set(static_cast<size_t>(byte));
  }
  if (!bytes.all())
    causes.push_back("characters that the vocabulary lacks (llama.cpp stops at some)");
}

// Of "gemma4" llama.cpp cuts texts before and behind line breaks.
void AddLineBreaks(const Metadata& written, std::vector<std::string>& causes) {
  const auto mixes = [](const std::string& merge) {
    return merge.find('\n') != std::string::npos &&
           merge.find_first_not_of("\n ") != std::string::npos;
  };
  if (std::ranges::any_of(ListAt<std::string>(written, "tokenizer.ggml.merges"), mixes))
    causes.push_back("line breaks beside other characters");
}

// True where llama.cpp removes blanks after a token, which GGUF has no key for.
bool StripsRight(std::string_view name, const std::string& token, PieceType type) {
  std::string lower(name);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (std::none_of(std::begin(kStripsRight), std::end(kStripsRight),
                   [&](std::string_view part) { return lower.find(part) != std::string::npos; }))
    return false;
  return type != PieceType::kNormal && type != PieceType::kByte && type != PieceType::kUnused &&
         std::count(std::begin(kNeverStrips), std::end(kNeverStrips), token) == 0;
}

void AddFlags(const Metadata& written, std::vector<std::string>& causes) {
  const std::vector<std::string>& tokens = ListAt<std::string>(written, "tokenizer.ggml.tokens");
  const std::vector<int32_t>& types = ListAt<int32_t>(written, "tokenizer.ggml.token_type");
  const std::vector<int32_t> flags =
      ReadOwnList<std::vector<int32_t>>(written, "smelt.tokenizer.added_flags",
                                        {.tokens = tokens.size()})
          .value_or(std::vector<int32_t>());
  std::vector<int32_t> bits(tokens.size(), 0);
  int32_t any = 0;
  for (size_t i = 0; i + 1 < flags.size(); i += 2) {
    const auto id = static_cast<size_t>(flags[i]);
    if (id < bits.size()) bits[id] = flags[i + 1];
    any |= flags[i + 1];
  }
  const std::string name = TextAt(written, "general.name");
  bool strips = (any & kAddedLstrip) != 0;
  for (size_t id = 0; id < tokens.size() && id < types.size() && !strips; ++id) {
    const bool there = StripsRight(name, tokens[id], static_cast<PieceType>(types[id]));
    strips = there != ((bits[id] & kAddedRstrip) != 0);
  }
  if (strips) causes.push_back("spaces around special tokens");
  if ((any & kAddedSingleWord) != 0) causes.push_back("added tokens inside words");
  if ((any & kAddedMetaspace) != 0) causes.push_back("a typed \xe2\x96\x81 (U+2581)");
}

std::string OfDecoder(const Metadata& written, std::string_view before) {
  constexpr OwnKey<std::string> kKey = "smelt.tokenizer.decoder";
  if (!written.Has(kKey)) return std::string();
  const JsonValue json = ComponentAt(written, kKey);
  const absl::StatusOr<std::vector<DecoderStep>> steps = ReadDecoders(&json, kKey);
  if (!steps.ok()) return std::string();
  return Cat(
      before, "llama.cpp decodes ids in its own way, not by the tokenizer's decoder (",
      json.is_null() ? std::string("none: tokens are joined with spaces") : TypeNames(*steps), ")");
}

}  // namespace

std::string LlamaCppNote(const Metadata& written) {
  const std::string model = TextAt(written, "tokenizer.ggml.model");
  std::vector<std::string> causes;
  if (model == "t5" && OwnTextAt(written, "smelt.tokenizer.source") == "pipeline") {
    causes.push_back(
        "where segmentations tie, combining marks, control characters (it segments as "
        "SentencePiece does)");
  } else if (model != "bert") {
    AddNormalizer(written, causes);
  }
  if (model == "gpt2") AddPreTokenizer(written, causes);
  if (model == "bert") AddWordPiece(written, causes);
  if (model == "llama") AddSpaces(written, causes);
  if (model == kGemma4) AddLineBreaks(written, causes);
  if (const auto& types = ListAt<int32_t>(written, "tokenizer.ggml.token_type");
      model == "t5" &&
      std::count(types.begin(), types.end(), static_cast<int32_t>(PieceType::kByte)) > 0)
    causes.push_back("characters that the vocabulary lacks (it has bytes for them)");
  for (const KeyCause& row : kKeyCauses) {
    if (Has(row.models, model) && written.Has(row.key)) causes.emplace_back(row.cause);
  }
  AddFlags(written, causes);
  std::string out;
  for (const std::string& cause : causes)
    out += Cat(out.empty() ? "llama.cpp encodes some texts differently: " : "; ", cause);
  return out + OfDecoder(written, out.empty() ? "" : "; ");
}

}  // namespace smelt
