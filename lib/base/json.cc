#include "lib/base/json.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "lib/base/cat.h"
#include "lib/base/stand_in.h"
#include "lib/base/status.h"
#include "lib/base/text_hash.h"

namespace smelt {
namespace {

// Stands for a bare NaN or Infinity, which the library's grammar does not know, on its way through
// it.
constexpr std::string_view kNanMark = "\x01NaN";
constexpr std::string_view kInfinityMark = "\x01Infinity";
constexpr std::string_view kMinusInfinityMark = "\x01-Infinity";

struct BareWord {
  std::string_view word, mark;
  double value;
};
constexpr BareWord kBareWords[] = {
    {"NaN", kNanMark, std::numeric_limits<double>::quiet_NaN()},
    {"Infinity", kInfinityMark, std::numeric_limits<double>::infinity()},
    {"-Infinity", kMinusInfinityMark, -std::numeric_limits<double>::infinity()},
};

// Replaces bare NaN and Infinity outside of strings by marked strings.
std::string MarkBareWords(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 64);
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      out.push_back(c);
      if (c == '\\' && i + 1 < text.size()) out.push_back(text[++i]);
      if (c == '"') in_string = false;
      continue;
    }
    const BareWord* found = nullptr;
    for (const BareWord& bare : kBareWords) {
      if (text.substr(i).starts_with(bare.word)) found = &bare;
    }
    if (found != nullptr) {
      out += Cat("\"\\u0001", found->word, "\"");
      i += found->word.size() - 1;
      continue;
    }
    if (c == '"') in_string = true;
    out.push_back(c);
  }
  return out;
}

// Adapts the library's events to ours and adds what it does not check.
class Adapter : public nlohmann::json_sax<nlohmann::json> {
 public:
  Adapter(std::string_view name, JsonHandler& handler, const JsonOptions& options)
      : name_(name), handler_(handler), options_(options) {}

  bool null() override { return Take(handler_.Null()); }
  bool boolean(bool value) override { return Take(handler_.Bool(value)); }
  bool number_integer(int64_t value) override { return Take(handler_.Int(value)); }
  bool number_unsigned(uint64_t value) override {
    if (value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Take(handler_.Int(static_cast<int64_t>(value)));
    }
    return Take(handler_.Uint(value));
  }
  bool number_float(double value, const std::string& text) override {
    return Take(handler_.Double(value, text));
  }
  bool string(std::string& value) override {
    if (options_.allow_nan && value.starts_with('\x01')) {
      for (const BareWord& bare : kBareWords) {
        if (value == bare.mark) return Take(handler_.Double(bare.value, bare.word));
      }
    }
    return Take(handler_.String(std::move(value)));
  }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override {
    keys_.emplace_back();
    return Enter() && Take(handler_.StartObject());
  }
  bool key(std::string& key) override {
    if (!keys_.back().insert(HashText(key)).second) {
      return Take(Error(ErrorCode::kInvalidInput, name_, ": not valid JSON for us: the key \"",
                        Escape(key), "\" stands twice in one object"));
    }
    return Take(handler_.Key(std::move(key)));
  }
  bool end_object() override {
    keys_.pop_back();
    --depth_;
    return Take(handler_.EndObject());
  }
  bool start_array(size_t) override { return Enter() && Take(handler_.StartArray()); }
  bool end_array() override {
    --depth_;
    return Take(handler_.EndArray());
  }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception& error) override {
    std::string_view text = error.what();
    if (const size_t end = text.find("] "); end != text.npos) text.remove_prefix(end + 2);
    return Take(Error(ErrorCode::kInvalidInput, name_, ": not valid JSON: ", Escape(text, 160)));
  }

  const absl::Status& status() const { return status_; }

 private:
  bool Enter() {
    if (++depth_ <= options_.max_depth) return true;
    return Take(Error(ErrorCode::kInvalidInput, name_,
                      ": not valid JSON for us: nested deeper than ", options_.max_depth,
                      " levels"));
  }
  bool Take(absl::Status status) {
    if (status.ok()) return true;
    if (status_.ok()) status_ = std::move(status);
    return false;
  }

  std::string_view name_;
  JsonHandler& handler_;
  const JsonOptions& options_;
  int depth_ = 0;
  std::vector<std::unordered_set<uint64_t>> keys_;  // hashes of the keys of each open object
  absl::Status status_;
};

}  // namespace

absl::Status ParseJson(std::string_view text, std::string_view name, JsonHandler& handler,
                       const JsonOptions& options) {
  SMELT_RETURN_IF_ERROR(RefuseStandIn(name, text.substr(0, kStandInBytes)));
  const std::string safe_name = Escape(name);
  if (text.starts_with("\xef\xbb\xbf")) {
    return Error(ErrorCode::kInvalidInput, safe_name,
                 ": not valid JSON: begins with a byte order mark");
  }
  if (text.find('\0') != text.npos) {  // the library would take it for the end of the text
    return Error(ErrorCode::kInvalidInput, safe_name, ": not valid JSON: holds a NUL byte");
  }
  Adapter adapter(safe_name, handler, options);
  bool done;
  if (options.allow_nan && (text.find("NaN") != text.npos || text.find("Infinity") != text.npos)) {
    const std::string marked = MarkBareWords(text);
    done = nlohmann::json::sax_parse(marked.begin(), marked.end(), &adapter);
  } else {
    done = nlohmann::json::sax_parse(text.begin(), text.end(), &adapter);
  }
  if (!done && adapter.status().ok())
    return Error(ErrorCode::kInvalidInput, safe_name, ": not valid JSON");
  return adapter.status();
}

std::string JsonQuote(std::string_view text) {
  return nlohmann::json(std::string(text))
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace smelt
