#include "lib/jobs/evaluation_texts.h"

#include <algorithm>
#include <cmath>

#include "lib/base/status.h"
#include "lib/jobs/text_ids.h"

namespace smelt {
namespace {

/// Bytes of the scored tokens of a text.
uint64_t ScoredBytes(const Tokenizer& tokenizer, const std::vector<int32_t>& ids,
                     const Chunks& chunks) {
  uint64_t bytes = 0;
  for (uint64_t c = 0; c < chunks.count; ++c) {
    const auto begin = ids.begin() + static_cast<std::ptrdiff_t>(c * chunks.context);
    const auto at = [&](uint64_t n) { return begin + static_cast<std::ptrdiff_t>(n); };
    const size_t whole = tokenizer.Bytes({begin, at(chunks.context)}).size();
    bytes += whole - std::min(whole, tokenizer.Bytes({begin, at(chunks.first_scored)}).size());
  }
  return bytes;
}

/// A file as messages call it.
std::string Called(const std::string& name) {
  return name == "-" ? "standard input" : Escape(name);
}

std::string Tokens(uint64_t count) { return Cat(count, count == 1 ? " token" : " tokens"); }

std::optional<double> BitsPerByte(double mean_nll, uint64_t tokens, uint64_t bytes) {
  if (bytes == 0) return std::nullopt;
  return mean_nll * static_cast<double>(tokens) / static_cast<double>(bytes) / std::log(2.0);
}

}  // namespace

absl::StatusOr<std::vector<NamedText>> ReadEvaluationTexts(const std::vector<std::string>& files,
                                                           const Observer& observer) {
  if (std::count(files.begin(), files.end(), "-") > 1)
    return Error(ErrorCode::kUsage, "standard input (-) can be read as one text only");
  std::vector<NamedText> out;
  for (const std::string& file : files) {
    SMELT_ASSIGN_OR_RETURN(std::string text, ReadEvaluationText(file, observer));
    out.push_back({file, std::move(text)});
  }
  return out;
}

void EvaluationTexts::SetBos(ScoreOptions& options) const {
  if (tokenizer == nullptr) return;
  options.add_bos = tokenizer->adds_bos();
  options.bos = tokenizer->bos();
}

absl::StatusOr<EvaluationTexts> Encode(const std::vector<NamedText>& texts,
                                       std::unique_ptr<Tokenizer> tokenizer) {
  EvaluationTexts out;
  for (const NamedText& text : texts) {
    SMELT_ASSIGN_OR_RETURN(std::vector<int32_t> ids, EvaluationIds(*tokenizer, text.text));
    out.names.push_back(text.name);
    out.ids.push_back(std::move(ids));
  }
  out.tokenizer = std::move(tokenizer);
  return out;
}

absl::Status DescribeShortTexts(const EvaluationTexts& texts, const ScoreOptions& options,
                                const Observer& observer) {
  size_t shorter = 0, scored = 0, last = 0;
  for (size_t i = 0; i < texts.ids.size(); ++i) {
    const uint64_t tokens = texts.ids[i].size();
    if (tokens < 2) continue;
    ++scored;
    if (tokens / 2 >= options.context) continue;
    ++shorter;
    last = i;
  }
  if (scored == 0) {
    return Error(ErrorCode::kInvalidInput,
                 texts.names.empty() ? "the text" : Called(texts.names[0]),
                 texts.names.size() > 1 ? " and the other texts have" : " has",
                 " fewer than 2 tokens, so that there is nothing to predict; give a longer text");
  }
  for (size_t i = 0; i < texts.ids.size(); ++i) {
    if (texts.ids[i].size() < 2)
      observer.Warn(Cat(Called(texts.names[i]), " has ", Tokens(texts.ids[i].size()),
                        ", so that there is nothing to predict: it is not in the figures"));
  }
  if (shorter == 1) {
    const Chunks c = ChunksOf(texts.ids[last].size(), options);
    observer.Note(Cat(Called(texts.names[last]), " has ", Tokens(texts.ids[last].size()),
                      ", fewer than two contexts of ", options.context, ": one window of ",
                      c.context, " is evaluated, and its last ", c.context - c.first_scored,
                      " tokens are scored"));
  } else if (shorter > 1) {
    observer.Note(Cat(shorter, " texts have fewer tokens than two contexts of ", options.context,
                      ": one window of each is evaluated, and its second half scored"));
  }
  return absl::OkStatus();
}

void AddTexts(const EvaluationTexts& texts, const ScoreOptions& options, const ScoreResult& score,
              EvaluateResult& result) {
  result.context = 0;
  for (size_t i = 0; i < texts.ids.size(); ++i) {
    const TextScore& from = score.texts[i];
    TextResult& to = result.texts.emplace_back();
    to.text = texts.names[i];
    to.tokens = texts.ids[i].size();
    to.context = from.context;
    to.chunks = from.chunks;
    to.tokens_scored = from.tokens_scored;
    to.perplexity = from.perplexity;
    to.perplexity_error = from.perplexity_error;
    to.mean_nll = from.mean_nll;
    if (from.reference) to.kl_mean = from.reference->kl_mean;
    if (texts.tokenizer != nullptr) {
      to.bytes_scored =
          ScoredBytes(*texts.tokenizer, texts.ids[i], ChunksOf(texts.ids[i].size(), options));
    }
    to.bits_per_byte = BitsPerByte(to.mean_nll, to.tokens_scored, to.bytes_scored);
    result.bytes_scored += to.bytes_scored;
    result.context = std::max(result.context, to.context);
  }
  result.bits_per_byte = BitsPerByte(result.mean_nll, result.tokens_scored, result.bytes_scored);
}

}  // namespace smelt
