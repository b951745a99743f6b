#include "lib/text/gguf/self_check.h"

#include <algorithm>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/base/unicode.h"
#include "lib/base/utf8.h"
#include "lib/text/gguf/gguf_tokenizer.h"
#include "lib/text/gguf/spec_reader.h"
#include "lib/text/spec/spec_difference.h"

namespace smelt {
namespace {

constexpr std::string_view kProbes[] = {
    "",
    " ",
    "  ",
    "    leading and trailing    ",
    "The quick brown fox jumps over the lazy dog. It's what they'd've said: \"we'll see\", I'M "
    "SURE.",
    "\n\n\n \n\t\n  \r\n\r\n x\n  y\t\tz \n",
    "0 1 12 123 1234 12345 123456 1234567 3.14159 1e-9 0x1F600 2^10 \xc2\xbd "
    "\xd9\xa1\xd9\xa2\xd9\xa3 \xe2\x85\xa7 \xef\xbc\x95",
    "def f(x: int) -> str:\n    return f\"{x!r}\"  # \xe2\x86\x92 ok\n\tfor (int i = 0; i < n; "
    "++i) { a[i] += b->c(&d); }\n",
    "!!! ??? ... ,,, ;;; ::: --- === +++ *** /// \\\\\\ ||| &&& %%% $$$ ### @@@ ~~~ ``` ''' \"\"\" "
    "((( ))) [[[ ]]] {{{ }}} <<< >>> ^^^ ___",
    "Stra\xc3\x9f"
    "e na\xc3\xafve co\xc3\xb6perate \xc3\x89"
    "cole e\xcc\x81 A\xcc\x8a \xc5\xbfharp \xe2\x84\xaa"
    "elvin I\xcc\x87stanbul \xef\xac\x81ne ﬀ",
    "\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82, \xd0\xbc\xd0\xb8\xd1\x80! "
    "\xce\x9a\xce\xb1\xce\xbb\xce\xb7\xce\xbc\xce\xad\xcf\x81\xce\xb1 "
    "\xce\xba\xcf\x8c\xcf\x83\xce\xbc\xce\xb5",
    "\xe4\xbd\xa0\xe5\xa5\xbd\xef\xbc\x8c\xe4\xb8\x96\xe7\x95\x8c\xe3\x80\x82\xe3\x81\x93\xe3\x82"
    "\x93\xe3\x81\xab\xe3\x81\xa1\xe3\x81\xaf\xe3\x82\xab\xe3\x82\xbf\xe3\x82\xab\xe3\x83\x8a "
    "\xec\x95\x88\xeb\x85\x95\xed\x95\x98\xec\x84\xb8\xec\x9a\x94 \xe1\x84\x80\xe1\x85\xa1",
    "\xd9\x85\xd8\xb1\xd8\xad\xd8\xa8\xd8\xa7 "
    "\xd8\xa8\xd8\xa7\xd9\x84\xd8\xb9\xd9\x8e\xd8\xa7\xd9\x84\xd9\x8e\xd9\x85 "
    "\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d "
    "\xe0\xa4\xa8\xe0\xa4\xae\xe0\xa4\xb8\xe0\xa5\x8d\xe0\xa4\xa4\xe0\xa5\x87 "
    "\xe0\xb8\xaa\xe0\xb8\xa7\xe0\xb8\xb1\xe0\xb8\xaa\xe0\xb8\x94\xe0\xb8\xb5",
    "\xf0\x9f\x98\x80\xf0\x9f\x91\x8d\xf0\x9f\x8f\xbd "
    "\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7 "
    "\xe2\x9d\xa4\xef\xb8\x8f \xf0\x9f\x87\xa9\xf0\x9f\x87\xaa "
    "\xe2\x80\x8b\xc2\xa0\xe3\x80\x80\xe2\x96\x81 \xe2\x96\x81\xe2\x96\x81x \xef\xbb\xbf \xc2\xad",
    "\xe2\x80\x9cquotes\xe2\x80\x9d \xe2\x80\x98single\xe2\x80\x99 \xe2\x80\x94 dash \xe2\x80\xa6 "
    "\xe2\x82\xac"
    "5 \xc2\xa3"
    "6 x\xc2\xb2 \xe2\x88\x91\xe2\x88\x9e\xe2\x89\xa0 \xe2\x86\x90\xe2\x86\x92 \x7f\x01 \xc2\x85",
    "camelCaseWord snake_case_word SCREAMING_CASE kebab-case-word "
    "http://example.com/path?x=1&y=2#z user@host.org v1.2.3-rc4",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa              "
    "                   b",
};

// Letters of every block, a few of each, so that no script is left out.
std::string EveryScript() {
  std::string out;
  uint32_t state = 12345;
  for (char32_t block = 0; block < 0x20000; block += 0x40) {
    for (int i = 0; i < 2; ++i) {
      state = state * 1664525u + 1013904223u;
      const char32_t c = block + (state >> 26);
      if (c < 0x20 || (c >= 0xd800 && c <= 0xdfff) || CodePointFlags(c) == 0) continue;
      AppendUtf8(out, c);
    }
    if (block % 0x100 == 0) out.push_back(' ');
  }
  return out;
}

std::string Shown(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, size_t from) {
  std::string out;
  for (size_t i = from; i < std::min(ids.size(), from + 3); ++i)
    out += Cat(out.empty() ? "" : ", ", ids[i], " ", Escape(tokenizer.Piece(ids[i]), 20));
  return out.empty() ? "nothing" : out;
}

/// `parsed_only`: texts of added tokens, of which the GGUF vocabulary takes some (user-defined
/// ones) for tokens always, also where the tokenizer calls them special and special tokens are not
/// to be parsed.
absl::Status CheckText(const Tokenizer& published, const Tokenizer& written, std::string_view text,
                       bool parsed_only = false) {
  for (const bool special : {false, true}) {
    for (const bool parse : {true, false}) {
      if (!parse && parsed_only) continue;
      const EncodeOptions options{.add_special = special, .parse_special = parse};
      SMELT_ASSIGN_OR_RETURN(const std::vector<int32_t> a, published.Encode(text, options));
      SMELT_ASSIGN_OR_RETURN(const std::vector<int32_t> b, written.Encode(text, options));
      if (a == b) continue;
      const auto at = static_cast<size_t>(
          std::mismatch(a.begin(),
                        a.begin() + static_cast<std::ptrdiff_t>(std::min(a.size(), b.size())),
                        b.begin())
              .first -
          a.begin());
      return Error(ErrorCode::kInvalidInput, "the GGUF vocabulary encodes \"", Escape(text, 50),
                   "\" differently from token ", at, " on: ", Shown(published, a, at), " became ",
                   Shown(written, b, at), "; --allow-tokenizer-mismatch goes on all the same");
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> ProbeTexts() {
  std::vector<std::string> out(std::begin(kProbes), std::end(kProbes));
  out.push_back(EveryScript());
  return out;
}

absl::Status CheckVocabulary(const Tokenizer& published, const Metadata& metadata,
                             const PipelineSpec* written) {
  SMELT_ASSIGN_OR_RETURN(const GgufVocabulary vocabulary, ReadGgufVocabulary(metadata));
  SMELT_ASSIGN_OR_RETURN(PipelineSpec spec, ReadSpec(metadata, vocabulary));
  const std::string difference = written == nullptr ? "" : FirstDifference(*written, spec);
  if (!difference.empty()) {
    return Error(ErrorCode::kInvalidInput, "in the GGUF vocabulary, ", difference,
                 " is another than in the tokenizer; --allow-tokenizer-mismatch goes on all the "
                 "same");
  }
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> read,
                         MakeGgufTokenizer(vocabulary, std::move(spec)));
  for (const std::string& probe : ProbeTexts())
    SMELT_RETURN_IF_ERROR(CheckText(published, *read, probe));
  // Special and other added tokens inside text, and tokens of the vocabulary as texts.
  std::string special, pieces;
  const size_t size = published.size();
  const MetadataValue* types = metadata.Find("tokenizer.ggml.token_type");
  size_t shown = 0;
  for (size_t id = 0; id < size; ++id) {
    const bool added = types != nullptr && id < types->size() &&
                       types->IntAt(id).value_or(1) >= 3 && types->IntAt(id).value_or(1) <= 4;
    if (added && shown < 400) {
      special += Cat(shown % 3 == 0   ? " "
                     : shown % 3 == 1 ? "a"
                                      : "",
                     published.Piece(static_cast<int32_t>(id)));
      ++shown;
    }
    if (id % (size / 512 + 1) == 0)
      pieces += Cat(published.Piece(static_cast<int32_t>(id)), id % 2 == 0 ? " " : "");
  }
  SMELT_RETURN_IF_ERROR(CheckText(published, *read, special, /*parsed_only=*/true));
  return CheckText(published, *read, pieces, /*parsed_only=*/true);
}

}  // namespace smelt
