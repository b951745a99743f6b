#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <unordered_map>
#include <utility>

#include "lib/base/json_tree.h"
#include "lib/base/status.h"
#include "lib/text/published/readers.h"
#include "lib/text/spec/component_json.h"

namespace smelt {
namespace {

// What the events leave.
struct Document {
  JsonValue rest;              // everything but model.vocab, model.merges
  TokenTable tokens;           // model.vocab
  std::vector<double> scores;  // by id, where model.vocab is a list of [text, score] (Unigram)
  MergeList merges;            // model.merges
  bool has_vocab = false;
  bool has_merges = false;  // model.merges is a list, of no merges perhaps
};

// {text: id}, or [[text, score], ...].
class VocabReader {
 public:
  VocabReader(TokenTable& tokens, std::vector<double>& scores, std::string_view name,
              size_t id_limit)
      : tokens_(tokens), scores_(scores), name_(name), id_limit_(id_limit) {}

  absl::Status Token(std::string_view text, int64_t id) {
    if (id < 0 || static_cast<uint64_t>(id) >= id_limit_) {
      return Error(ErrorCode::kInvalidInput, name_, ": token \"", Escape(text, 60),
                   "\" has the id ", id, ", which is not in the range of a vocabulary");
    }
    switch (tokens_.Add(static_cast<int32_t>(id), text)) {
      case TokenTable::Added::kOk:
        return absl::OkStatus();
      case TokenTable::Added::kTextTaken:
        return Error(ErrorCode::kInvalidInput, name_, ": duplicate token \"", Escape(text, 60),
                     "\" in the vocabulary");
      case TokenTable::Added::kIdTaken:
        break;
    }
    return Error(ErrorCode::kInvalidInput, name_, ": tokens \"",
                 Escape(tokens_.Text(static_cast<int32_t>(id)), 60), "\" and \"", Escape(text, 60),
                 "\" have the same id ", id);
  }
  absl::Status NoId(std::string_view text) const {
    return Error(ErrorCode::kInvalidInput, name_, ": the id of token \"", Escape(text, 60),
                 "\" in the vocab is not an integer");
  }
  absl::Status Scored(std::string_view text, double score) {
    SMELT_RETURN_IF_ERROR(Token(text, static_cast<int64_t>(scores_.size())));
    scores_.push_back(score);
    return absl::OkStatus();
  }
  absl::Status BadEntry() const {
    return Error(ErrorCode::kInvalidInput, name_, ": entry ", scores_.size(),
                 " of the vocab list is not a pair of text and score");
  }

 private:
  TokenTable& tokens_;
  std::vector<double>& scores_;
  std::string_view name_;
  size_t id_limit_;
};

// Merges: "a b" or ["a", "b"], one form for the whole list.
class MergeReader {
 public:
  MergeReader(MergeList& merges, std::string_view name) : merges_(merges), name_(name) {}

  absl::Status Text(std::string_view text) {
    if (text.starts_with("#version")) return absl::OkStatus();  // the first line of a merges.txt
    const auto parts = MergeParts(text);
    if (!parts) {
      return Error(ErrorCode::kInvalidInput, name_, ": merge ", merges_.size(), " \"",
                   Escape(text, 60), "\" is not two parts with one space between");
    }
    SMELT_RETURN_IF_ERROR(Form(false));
    merges_.Add(parts->first, parts->second);
    return absl::OkStatus();
  }
  absl::Status Pair(const std::vector<std::string>& parts) {
    if (parts.size() != 2 || parts[0].empty() || parts[1].empty()) {
      return Error(ErrorCode::kInvalidInput, name_, ": merge ", merges_.size(),
                   " is not a pair of texts");
    }
    SMELT_RETURN_IF_ERROR(Form(true));
    merges_.Add(parts[0], parts[1]);
    return absl::OkStatus();
  }
  absl::Status Bad() const {
    return Error(ErrorCode::kInvalidInput, name_, ": merge ", merges_.size(),
                 " is neither a text nor a pair of texts");
  }

