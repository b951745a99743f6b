#include "lib/text/chat/value_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "lib/base/cat.h"
#include "lib/text/chat/characters.h"

namespace smelt::jinja {
namespace {

std::string Hex(uint32_t value, size_t digits) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text(digits, '0');
  for (size_t i = digits; i-- > 0; value >>= 4) text[i] = kDigits[value & 15];
  return text;
}

std::string QuotedText(std::string_view text) {
  const bool single =
      text.find('\'') == std::string_view::npos || text.find('"') != std::string_view::npos;
  const char quote = single ? '\'' : '"';
  std::string out(1, quote);
  ForEachCharacter(text, [&](std::string_view character) {
    const char32_t c = DecodeUtf8(character).code_point;
    if (c == static_cast<unsigned char>(quote) || c == '\\') {
      out += '\\';
      out += character;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (IsPrintable(c)) {
      out += character;
    } else if (c < 0x100) {
      out += Cat("\\x", Hex(c, 2));
    } else if (c < 0x10000) {
      out += Cat("\\u", Hex(c, 4));
    } else {
      out += Cat("\\U", Hex(c, 8));
    }
  });
  return out + quote;
}

/// Appends representations, charging each piece.
class ReprWriter {
 public:
  ReprWriter(Budget& budget, std::string& out) : budget_(budget), out_(out) {}

  void Write(const Value& value) {
    if (value.is_string()) {
      Append(value.string()->markup ? Cat("Markup(", QuotedText(value.text()), ")")
                                    : QuotedText(value.text()));
    } else if (value.is_list()) {
      WriteList(*value.list());
    } else if (value.is_dict()) {
      Append("{");
      std::string_view separator = "";
      for (const auto& [key, item] : value.dict()->items) {
        Append(separator);
        Write(key);
        Append(": ");
        Write(item);
        separator = ", ";
      }
      Append("}");
    } else if (value.is_undefined()) {
      Append("Undefined");
    } else {
      Append(ToText(budget_, value));
    }
  }

 private:
  void WriteList(const ListObject& list) {
    if (list.kind == ListKind::kGenerator) return Append("<generator object>");
    if (list.kind == ListKind::kRange) return Append(list.label);
    const bool tuple = list.kind == ListKind::kTuple, view = list.kind == ListKind::kView;
    if (view) Append(Cat(list.label, "("));
    Append(tuple ? "(" : "[");
    std::string_view separator = "";
    for (const Value& item : list.items) {
      Append(separator);
      Write(item);
      separator = ", ";
    }
    Append(tuple ? (list.items.size() == 1 ? ",)" : ")") : view ? "])" : "]");
  }

  void Append(std::string_view text) {
    budget_.Step(1 + text.size() / 64);
    // What has been written so far counts as long as it grows.
    if (out_.size() + text.size() > checked_) {
      checked_ = 2 * (out_.size() + text.size());
      const Charge fits(budget_, checked_);
    }
    out_ += text;
  }

  Budget& budget_;
  std::string& out_;
  size_t checked_ = 0;
};

class JsonWriter {
 public:
  JsonWriter(Budget& budget, const JsonStyle& style, std::string& out)
      : budget_(budget), style_(style), out_(out) {}

  void Write(const Value& value, int level) {
    budget_.Step();
    if (value.is_string()) {
      WriteString(value.text());
    } else if (value.is_list() && value.list()->kind <= ListKind::kTuple) {
      WriteItems(value.list()->items, '[', ']', level,
                 [&](const Value& item) { Write(item, level + 1); });
    } else if (value.is_dict()) {
      WriteDict(*value.dict(), level);
    } else if (const std::optional<std::string> text = ScalarText(value)) {
      out_ += *text;
    } else {
      throw TemplateError{Cat("Object of type ", value.type_name(), " is not JSON serializable")};
    }
    if (out_.size() > checked_) {
      checked_ = 2 * out_.size();
      const Charge fits(budget_, checked_);
    }
  }

 private:
  static std::optional<std::string> ScalarText(const Value& value) {
    if (value.is_none()) return "null";
    if (value.is_bool()) return value.boolean() ? "true" : "false";
    if (value.is_integer()) return Cat(value.integer());
    if (!value.is_float()) return std::nullopt;
    if (std::isnan(value.real())) return "NaN";
    if (std::isinf(value.real())) return value.real() > 0 ? "Infinity" : "-Infinity";
    return FloatText(value.real());
  }

  void WriteDict(const DictObject& dict, int level) {
    std::vector<std::pair<std::string, const Value*>> members;
    for (const auto& [key, item] : dict.items) {
      const std::optional<std::string> name =
          key.is_string() ? std::optional(key.text()) : ScalarText(key);
      if (!name) {
        throw TemplateError{
            Cat("keys must be str, int, float, bool or None, not ", key.type_name())};
      }
      members.emplace_back(*name, &item);
    }
    if (style_.sort_keys) {
      std::ranges::stable_sort(members, {}, [](const auto& member) { return member.first; });
    }
    WriteItems(members, '{', '}', level, [&](const auto& member) {
      WriteString(member.first);
      out_ += style_.key_separator;
      Write(*member.second, level + 1);
    });
  }

  template <typename Items, typename WriteOne>
  void WriteItems(const Items& items, char open, char close, int level, const WriteOne& write) {
    out_ += open;
    bool first = true;
    for (const auto& item : items) {
      if (!first) out_ += style_.item_separator;
      first = false;
      NewLine(level + 1);
      write(item);
    }
    if (!first) NewLine(level);
    out_ += close;
  }

  void NewLine(int level) {
    if (!style_.indent) return;
    out_ += '\n';
    for (int i = 0; i < level; ++i) out_ += *style_.indent;
  }

  void WriteString(std::string_view text) {
    budget_.Step(text.size() / 64);
    out_ += '"';
    ForEachCharacter(text, [&](std::string_view character) {
      WriteCharacter(DecodeUtf8(character).code_point, character);
    });
    out_ += '"';
  }

  void WriteCharacter(char32_t c, std::string_view character) {
    constexpr std::string_view kNamed = "\"\\\n\r\t\f\b", kNames = "\"\\nrtfb";
    const size_t named = c < 0x80 ? kNamed.find(static_cast<char>(c)) : std::string_view::npos;
    if (named != std::string_view::npos) {
      out_ += '\\';
      out_ += kNames[named];
    } else if (c < 0x20 || (style_.ensure_ascii && c > 0x7e && c < 0x10000)) {
      out_ += Cat("\\u", Hex(c, 4));
    } else if (style_.ensure_ascii && c >= 0x10000) {
      out_ += Cat("\\u", Hex(0xd7c0 + (c >> 10), 4), "\\u", Hex(0xdc00 + (c & 0x3ff), 4));
    } else {
      out_ += character;
    }
  }

  Budget& budget_;
  const JsonStyle& style_;
  std::string& out_;
  size_t checked_ = 1024;
};

}  // namespace

std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char digits[64];
  const auto end =
      std::to_chars(digits, digits + sizeof(digits), value, std::chars_format::scientific).ptr;
  const std::string scientific(digits, end);
  const size_t e = scientific.find('e');
  const int exponent = std::stoi(scientific.substr(e + 1));
  if (exponent < -4 || exponent >= 16) return scientific;
  const auto fixed_end =
      std::to_chars(digits, digits + sizeof(digits), value, std::chars_format::fixed).ptr;
  std::string fixed(digits, fixed_end);
  return fixed.find('.') == std::string::npos ? fixed + ".0" : fixed;
}

std::string ToText(Budget& budget, const Value& value) {
  if (value.is_string()) return value.text();
  if (value.is_undefined()) return "";
  if (value.is_none()) return "None";
  if (value.is_bool()) return value.boolean() ? "True" : "False";
  if (value.is_integer()) return Cat(value.integer());
  if (value.is_float()) return FloatText(value.real());
  if (value.object() != nullptr) return Cat("<", value.type_name(), ">");
  return Repr(budget, value);
}

std::string Repr(Budget& budget, const Value& value) {
  std::string out;
  ReprWriter(budget, out).Write(value);
  return out;
}

std::string ToJson(Budget& budget, const Value& value, const JsonStyle& style) {
  std::string out;
  JsonWriter(budget, style, out).Write(value, 0);
  return out;
}

std::string EscapeMarkup(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace smelt::jinja
