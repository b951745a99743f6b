#include "lib/text/published/tokenizer_json.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <unordered_map>
#include <utility>

#include "lib/base/status.h"
#include "lib/text/components/normalizer.h"

namespace smelt {
namespace {

// Builds JsonValue trees from events.
class TreeBuilder {
 public:
  void Add(JsonValue value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return;
    }
    Frame& top = stack_.back();
    if (top.is_object) {
      top.object.emplace_back(std::move(top.key), std::move(value));
    } else {
      top.array.push_back(std::move(value));
    }
  }
  void Open(bool is_object) { stack_.emplace_back().is_object = is_object; }
  void Key(std::string key) { stack_.back().key = std::move(key); }
  void Close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    if (frame.is_object) {
      Add(JsonValue(std::move(frame.object)));
    } else {
      Add(JsonValue(std::move(frame.array)));
    }
  }
  JsonValue Take() { return std::move(root_); }

 private:
  struct Frame {
    bool is_object = false;
    std::string key;
    JsonValue::Object object;
    JsonValue::Array array;
  };
  std::vector<Frame> stack_;
  JsonValue root_;
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
    const size_t space = text.find(' ');
    const bool one_space =
        space != std::string_view::npos && text.find(' ', space + 1) == std::string_view::npos;
    if (!one_space || space == 0 || space + 1 == text.size()) {
      return Error(ErrorCode::kInvalidInput, name_, ": merge ", merges_.size(), " \"",
                   Escape(text, 60), "\" is not two parts with one space between");
    }
    SMELT_RETURN_IF_ERROR(Form(false));
    merges_.Add(text.substr(0, space), text.substr(space + 1));
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
  Handler(TokenizerJson& out, std::string_view name, size_t size, bool vocab_only)
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
      tree_.Key(key_);
    }
    return absl::OkStatus();
  }
  absl::Status StartObject() override {
    ++depth_;
    if (place_ != Place::kTree) return BadPlace();
    if (vocab_only_ || AtModel("vocab")) return Enter(Place::kVocabObject);
    if (AtModel("merges")) return BadPlace();
    tree_.Open(true);
    return absl::OkStatus();
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
    tree_.Open(false);
    return absl::OkStatus();
  }
  absl::Status EndObject() override { return End(); }
  absl::Status EndArray() override {
    if (depth_ == place_depth_ + 1) {
      --depth_;
      if (place_ == Place::kMerges) return merges_.Pair(parts_);
      if (!have_text_ || !have_score_) return vocab_.BadEntry();
      return vocab_.Scored(text_, score_);
    }
    return End();
  }
  JsonValue TakeTree() { return tree_.Take(); }

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
  absl::Status End() {
    if (place_ == Place::kTree) {
      tree_.Close();
    } else if (depth_ == place_depth_) {
      place_ = Place::kTree;
      place_depth_ = -2;
      if (!vocab_only_) tree_.Add(JsonValue());  // its content lies in the tables
    }
    --depth_;
    return absl::OkStatus();
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
    tree_.Add(std::move(value));
    return absl::OkStatus();
  }

  TokenizerJson& out_;
  std::string_view name_;
  VocabReader vocab_;
  MergeReader merges_;
  bool vocab_only_;
  TreeBuilder tree_;
  Place place_ = Place::kTree;
  int depth_ = 0, place_depth_ = -2;
  std::string path_[2], key_, text_;
  std::vector<std::string> parts_;
  bool have_text_ = false, have_score_ = false;
  double score_ = 0;
};