 private:
  absl::Status Form(bool pairs) {
    if (pairs_.value_or(pairs) != pairs) {
      return Error(ErrorCode::kInvalidInput, name_, ": merge ", merges_.size(),
                   " has another form than those before (texts and pairs in one list)");
    }
    pairs_ = pairs;
    return absl::OkStatus();
  }
  MergeList& merges_;
  std::string_view name_;
  std::optional<bool> pairs_;
};

// A number as the library reads it (serde_json): its digits as an integer, as far as 64 bits hold
// them, times or by a power of ten, so that the last bit can be another than the nearest double's.
// Sums of scores that tie for one reader would not for the other.
double ReadAsLibrary(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  const size_t e = std::min(text.find_first_of("eE"), text.size());
  uint64_t digits = 0;
  int64_t exponent = 0;
  bool fraction = false, full = false;
  for (const char c : text.substr(0, e)) {
    if (c == '.') {
      fraction = true;
      continue;
    }
    const auto digit = static_cast<uint64_t>(c - '0');
    full = full || digits > (UINT64_MAX - digit) / 10;
    if (!full) digits = digits * 10 + digit;
    if (full != fraction) exponent += full ? 1 : -1;
  }
  if (e < text.size()) {
    std::string_view power = text.substr(e + 1);
    if (power.starts_with('+')) power.remove_prefix(1);
    int32_t value = 0;
    if (std::from_chars(power.data(), power.data() + power.size(), value).ec != std::errc())
      value = power.starts_with('-') ? -100000 : 100000;
    exponent += value;
  }
  constexpr int64_t kLargest = 308;
  auto number = static_cast<double>(digits);
  for (; exponent < -kLargest && number != 0; exponent += kLargest) number /= 1e308;
  double power = 1;  // the nearest double of it, which pow does not always give
  const std::string text_of_power = Cat("1e", std::min(std::abs(exponent), kLargest));
  std::from_chars(text_of_power.data(), text_of_power.data() + text_of_power.size(), power);
  if (number != 0) number = exponent < 0 ? number / power : number * power;
  return negative ? -number : number;
}

class Handler : public JsonHandler {
 public:
  Handler(Document& out, std::string_view name, size_t size, bool vocab_only)
      : out_(out),
        name_(name),
        vocab_(out.tokens, out.scores, name, std::max<size_t>(size, 1 << 17)),
        merges_(out.merges, name),
        vocab_only_(vocab_only) {}

  absl::Status Null() override { return Scalar(JsonValue()); }
  absl::Status Bool(bool value) override { return Scalar(JsonValue(value)); }
  absl::Status Int(int64_t value) override {
    if (place_ == Place::kVocabObject && depth_ == place_depth_) return vocab_.Token(key_, value);
    if (place_ == Place::kVocabList) return Score(static_cast<double>(value));
    return Scalar(JsonValue(value));
  }
  absl::Status Uint(uint64_t value) override { return Scalar(JsonValue(value)); }
  absl::Status Double(double value, std::string_view text) override {
    if (place_ == Place::kVocabList) return Score(ReadAsLibrary(text));
    return Scalar(JsonValue(value));
  }
  absl::Status String(std::string&& value) override {
    if (place_ == Place::kMerges && depth_ == place_depth_) return merges_.Text(value);
    if (place_ == Place::kMerges) {
      parts_.push_back(std::move(value));
      return absl::OkStatus();
    }
    if (place_ == Place::kVocabList && depth_ == place_depth_ + 1 && !have_text_) {
      text_ = std::move(value);
      have_text_ = true;
      return absl::OkStatus();
    }
    return Scalar(JsonValue(std::move(value)));
  }
  absl::Status Key(std::string&& key) override {
    key_ = std::move(key);
    if (place_ == Place::kTree) {
      if (depth_ <= 2) path_[depth_ - 1] = key_;
      return tree_.Key(std::string(key_));
    }
    return absl::OkStatus();
  }
  absl::Status StartObject() override {
    ++depth_;
    if (place_ != Place::kTree) return BadPlace();
    if (vocab_only_ || AtModel("vocab")) return Enter(Place::kVocabObject);
    if (AtModel("merges")) return BadPlace();
    return tree_.StartObject();
  }
  absl::Status StartArray() override {
    ++depth_;
    if (place_ == Place::kMerges || place_ == Place::kVocabList) {
      if (depth_ != place_depth_ + 1) return BadPlace();
      parts_.clear();
      have_text_ = false;
      have_score_ = false;
      return absl::OkStatus();
    }
    if (place_ != Place::kTree) return BadPlace();
    if (vocab_only_)
      return Error(ErrorCode::kInvalidInput, name_,
                   ": the vocab is not an object of texts and ids");
    if (AtModel("vocab")) return Enter(Place::kVocabList);
    if (AtModel("merges")) return Enter(Place::kMerges);
    return tree_.StartArray();
  }
  absl::Status EndObject() override { return End(/*object=*/true); }
  absl::Status EndArray() override {
    if (depth_ == place_depth_ + 1) {
      --depth_;
      if (place_ == Place::kMerges) return merges_.Pair(parts_);
      if (!have_text_ || !have_score_) return vocab_.BadEntry();
      return vocab_.Scored(text_, score_);
    }
    return End(/*object=*/false);
  }
  JsonValue TakeTree() { return tree_.TakeRoot(); }

