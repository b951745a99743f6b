// Unigram language model: the segmentation with the best sum of log probabilities (Kudo 2018,
// arXiv:1804.10959).
#include <algorithm>
#include <cmath>
#include <utility>

#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/text/models/model.h"

namespace smelt {
namespace {

constexpr double kUnknownPenalty = 10.0;

class Unigram : public Model {
 public:
  Unigram(TokenTable tokens, std::vector<double> scores, UnigramOptions options)
      : scores_(std::move(scores)), options_(options) {
    tokens_ = std::move(tokens);
    bytes_ = ByteTokens(tokens_);
    double lowest = INFINITY;
    for (size_t id = 0; id < scores_.size(); ++id) {
      lowest = std::min(lowest, scores_[id]);
      trie_.Insert(tokens_.Text(static_cast<int32_t>(id)), static_cast<int32_t>(id));
    }
    unknown_score_ = lowest - kUnknownPenalty;
  }

  absl::Status Encode(std::string_view word, std::vector<int32_t>& out) const override {
    struct Node {
      double score = 0;
      int64_t begin = -1;
      int32_t id = -1;
    };
    std::vector<Node> best(word.size() + 1);
    for (size_t at = 0; at < word.size();) {
      const size_t char_length = DecodeUtf8(word.substr(at, 4)).length;
      const double here = best[at].score;
      bool single = false;
      const auto offer = [&](size_t length, int32_t id, double score) {
        Node& node = best[at + length];
        if (node.begin < 0 || score > node.score) node = {score, static_cast<int64_t>(at), id};
      };
      trie_.Prefixes(word.substr(at), [&](size_t length, int32_t id) {
        offer(length, id, scores_[static_cast<size_t>(id)] + here);
        single = single || length == char_length;
      });
      if (!single) {
        if (options_.unk_id < 0)
          return Error(ErrorCode::kInvalidInput,
                       "a character is not in the vocabulary, and the Unigram model has no unk_id");
        offer(char_length, options_.unk_id, unknown_score_ + here);
      }
      at += char_length;
    }
    // Backwards, neighbouring unknowns as one.
    std::vector<std::pair<size_t, size_t>> parts;
    bool unknown_before = false;
    for (size_t end = word.size(); end > 0;) {
      const Node& node = best[end];
      const auto begin = static_cast<size_t>(node.begin);
      const bool unknown = options_.fuse_unk && node.id == options_.unk_id;
      if (unknown && unknown_before) {
        parts.back().first = begin;
      } else {
        parts.emplace_back(begin, end);
      }
      unknown_before = unknown;
      end = begin;
    }
    for (size_t i = parts.size(); i-- > 0;)
      Put(word.substr(parts[i].first, parts[i].second - parts[i].first), out);
    return absl::OkStatus();
  }

 private:
  void Put(std::string_view part, std::vector<int32_t>& out) const {
    const int32_t id = tokens_.Find(part);
    const auto missing = [&](char b) { return bytes_[static_cast<unsigned char>(b)] < 0; };
    if (id >= 0) {
      out.push_back(id);
    } else if (options_.byte_fallback && std::none_of(part.begin(), part.end(), missing)) {
      for (const char b : part) out.push_back(bytes_[static_cast<unsigned char>(b)]);
    } else {
      out.push_back(options_.unk_id);
    }
  }

  std::vector<double> scores_;
  UnigramOptions options_;
  ByteTrie trie_;
  std::array<int32_t, 256> bytes_;
  double unknown_score_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> MakeUnigram(TokenTable tokens, std::vector<double> scores,
                                                   UnigramOptions options) {
  for (size_t id = 0; id < scores.size(); ++id) {
    if (!std::isfinite(scores[id])) {
      return Error(ErrorCode::kInvalidInput, "the score of token ", id, " (\"",
                   Escape(tokens.Text(static_cast<int32_t>(id)), 40), "\") is not finite");
    }
  }
  if (options.unk_id >= static_cast<int64_t>(scores.size())) {
    return Error(ErrorCode::kInvalidInput, "unk_id ", options.unk_id,
                 " lies outside the vocabulary of ", scores.size());
  }
  return std::unique_ptr<Model>(
      std::make_unique<Unigram>(std::move(tokens), std::move(scores), options));
}

}  // namespace smelt
