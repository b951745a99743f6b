// What is written against what was read: a published tokenizer must give the ids of the
// vocabulary that conversion writes from it, whenever conversion accepts it. The first byte chooses
// one of testdata/tokenizers-small, whose text is made of its own pieces (tokenizer numbers, even)
// or of the input's bytes (odd); 255: the input is a tokenizer.json, a zero byte, and text.
#include <filesystem>

#include "lib/text/published/readers.h"
#include "tests/fuzz/tokenizer_use.h"

namespace smelt::fuzz {
namespace {

struct Pair {
  std::unique_ptr<PublishedTokenizer> published;
  std::unique_ptr<Tokenizer> written;
};

const std::vector<Pair>& Pairs() {
  static const std::vector<Pair> pairs = [] {
    std::vector<std::string> folders;
    for (const auto& entry :
         std::filesystem::directory_iterator(SMELT_FUZZ_TESTDATA "/tokenizers-small"))
      if (entry.is_directory()) folders.push_back(entry.path());
    std::sort(folders.begin(), folders.end());
    std::vector<Pair> out;
    for (const std::string& folder : folders) {
      Pair pair;
      pair.published = ValueOrNull(OpenPublishedTokenizer(folder));
      Require(pair.published != nullptr, "the small tokenizers open");
      pair.written = Convert(*pair.published);
      if (pair.written != nullptr) out.push_back(std::move(pair));
    }
    Require(out.size() >= 8, "most of the small tokenizers can be converted");
    return out;
  }();
  return pairs;
}

constexpr std::string_view kBits[] = {" ",
                                      "  ",
                                      "\t",
                                      "\n",
                                      "\r\n",
                                      "\xc2\xa0",
                                      "\xe3\x80\x80",
                                      "\xe2\x96\x81",
                                      "\xe2\x80\x8d",
                                      "a",
                                      "A",
                                      "'s",
                                      "'S",
                                      "\xc3\xa9",
                                      "e\xcc\x81",
                                      "\xcc\x81",
                                      "\xc5\xbf",
                                      "\xef\xac\x81",
                                      "1",
                                      "12",
                                      "\xc2\xbd",
                                      "\xd9\xa3",
                                      ".",
                                      "!!",
                                      "_",
                                      "<",
                                      ">",
                                      "[",
                                      "]",
                                      "\xe4\xbd\xa0",
                                      "\xea\xb0\x80",
                                      "\xe1\x84\x80\xe1\x85\xa1",
                                      "\xf0\x9f\x98\x80",
                                      "\xef\xb8\x8f",
                                      "\xe0\xb8\xb3",
                                      "\xef\xbb\xbf",
                                      "\x7f",
                                      "\x01",
                                      "\xc2\xad",
                                      "\xc4\xb0"};

/// Two bytes each: a piece of the vocabulary or one of kBits.
std::string TextOfPieces(const Tokenizer& tokenizer, std::string_view data) {
  std::string out;
  for (; data.size() >= 2; data.remove_prefix(2)) {
    const size_t value =
        static_cast<unsigned char>(data[0]) << 8 | static_cast<unsigned char>(data[1]);
    if (value % 2 == 0) {
      out += tokenizer.Piece(static_cast<int32_t>(value / 2 % tokenizer.size()));
    } else {
      out += kBits[value / 2 % std::size(kBits)];
    }
  }
  return RepairUtf8(out);
}

void RequireSame(const PublishedTokenizer& published, const Tokenizer& written,
                 std::string_view text) {
  for (const bool special : {false, true}) {
    const EncodeOptions options{.add_special = special, .parse_special = true};
    const auto a = published.Encode(text, options);
    const auto b = written.Encode(text, options);
    if (!a.ok() || !b.ok()) {
      RequireGoodMessage(a.ok() ? b.status() : a.status());
      continue;
    }
    if (*a == *b) continue;
    std::fprintf(stderr, "text \"%s\"\n", std::string(text).c_str());
    for (const auto& ids : {*a, *b}) {
      for (const int32_t id : ids) std::fprintf(stderr, "%d ", id);
      std::fprintf(stderr, "\n");
    }
    Require(false, "the written vocabulary gives the same ids");
  }
}

void OfJson(std::string_view data) {
  const FileAndText input = SplitInput(data);
  absl::StatusOr<PipelineSpec> spec = ReadTokenizerJson(input.file, "input");
  if (!spec.ok()) return;
  TokenizerFolder folder;
  folder.path = "input";
  folder.has_tokenizer_json = true;
  auto pipeline = ValueOrNull(Pipeline::Make(*std::move(spec), "input"));
  if (pipeline == nullptr) return;
  const auto published =
      ValueOrNull(PublishedTokenizer::Make(std::move(pipeline), std::move(folder)));
  if (published == nullptr) return;
  // Finding a name takes seconds here; that of the plain form is known.
  VocabularyOptions options;
  if (input.file.find(
          R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true})") !=
      std::string_view::npos)
    options.pre = "gpt-2";
  const auto written = Convert(*published, options);
  if (written != nullptr) RequireSame(*published, *written, input.text);
}

}  // namespace
}  // namespace smelt::fuzz

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  smelt::fuzz::Pairs();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace smelt::fuzz;
  if (size < 2) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] == 255) {
    OfJson(rest);
    return 0;
  }
  const Pair& pair = Pairs()[data[0] / 2 % Pairs().size()];
  const std::string text =
      data[0] % 2 == 0 ? TextOfPieces(*pair.published, rest) : smelt::RepairUtf8(rest);
  RequireSame(*pair.published, *pair.written, text);
  return 0;
}