absl::Status ReadAdded(TokenizerJson& out, std::string_view name, size_t id_limit) {
  const JsonValue* list = out.rest.FindNonNull("added_tokens");
  if (list == nullptr) return absl::OkStatus();
  std::unordered_map<int32_t, size_t> by_id;
  auto next = static_cast<int32_t>(out.tokens.count());
  for (const JsonValue& item : *list->as_array()) {
    SMELT_ASSIGN_OR_RETURN(AddedToken token, ParseAddedToken(item, name));
    const JsonValue* id = item.FindNonNull("id");
    const std::optional<int64_t> value = id == nullptr ? std::nullopt : id->as_int();
    if (!value || *value < 0 || static_cast<uint64_t>(*value) >= id_limit) {
      return Error(ErrorCode::kInvalidInput, name, ": added token \"", Escape(token.content, 60),
                   "\" has no id in the range of a vocabulary");
    }
    token.id = static_cast<int32_t>(*value);
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

// The type of the model; where the file does not say it, the library takes the first whose members
// are there.
absl::StatusOr<ModelKind> KindOf(const TokenizerJson& json, std::string_view name) {
  const JsonValue& model = *json.model();
  const JsonValue* type = model.Find("type");
  if (type == nullptr) {
    const auto has = [&](std::string_view key) { return model.FindNonNull(key) != nullptr; };
    if (!json.scores.empty()) return ModelKind::kUnigram;
    if (json.has_merges) return ModelKind::kBpe;
    if (has("unk_token") && has("continuing_subword_prefix") && has("max_input_chars_per_word"))
      return ModelKind::kWordPiece;
    if (has("unk_token")) return ModelKind::kWordLevel;
    return Error(ErrorCode::kInvalidInput, name,
                 ": the model has no \"type\", and its members are those of no model");
  }
  for (const ModelKind kind :
       {ModelKind::kBpe, ModelKind::kUnigram, ModelKind::kWordPiece, ModelKind::kWordLevel}) {
    if (type->is_string() && *type->as_string() == NameOf(kind)) return kind;
  }
  return Error(ErrorCode::kUnsupported, name, ": the model type ", Escape(type->ToText(), 40),
               " is not known (BPE, Unigram, WordPiece, WordLevel are)");
}

}  // namespace

absl::StatusOr<AddedToken> ParseAddedToken(const JsonValue& json, std::string_view name) {
  AddedToken token;
  SMELT_RETURN_IF_ERROR(CheckAddedToken(json, name));
  const JsonValue* content = json.Find("content");
  if (content == nullptr)
    return Error(ErrorCode::kInvalidInput, name, ": an added token has no text \"content\"");
  token.content = *content->as_string();
  token.single_word = FlagOf(json, "single_word", false);
  token.lstrip = FlagOf(json, "lstrip", false);
  token.rstrip = FlagOf(json, "rstrip", false);
  token.special = FlagOf(json, "special", false);
  token.normalized = FlagOf(json, "normalized", !token.special);
  return token;
}

absl::StatusOr<TokenizerJson> ParseTokenizerJson(std::string_view text, std::string_view name) {
  TokenizerJson out;
  Handler handler(out, name, text.size(), false);
  SMELT_RETURN_IF_ERROR(ParseJson(text, name, handler));
  out.rest = handler.TakeTree();
  if (!out.rest.is_object() || out.model() == nullptr || !out.model()->is_object()) {
    return Error(ErrorCode::kInvalidInput, name,
                 ": there is no object \"model\", so this is no tokenizer.json");
  }
  if (!out.has_vocab) return Error(ErrorCode::kInvalidInput, name, ": the model has no vocab");
  const JsonValue* version = out.rest.Find("version");
  if (version != nullptr && (!version->is_string() || *version->as_string() != "1.0")) {
    return Error(ErrorCode::kUnsupported, name, ": \"version\" is ", Escape(version->ToText(), 40),
                 "; 1.0 is supported");
  }
  SMELT_ASSIGN_OR_RETURN(out.kind, KindOf(out, name));
  SMELT_RETURN_IF_ERROR(CheckMembers(out.rest, out.kind, name));
  SMELT_RETURN_IF_ERROR(ReadAdded(out, name, std::max<size_t>(text.size(), 1 << 17)));
  return out;
}

absl::StatusOr<TokenTable> ParseVocabJson(std::string_view text, std::string_view name) {
  TokenizerJson out;
  Handler handler(out, name, text.size(), true);
  SMELT_RETURN_IF_ERROR(ParseJson(text, name, handler));
  if (out.tokens.count() == 0)
    return Error(ErrorCode::kInvalidInput, name, ": the vocabulary is empty");
  return std::move(out.tokens);
}

}  // namespace smelt
