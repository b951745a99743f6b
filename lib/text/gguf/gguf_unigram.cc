// tokenizer.ggml.model "t5": Unigram, the segmentation with the best sum of scores.
#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/text/components/pre_tokenizer.h"
#include "lib/text/components/spm_normalizer.h"
#include "lib/text/gguf/gguf_base.h"
#include "lib/text/models/blank_cuts.h"
#include "lib/text/models/model.h"

namespace smelt {
namespace {

constexpr double kUnknownPenalty = 10.0;
constexpr float kFarFromZero = 100000;  // where SentencePiece starts its sums at zero again

// Number is float where SentencePiece itself is followed, double where the `tokenizers` library is:
// sums that tie in one do not in the other.
template <typename Number>
class GgufUnigram : public GgufBase {
 public:
  absl::Status Setup(const Metadata& metadata, GgufVocabulary vocabulary, bool pipeline) {
    pipeline_ = pipeline;
    SMELT_ASSIGN_OR_RETURN(const std::vector<float> scores,
                           ReadScores(metadata, vocabulary.size()));
    scores_.assign(scores.begin(), scores.end());
    SMELT_ASSIGN_OR_RETURN(const std::vector<double> exact,
                           ReadOwnList<std::vector<double>>(metadata, "smelt.tokenizer.scores",
                                                            {.tokens = vocabulary.size()}));
    std::copy(exact.begin(), exact.end(), scores_.begin());
    SMELT_RETURN_IF_ERROR(Init(metadata, std::move(vocabulary)));
    SMELT_RETURN_IF_ERROR(SetupText(metadata));
    SMELT_ASSIGN_OR_RETURN(
        const std::vector<int32_t> declared,
        ReadOwnList<std::vector<int32_t>>(metadata, "smelt.tokenizer.user_defined",
                                          {.tokens = tokens_.size()}));
    for (const int32_t id : declared) frozen_.Insert(tokens_[static_cast<size_t>(id)], id);
    Number lowest = INFINITY;
    for (size_t i = 0; i < tokens_.size(); ++i) {
      const auto id = static_cast<int32_t>(i);
      const TokenType type = Type(id);
      // The library's vocabulary is one list: control tokens can be found in text too.
      const bool usable =
          pipeline_ ? type != TokenType::kUnused && !IsOutside(id) : type == TokenType::kNormal;
      if (usable) pieces_.Insert(tokens_[i], id);
      table_.Add(id, tokens_[i]);
      if (type != TokenType::kNormal) continue;
      lowest = std::min(lowest, static_cast<Number>(scores_[i]));
    }
    SMELT_ASSIGN_OR_RETURN(const double unknown_score,
                           ReadOwn<double>(metadata, "smelt.tokenizer.unknown_score",
                                           static_cast<double>(lowest) - kUnknownPenalty));
    if (!std::isfinite(unknown_score)) {
      return Error(ErrorCode::kInvalidInput, "tokenizer.ggml.token_type has no normal token");
    }
    unknown_score_ = static_cast<Number>(unknown_score);
    bytes_ = ByteTokens(table_);
    for (size_t b = 0; b < 256; ++b) {
      if (bytes_[b] >= 0) byte_of_.emplace(bytes_[b], static_cast<char>(b));
    }
    const bool all_bytes = std::all_of(bytes_.begin(), bytes_.end(), [&](int32_t id) {
      return id >= 0 && Type(id) == TokenType::kByte;
    });
    SMELT_ASSIGN_OR_RETURN(byte_fallback_,
                           ReadOwn<bool>(metadata, "smelt.tokenizer.byte_fallback", all_bytes));
    return absl::OkStatus();
  }

 protected:
  absl::Status EncodeFragment(TextPiece whole, WordCache& cache,
                              std::vector<int32_t>& out) const override {
    if (!pipeline_) {
      EncodeWord(normalizer_.Apply(whole.text, frozen_), out);
      return absl::OkStatus();
    }
    return words_->Split(whole, [&](TextPiece piece) {
      if (cache.Append(piece.text, out)) return absl::OkStatus();
      const size_t before = out.size();
      EncodeWord(piece.text, out);
      cache.Insert(piece.text, std::span<const int32_t>(out).subspan(before));
      return absl::OkStatus();
    });
  }

  // Metaspace's decoder: every U+2581 of the first token goes, elsewhere they are spaces.
  void AppendDecoded(int32_t id, bool first, std::string& out) const override {
    if (const auto byte = byte_of_.find(id);
        byte != byte_of_.end() && Type(id) == TokenType::kByte) {
      out.push_back(byte->second);
      return;
    }
    for (std::string_view text = Shown(id); !text.empty();) {
      const bool blank = text.starts_with(kBlank);
      if (!blank) out.push_back(text.front());
      if (blank && !first) out.push_back(' ');
      text.remove_prefix(blank ? kBlank.size() : 1);
    }
  }