 private:
  enum class Place { kTree, kVocabObject, kVocabList, kMerges };

  bool AtModel(std::string_view key) const {
    return depth_ == 3 && path_[0] == "model" && path_[1] == key;
  }
  absl::Status Enter(Place place) {
    place_ = place;
    place_depth_ = depth_;
    (place == Place::kMerges ? out_.has_merges : out_.has_vocab) = true;
    return absl::OkStatus();
  }
  absl::Status End(bool object) {
    --depth_;
    if (place_ == Place::kTree) return object ? tree_.EndObject() : tree_.EndArray();
    if (depth_ + 1 != place_depth_) return absl::OkStatus();
    place_ = Place::kTree;
    place_depth_ = -2;
    return vocab_only_ ? absl::OkStatus() : tree_.Null();  // its content lies in the tables
  }
  absl::Status Score(double value) {
    if (!have_text_ || have_score_) return vocab_.BadEntry();
    score_ = value;
    have_score_ = true;
    return absl::OkStatus();
  }
  absl::Status BadPlace() const {
    if (place_ == Place::kMerges) return merges_.Bad();
    if (place_ == Place::kVocabObject) return vocab_.NoId(key_);
    if (place_ == Place::kVocabList) return vocab_.BadEntry();
    return Error(ErrorCode::kInvalidInput, name_, ": \"", path_[0], ".", path_[1],
                 "\" has the wrong type");
  }
  absl::Status Scalar(JsonValue value) {
    if (place_ != Place::kTree || vocab_only_) return BadPlace();
    return tree_.Add(std::move(value));
  }

