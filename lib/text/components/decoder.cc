#include "lib/text/components/decoder.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/text/components/byte_level.h"
#include "lib/text/components/normalizer.h"

namespace smelt {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

class Simple : public Decoder {
 public:
  using Function = std::function<void(std::vector<std::string>&)>;
  explicit Simple(Function function) : function_(std::move(function)) {}
  void Apply(std::vector<std::string>& tokens) const override { function_(tokens); }

 private:
  Function function_;
};

void ReplaceText(std::string& text, std::string_view from, std::string_view to) {
  if (from.empty()) return;
  std::string out;
  size_t done = 0;
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, done)) {
    out.append(text, done, at - done);
    out.append(to);
    done = at + from.size();
  }
  out.append(text, done);
  text = std::move(out);
}

void Join(std::vector<std::string>& tokens) {
  std::string all;
  for (const std::string& token : tokens) all += token;
  tokens.assign(1, std::move(all));
}

void DecodeByteLevel(std::vector<std::string>& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) {
    if (!AppendBytesOfLevel(bytes, token)) bytes += token;
  }
  tokens.assign(1, RepairUtf8(bytes));
}

// "<0x41>" -> 0x41; -1 otherwise.
int ByteOf(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

void DecodeByteFallback(std::vector<std::string>& tokens) {
  std::vector<std::string> out;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (IsValidUtf8(bytes)) {
      out.push_back(bytes);
    } else {
      for (size_t i = 0; i < bytes.size(); ++i) out.emplace_back(kReplacement);
    }
    bytes.clear();
  };
  for (std::string& token : tokens) {
    if (const int byte = ByteOf(token); byte >= 0) {
      bytes.push_back(static_cast<char>(byte));
    } else {
      flush();
      out.push_back(std::move(token));
    }
  }
  flush();
  tokens = std::move(out);
}

void StripToken(std::string& token, std::string_view content, size_t start, size_t stop) {
  std::string_view rest = token;
  for (size_t i = 0; i < start && !content.empty() && rest.starts_with(content); ++i)
    rest.remove_prefix(content.size());
  for (size_t i = 0; i < stop && !content.empty() && rest.ends_with(content); ++i)
    rest.remove_suffix(content.size());
  token = std::string(rest);
}

// English contractions and punctuation put together again, as BERT's decoder does.
void CleanUp(std::string& text) {
  static constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kRules) ReplaceText(text, from, to);
}

Simple::Function WordPieceDecoder(const JsonValue& json) {
  const std::string prefix = TextOf(json, "prefix");
  const bool cleanup = FlagOf(json, "cleanup", true);
  return [=](std::vector<std::string>& tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      std::string& token = tokens[i];
      if (i != 0) token = token.starts_with(prefix) ? token.substr(prefix.size()) : " " + token;
      if (cleanup) CleanUpWord(token);
    }
  };
}

Simple::Function MetaspaceDecoder(const JsonValue& json) {
  std::string mark = TextOf(json, "replacement");
  if (mark.empty()) mark = "\xe2\x96\x81";
  const std::string scheme = TextOf(json, "prepend_scheme");
  const bool drop_first =
      scheme.empty() ? FlagOf(json, "add_prefix_space", true) : scheme != "never";
  return [=](std::vector<std::string>& tokens) {
    for (size_t i = 0; i < tokens.size(); ++i)
      ReplaceText(tokens[i], mark, i == 0 && drop_first ? "" : " ");
  };
}

absl::StatusOr<Simple::Function> MakeFunction(std::string_view type, const JsonValue& json) {
  if (type == "ByteLevel") return DecodeByteLevel;
  if (type == "ByteFallback") return DecodeByteFallback;
  if (type == "Fuse") return Join;
  if (type == "WordPiece") return WordPieceDecoder(json);
  if (type == "Metaspace") return MetaspaceDecoder(json);
  if (type == "Strip") {
    const auto count = [&](std::string_view key) {
      const JsonValue* value = json.FindNonNull(key);
      return static_cast<size_t>(
          std::max<int64_t>(0, value == nullptr ? 0 : value->as_int().value_or(0)));
    };
    return [content = TextOf(json, "content"), start = count("start"),
            stop = count("stop")](std::vector<std::string>& tokens) {
      for (std::string& token : tokens) StripToken(token, content, start, stop);
    };
  }
  if (type == "BPEDecoder") {
    return [suffix = TextOf(json, "suffix")](std::vector<std::string>& tokens) {
      for (size_t i = 0; i < tokens.size(); ++i)
        ReplaceText(tokens[i], suffix, i + 1 == tokens.size() ? "" : " ");
    };
  }
  if (type == "Replace") {
    SMELT_ASSIGN_OR_RETURN(Regex pattern, PatternOf(json, RegexEngine::kAny));
    auto shared = std::make_shared<const Regex>(std::move(pattern));
    return [shared, content = TextOf(json, "content")](std::vector<std::string>& tokens) {
      size_t start = 0;
      // A text on which the expression does not come to an end stays as it is.
      for (std::string& token : tokens) ReplaceAll(*shared, content, token, start).IgnoreError();
    };
  }
  return Error(ErrorCode::kUnsupported, "the decoder \"", Escape(type), "\" is not known");
}

}  // namespace

void CleanUpWord(std::string& text) { CleanUp(text); }

std::string RepairUtf8(std::string_view text) {
  if (IsValidUtf8(text)) return std::string(text);
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = DecodeUtf8(text.substr(i));
    if (c.valid) {
      out.append(text.substr(i, c.length));
      i += c.length;
      continue;
    }
    // The longest start of some character counts as one error.
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t want = lead >= 0xf0 && lead <= 0xf4  ? 4
                        : lead >= 0xe0 && lead < 0xf0 ? 3
                        : lead >= 0xc2 && lead < 0xe0 ? 2
                                                      : 1;
    size_t n = 1;
    while (n < want && i + n < text.size()) {
      const auto next = static_cast<unsigned char>(text[i + n]);
      unsigned low = 0x80, high = 0xbf;
      if (n == 1 && lead == 0xe0) low = 0xa0;
      if (n == 1 && lead == 0xed) high = 0x9f;
      if (n == 1 && lead == 0xf0) low = 0x90;
      if (n == 1 && lead == 0xf4) high = 0x8f;
      if (next < low || next > high) break;
      ++n;
    }
    out.append(kReplacement);
    i += n;
  }
  return out;
}

absl::StatusOr<std::unique_ptr<Decoder>> MakeDecoder(const JsonValue* json) {
  if (json == nullptr || json->is_null()) return std::unique_ptr<Decoder>();
  const std::string type = TextOf(*json, "type");
  if (type != "Sequence") {
    SMELT_ASSIGN_OR_RETURN(Simple::Function function, MakeFunction(type, *json));
    return std::unique_ptr<Decoder>(std::make_unique<Simple>(std::move(function)));
  }
  const JsonValue* list = json->Find("decoders");
  if (list == nullptr || !list->is_array())
    return Error(ErrorCode::kInvalidInput, "the decoder Sequence has no list \"decoders\"");
  auto parts = std::make_shared<std::vector<std::unique_ptr<Decoder>>>();
  for (const JsonValue& item : *list->as_array()) {
    SMELT_ASSIGN_OR_RETURN(std::unique_ptr<Decoder> part, MakeDecoder(&item));
    if (part != nullptr) parts->push_back(std::move(part));
  }
  return std::unique_ptr<Decoder>(
      std::make_unique<Simple>([parts](std::vector<std::string>& tokens) {
        for (const auto& part : *parts) part->Apply(tokens);
      }));
}

}  // namespace smelt