 private:
  absl::Status SetupText(const Metadata& metadata) {
    if (pipeline_) {
      SMELT_ASSIGN_OR_RETURN(const std::string pre,
                             ReadOwn<std::string>(metadata, "smelt.tokenizer.pre_tokenizer",
                                                  R"({"type":"Metaspace"})"));
      SMELT_ASSIGN_OR_RETURN(const JsonValue json,
                             ParseJsonValue(pre, "smelt.tokenizer.pre_tokenizer"));
      SMELT_ASSIGN_OR_RETURN(words_, MakePreTokenizer(&json, RegexEngine::kAny, nullptr));
      return absl::OkStatus();
    }
    SMELT_ASSIGN_OR_RETURN(const std::string charsmap,
                           ReadBytes(metadata, "tokenizer.ggml.precompiled_charsmap"));
    SMELT_ASSIGN_OR_RETURN(normalizer_.charsmap, Charsmap::Parse(charsmap));
    SMELT_ASSIGN_OR_RETURN(normalizer_.add_dummy_prefix,
                           metadata.BoolOr("tokenizer.ggml.add_space_prefix", true));
    SMELT_ASSIGN_OR_RETURN(normalizer_.remove_extra_whitespaces,
                           metadata.BoolOr("tokenizer.ggml.remove_extra_whitespaces", true));
    SMELT_ASSIGN_OR_RETURN(normalizer_.escape_whitespaces,
                           ReadOwn<bool>(metadata, "smelt.tokenizer.escape_whitespaces", true));
    SMELT_ASSIGN_OR_RETURN(normalizer_.whitespace_as_suffix,
                           ReadOwn<bool>(metadata, "smelt.tokenizer.whitespace_as_suffix", false));
    return DecodeAsSentencePiece(metadata, normalizer_);
  }

  void EncodeWord(std::string_view word, std::vector<int32_t>& out) const {
    struct Step {
      Number score = 0;
      size_t from = SIZE_MAX;
      int32_t id = -1;
    };
    std::vector<Step> steps(word.size() + 1);
    size_t reached = 0;
    for (size_t at = 0, width = 0; at < word.size(); at += width) {
      width = DecodeUtf8(word.substr(at, 4)).length;
      bool whole_char = false;
      if (!pipeline_ && std::abs(steps[at].score) > kFarFromZero) {
        const Number sum = steps[at].score;
        steps[at].score = 0;
        for (size_t i = at + 1; i <= reached; ++i) {
          if (steps[i].from != SIZE_MAX) steps[i].score -= sum;
        }
      }
      const Number here = steps[at].score;
      const auto reach = [&](size_t length, int32_t id, Number sum) {
        Step& step = steps[at + length];
        reached = std::max(reached, at + length);
        if (step.from == SIZE_MAX || sum > step.score) step = {sum, at, id};
      };
      pieces_.Prefixes(word.substr(at), [&](size_t length, int32_t id) {
        // A user-defined piece beats every way of putting it together.
        const Number own = IsFrozen(id)
                               ? static_cast<Number>(0.1 * (static_cast<double>(length) - 1))
                               : scores_[static_cast<size_t>(id)];
        reach(length, id, own + here);
        whole_char = whole_char || length == width;
      });
      if (!whole_char) reach(width, -1, unknown_score_ + here);
    }
    std::vector<size_t> ends;
    for (size_t end = word.size(); end > 0; end = steps[end].from) ends.push_back(end);
    bool unknown_before = false;
    for (size_t i = ends.size(); i-- > 0;) {
      const Step& step = steps[ends[i]];
      const bool unknown = step.id < 0 || step.id == vocabulary_.unknown;
      if (!unknown) {
        out.push_back(step.id);
      } else if (byte_fallback_) {
        for (size_t at = step.from; at < ends[i]; ++at)
          out.push_back(bytes_[static_cast<unsigned char>(word[at])]);
      } else if (!unknown_before) {
        out.push_back(vocabulary_.unknown);
      }
      unknown_before = unknown;
    }
  }

  bool IsFrozen(int32_t id) const {
    bool found = false;
    if (!frozen_.empty()) {
      frozen_.Prefixes(Text(id), [&](size_t, int32_t other) { found = found || other == id; });
    }
    return found;
  }

  bool pipeline_ = false, byte_fallback_ = false;
  std::vector<Number> scores_;
  SpmNormalizer normalizer_;
  std::unique_ptr<PreTokenizer> words_;
  ByteTrie pieces_, frozen_;
  TokenTable table_;
  std::array<int32_t, 256> bytes_;
  Number unknown_score_ = 0;
};

template <typename Number>
absl::StatusOr<std::unique_ptr<Tokenizer>> Make(const Metadata& metadata, GgufVocabulary vocabulary,
                                                bool pipeline) {
  auto tokenizer = std::make_unique<GgufUnigram<Number>>();
  SMELT_RETURN_IF_ERROR(tokenizer->Setup(metadata, std::move(vocabulary), pipeline));
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeGgufUnigram(const Metadata& metadata,
                                                           GgufVocabulary vocabulary) {
  SMELT_ASSIGN_OR_RETURN(const std::string source,
                         ReadOwn<std::string>(metadata, "smelt.tokenizer.source", "sentencepiece"));
  if (source == "pipeline") return Make<double>(metadata, std::move(vocabulary), true);
  return Make<float>(metadata, std::move(vocabulary), false);
}

}  // namespace smelt
