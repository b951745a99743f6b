#include "lib/text/components/decoder.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/text/components/byte_level.h"
#include "lib/text/components/normalizer.h"

namespace smelt {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

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

void DecodeByteLevel(std::vector<std::string>& tokens, bool raw) {
  std::string bytes;
  for (const std::string& token : tokens) {
    if (!AppendBytesOfLevel(bytes, token)) bytes += token;
  }
  tokens.assign(1, raw ? std::move(bytes) : RepairUtf8(bytes));
}

void DecodeByteFallback(std::vector<std::string>& tokens, bool raw) {
  std::vector<std::string> out;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (raw || IsValidUtf8(bytes)) {
      out.push_back(bytes);
    } else {
      for (size_t i = 0; i < bytes.size(); ++i) out.emplace_back(kReplacement);
    }
    bytes.clear();
  };
  for (std::string& token : tokens) {
    if (const int byte = ByteOfPiece(token); byte >= 0) {
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

// One token's English contractions and punctuation put together again, as BERT's decoder does.
void CleanUp(std::string& text) {
  static constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kRules) ReplaceText(text, from, to);
}

using Function = std::function<void(std::vector<std::string>& tokens, bool raw)>;

// What runs a step of a spec.
struct StepMaker {
  absl::StatusOr<Function> operator()(const JoinWithSpaces&) const {
    return [](std::vector<std::string>& tokens, bool) {
      for (size_t i = 1; i < tokens.size(); ++i) tokens[i].insert(0, " ");
    };
  }
  absl::StatusOr<Function> operator()(const ByteLevelDecoder&) const { return DecodeByteLevel; }
  absl::StatusOr<Function> operator()(const ByteFallback&) const { return DecodeByteFallback; }
  absl::StatusOr<Function> operator()(const Fuse&) const {
    return [](std::vector<std::string>& tokens, bool) { Join(tokens); };
  }
  absl::StatusOr<Function> operator()(const WordPieceDecoder& step) const {
    return [step](std::vector<std::string>& tokens, bool) {
      for (size_t i = 0; i < tokens.size(); ++i) {
        std::string& token = tokens[i];
        const bool continues = token.starts_with(step.prefix);
        if (i != 0) token = continues ? token.substr(step.prefix.size()) : " " + token;
        if (step.cleanup) CleanUp(token);
      }
    };
  }
  absl::StatusOr<Function> operator()(const MetaspaceDecoder& step) const {
    return [step](std::vector<std::string>& tokens, bool) {
      for (size_t i = 0; i < tokens.size(); ++i)
        ReplaceText(tokens[i], step.replacement, i == 0 && step.drops_first ? "" : " ");
    };
  }
  absl::StatusOr<Function> operator()(const StripDecoder& step) const {
    return [step](std::vector<std::string>& tokens, bool) {
      for (std::string& token : tokens) StripToken(token, step.content, step.start, step.stop);
    };
  }
  absl::StatusOr<Function> operator()(const BpeDecoder& step) const {
    return [suffix = step.suffix](std::vector<std::string>& tokens, bool) {
      for (size_t i = 0; i < tokens.size(); ++i)
        ReplaceText(tokens[i], suffix, i + 1 == tokens.size() ? "" : " ");
    };
  }
  absl::StatusOr<Function> operator()(const Replace& step) const {
    if (!step.pattern.is_regex && !step.pattern.text.empty()) {
      return [step](std::vector<std::string>& tokens, bool) {
        for (std::string& token : tokens) ReplaceText(token, step.pattern.text, step.content);
      };
    }
    SMELT_ASSIGN_OR_RETURN(Regex pattern, CompilePattern(step.pattern, RegexEngine::kAny));
    auto shared = std::make_shared<const Regex>(std::move(pattern));
    return [shared, content = step.content](std::vector<std::string>& tokens, bool) {
      size_t start = 0;
      // A text on which the expression does not come to an end stays as it is.
      for (std::string& token : tokens) ReplaceAll(*shared, content, token, start).IgnoreError();
    };
  }
  absl::StatusOr<Function> operator()(const SentencePieceDecoder&) const {
    return Error(ErrorCode::kInternal, "SentencePiece's decoder is no step among others");
  }
};

}  // namespace

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

absl::StatusOr<Decoder> Decoder::Make(std::span<const DecoderStep> steps) {
  Decoder out;
  for (const DecoderStep& step : steps) {
    SMELT_ASSIGN_OR_RETURN(Step made, std::visit(StepMaker(), step));
    out.steps_.push_back(std::move(made));
  }
  return out;
}

std::string Decoder::Apply(std::vector<std::string> tokens, bool raw) const {
  for (const Step& step : steps_) step(tokens, raw);
  Join(tokens);
  return std::move(tokens.front());
}

}  // namespace smelt