  Document& out_;
  std::string_view name_;
  VocabReader vocab_;
  MergeReader merges_;
  bool vocab_only_;
  JsonTree tree_;
  Place place_ = Place::kTree;
  int depth_ = 0, place_depth_ = -2;
  std::string path_[2], key_, text_;
  std::vector<std::string> parts_;
  bool have_text_ = false, have_score_ = false;
  double score_ = 0;
};

absl::Status ReadAddedTokens(const JsonValue& rest, std::string_view name, size_t id_limit,
                             PipelineSpec& out) {
  const JsonValue* list = rest.Find("added_tokens");
  if (list == nullptr) return absl::OkStatus();
  if (!list->is_array())
    return Error(ErrorCode::kInvalidInput, name, ": \"added_tokens\" is not a list of objects");
  std::unordered_map<int32_t, size_t> by_id;
  auto next = static_cast<int32_t>(out.tokens.count());
  for (const JsonValue& item : *list->as_array()) {
    SMELT_ASSIGN_OR_RETURN(AddedToken token, ReadAddedToken(item, name, Members::kAll));
    if (static_cast<uint64_t>(token.id) >= id_limit) {
      return Error(ErrorCode::kInvalidInput, name, ": added token \"", Escape(token.content, 60),
                   "\" has no id in the range of a vocabulary");
    }
    const int32_t known = out.tokens.Find(token.content);
    if (known >= 0 && known != token.id) {
      return Error(ErrorCode::kInvalidInput, name, ": added token \"", Escape(token.content, 60),
                   "\" has id ", token.id, ", but the vocabulary gives it ", known);
    }
    if (known < 0 && out.tokens.Has(token.id)) {
      return Error(ErrorCode::kInvalidInput, name, ": added token \"", Escape(token.content, 60),
                   "\" takes id ", token.id, " of the token \"",
                   Escape(out.tokens.Text(token.id), 60), "\"");
    }
    if (token.content.empty()) continue;
    // The library does not look at the ids of new tokens: it numbers them.
    const bool is_new = known < 0 && by_id.find(token.id) == by_id.end();
    if (is_new && token.id != next) {
      return Error(ErrorCode::kInvalidInput, name, ": added token \"", Escape(token.content, 60),
                   "\" has id ", token.id,
                   ", but the tokenizers library numbers it after the vocabulary's tokens and the "
                   "added ones before it, ",
                   next, ", so that one of the two ids is wrong");
    }
    next = std::max(next, token.id + 1);
    const auto [other, fresh] = by_id.try_emplace(token.id, out.added.size());
    if (!fresh && out.added[other->second].content != token.content) {
      return Error(ErrorCode::kInvalidInput, name, ": added tokens \"",
                   Escape(out.added[other->second].content, 60), "\" and \"",
                   Escape(token.content, 60), "\" have the same id ", token.id);
    }
    if (fresh) out.added.push_back(std::move(token));
  }
  return absl::OkStatus();
}

// The kind of the model; where the file does not say it, the library takes the first whose members
// are there.
absl::StatusOr<TokenizerModel> KindOf(const Document& document, const JsonValue& model,
                                      std::string_view name) {
  const JsonValue* type = model.Find("type");
  if (type == nullptr) {
    const auto has = [&](std::string_view key) { return model.FindNonNull(key) != nullptr; };
    if (!document.scores.empty()) return UnigramModel();
    if (document.has_merges) return BpeModel();
    if (has("unk_token") && has("continuing_subword_prefix") && has("max_input_chars_per_word"))
      return WordPieceModel();
    if (has("unk_token")) return WordLevelModel();
    return Error(ErrorCode::kInvalidInput, name,
                 ": the model has no \"type\", and its members are those of no model");
  }
  const std::string said = type->is_string() ? *type->as_string() : std::string();
  if (said == "BPE") return BpeModel();
  if (said == "Unigram") return UnigramModel();
  if (said == "WordPiece") return WordPieceModel();
  if (said == "WordLevel") return WordLevelModel();
  return Error(ErrorCode::kUnsupported, name, ": the model type ", Escape(type->ToText(), 40),
               " is not known (BPE, Unigram, WordPiece, WordLevel are)");
}

// Puts what lies in the tables into the model.
absl::Status FillModel(Document& document, std::string_view name, TokenizerModel& model) {
  if (document.tokens.count() == 0)
    return Error(ErrorCode::kInvalidInput, name, ": the vocab of the model has no tokens");
  if (BpeModel* bpe = std::get_if<BpeModel>(&model); bpe != nullptr) {
    if (!document.has_merges) {
      return Error(ErrorCode::kInvalidInput, name,
                   ": model.merges is no list; a BPE model needs one, [] if it merges nothing");
    }
    bpe->merges = std::move(document.merges);
  }
  if (UnigramModel* unigram = std::get_if<UnigramModel>(&model); unigram != nullptr) {
    if (document.scores.empty()) {
      return Error(ErrorCode::kInvalidInput, name,
                   ": the Unigram model's vocab is not a list of texts and scores");
    }
    unigram->scores = std::move(document.scores);
    unigram->unknown_score =
        *std::min_element(unigram->scores.begin(), unigram->scores.end()) - kUnknownPenalty;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PipelineSpec> ReadTokenizerJson(std::string_view text, std::string_view name) {
  Document document;
  Handler handler(document, name, text.size(), false);
  SMELT_RETURN_IF_ERROR(ParseJson(text, name, handler));
  const JsonValue rest = handler.TakeTree();
  const JsonValue* model = rest.Find("model");
  if (model == nullptr || !model->is_object()) {
    return Error(ErrorCode::kInvalidInput, name,
                 ": there is no object \"model\", so this is no tokenizer.json");
  }
  if (!document.has_vocab) return Error(ErrorCode::kInvalidInput, name, ": the model has no vocab");
  const JsonValue* version = rest.Find("version");
  if (version != nullptr && (!version->is_string() || *version->as_string() != "1.0")) {
    return Error(ErrorCode::kUnsupported, name, ": \"version\" is ", Escape(version->ToText(), 40),
                 "; 1.0 is supported");
  }
  PipelineSpec out;
  SMELT_ASSIGN_OR_RETURN(const TokenizerModel kind, KindOf(document, *model, name));
  SMELT_ASSIGN_OR_RETURN(out.normalizers, ReadNormalizers(rest.Find("normalizer"), name));
  SMELT_ASSIGN_OR_RETURN(out.pre_tokenizers, ReadPreTokenizers(rest.Find("pre_tokenizer"), name));
  SMELT_ASSIGN_OR_RETURN(out.post_processors,
                         ReadPostProcessors(rest.Find("post_processor"), name));
  SMELT_ASSIGN_OR_RETURN(out.decoders, ReadDecoders(rest.Find("decoder"), name));
  SMELT_ASSIGN_OR_RETURN(out.model, ReadModelMembers(*model, kind, name));
  SMELT_RETURN_IF_ERROR(FillModel(document, name, out.model));
  out.tokens = std::move(document.tokens);
  SMELT_RETURN_IF_ERROR(ReadAddedTokens(rest, name, std::max<size_t>(text.size(), 1 << 17), out));
  return out;
}

absl::StatusOr<TokenTable> ReadVocabJson(std::string_view text, std::string_view name) {
  Document document;
  Handler handler(document, name, text.size(), true);
  SMELT_RETURN_IF_ERROR(ParseJson(text, name, handler));
  if (document.tokens.count() == 0)
    return Error(ErrorCode::kInvalidInput, name, ": the vocabulary is empty");
  return std::move(document.tokens);
}

}  // namespace smelt
