// Python's two ways to fill values into a text.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>

#include "lib/base/cat.h"
#include "lib/text/chat/characters.h"
#include "lib/text/chat/operators.h"
#include "lib/text/chat/renderer.h"
#include "lib/text/chat/value_text.h"

namespace smelt::jinja {
namespace {

constexpr int64_t kWidest = 1 << 20;

/// [[fill]align][sign][#][0][width][,][.precision][type]
struct Format {
  std::string fill = " ";
  char align = 0, sign = '-', type = 0;
  bool alternate = false, grouped = false;
  int64_t width = 0;
  std::optional<int> precision;
};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

int64_t TakeNumber(std::string_view& text) {
  int64_t number = 0;
  while (!text.empty() && IsDigit(text[0])) {
    number = std::min(kWidest + 1, number * 10 + (text[0] - '0'));
    text.remove_prefix(1);
  }
  if (number > kWidest) throw TemplateError{"a format asks for too many characters"};
  return number;
}

// The whole part of a number with commas.
std::string Grouped(std::string digits) {
  const size_t whole = std::min(digits.find('.'), digits.size());
  for (size_t at = whole; at > 3 && IsDigit(digits[at - 4]);) digits.insert(at -= 3, ",");
  return digits;
}

std::string Padded(const Format& format, std::string_view sign, const std::string& text,
                   char align) {
  const int64_t length = static_cast<int64_t>(CountCharacters(text) + sign.size());
  const int64_t missing = std::max<int64_t>(format.width - length, 0);
  const int64_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  std::string before, after;
  for (int64_t i = 0; i < missing; ++i) (i < left ? before : after) += format.fill;
  if (align == '=') return Cat(sign, before, text);
  return Cat(before, sign, text, after);
}

std::string IntegerDigits(int64_t value, char type) {
  const uint64_t magnitude =
      value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  const int base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
  char digits[72];
  std::string text(digits, std::to_chars(digits, digits + sizeof(digits), magnitude, base).ptr);
  if (type == 'X') text = ToUpper(text);
  return text;
}

std::string RealDigits(double value, char type, int precision, bool alternate) {
  const double magnitude = std::fabs(value);
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return "inf";
  const char pattern[] = {'%',
                          alternate ? '#' : '.',
                          alternate ? '.' : '*',
                          alternate ? '*' : type,
                          alternate ? type : '\0',
                          '\0'};
  std::string text(400 + static_cast<size_t>(precision), '\0');
  const int length = std::snprintf(text.data(), text.size(), pattern, precision, magnitude);
  text.resize(static_cast<size_t>(std::max(length, 0)));
  return text;
}

std::string_view SignOf(bool negative, char sign) {
  return negative ? "-" : sign == '+' ? "+" : sign == ' ' ? " " : "";
}

std::string FormatNumber(const Format& format, const Value& value) {
  char type = format.type;
  const bool real = value.is_float() ||
                    (type != 0 && std::string_view("eEfFgG%").find(type) != std::string_view::npos);
  const bool negative = real ? std::signbit(value.real()) : value.integer() < 0;
  std::string digits;
  if (!real) {
    if (type == 'c') {
      AppendUtf8(digits, static_cast<char32_t>(value.integer()));
      return Padded(format, "", digits, format.align == 0 ? '<' : format.align);
    }
    digits = IntegerDigits(value.integer(), type);
    if (format.alternate && type != 0 && type != 'd') digits = Cat("0", type, digits);
  } else if (type == 0 && !format.precision) {
    digits = FloatText(std::fabs(value.real()));
  } else if (type == '%') {
    digits = RealDigits(value.real() * 100, 'f', format.precision.value_or(6), false) + "%";
  } else {
    digits = RealDigits(value.real(), type == 0 ? 'g' : type, format.precision.value_or(6),
                        format.alternate);
  }
  if (format.grouped) digits = Grouped(std::move(digits));
  return Padded(format, SignOf(negative, format.sign), digits,
                format.align == 0 ? '>' : format.align);
}

Format ParseFormat(std::string_view spec) {
  Format format;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  if (!spec.empty()) {
    const size_t first = DecodeUtf8(spec).length;
    if (spec.size() > first && is_align(spec[first])) {
      format.fill = std::string(spec.substr(0, first));
      format.align = spec[first];
      spec.remove_prefix(first + 1);
    } else if (is_align(spec[0])) {
      format.align = spec[0];
      spec.remove_prefix(1);
    }
  }
  if (!spec.empty() && std::string_view("+- ").find(spec[0]) != std::string_view::npos) {
    format.sign = spec[0];
    spec.remove_prefix(1);
  }
  if (spec.starts_with("#")) {
    format.alternate = true;
    spec.remove_prefix(1);
  }
  if (spec.starts_with("0")) {
    if (format.align == 0) {
      format.align = '=';
      format.fill = "0";
    }
    spec.remove_prefix(1);
  }
  format.width = TakeNumber(spec);
  if (spec.starts_with(",") || spec.starts_with("_")) {
    format.grouped = true;
    spec.remove_prefix(1);
  }
  if (spec.starts_with(".")) {
    spec.remove_prefix(1);
    format.precision = static_cast<int>(std::min<int64_t>(TakeNumber(spec), 300));
  }
  if (!spec.empty()) format.type = spec[0];
  if (spec.size() > 1 ||
      (format.type != 0 &&
       std::string_view("sdbcoxXeEfFgGn%").find(format.type) == std::string_view::npos))
    throw TemplateError{Cat("the format ", Escape(spec, 40), " is not known")};
  return format;
}

std::string FormatValue(Budget& budget, std::string_view spec, const Value& value) {
  if (spec.empty()) return ToText(budget, value);
  const Format format = ParseFormat(spec);
  const Charge fits(budget, static_cast<size_t>(format.width) * 4);
  if (value.is_number() && format.type != 's' && !(value.is_bool() && format.type == 0))
    return FormatNumber(format, value);
  if (format.type != 0 && format.type != 's') {
    throw TemplateError{Cat("unknown format code '", format.type, "' for an object of type '",
                            value.type_name(), "'")};
  }
  if (!value.is_string() && !value.is_bool() && !value.is_none())
    throw TemplateError{
        Cat("unsupported format string passed to ", value.type_name(), ".__format__")};
  std::string text = ToText(budget, value);
  if (format.precision) text = std::string(Substring(text, 0, *format.precision));
  return Padded(format, "", text, format.align == 0 ? '<' : format.align);
}

/// The fields of "...".format(...).
class BraceFormatter {
 public:
  BraceFormatter(Renderer& renderer, const Arguments& arguments)
      : renderer_(renderer), arguments_(arguments) {}

  std::string Run(std::string_view format) {
    std::string out;
    while (!format.empty()) {
      const char c = format[0];
      const bool doubled = format.size() > 1 && format[1] == c;
      if ((c == '{' || c == '}') && doubled) {
        out += c;
        format.remove_prefix(2);
      } else if (c == '}') {
        throw TemplateError{"single '}' encountered in format string"};
      } else if (c == '{') {
        const size_t end = EndOfField(format);
        out += Field(format.substr(1, end - 1));
        format.remove_prefix(end + 1);
        const Charge fits(renderer_.budget(), out.size());
      } else {
        const size_t next = std::min(format.find_first_of("{}"), format.size());
        out += format.substr(0, next);
        format.remove_prefix(next);
      }
    }
    return out;
  }

 private:
  static size_t EndOfField(std::string_view format) {
    int open = 0;
    for (size_t i = 0; i < format.size(); ++i) {
      if (format[i] == '{') ++open;
      if (format[i] == '}' && --open == 0) return i;
    }
    throw TemplateError{"expected '}' before the end of a format string"};
  }

  // NAME(.NAME|[KEY])*[!s|!r][:SPEC]
  std::string Field(std::string_view field) {
    const size_t name_end = std::min(field.find_first_of("!:"), field.size());
    Value value = Lookup(field.substr(0, name_end));
    field.remove_prefix(name_end);
    if (field.starts_with("!")) {
      if (field.size() < 2 || (field[1] != 's' && field[1] != 'r'))
        throw TemplateError{"a format string has an unknown conversion"};
      value = renderer_.Text(field[1] == 'r' ? Repr(renderer_.budget(), value)
                                             : ToText(renderer_.budget(), value));
      field.remove_prefix(2);
    }
    if (!field.empty()) field.remove_prefix(1);
    if (field.find('{') == std::string_view::npos)
      return FormatValue(renderer_.budget(), field, value);
    if (inside_) throw TemplateError{"a format string nests its fields too deeply"};
    inside_ = true;
    const std::string spec = Run(field);
    inside_ = false;
    return FormatValue(renderer_.budget(), spec, value);
  }

  Value Lookup(std::string_view path) {
    const size_t first = std::min(path.find_first_of(".["), path.size());
    Value value = Argument(path.substr(0, first));
    path.remove_prefix(first);
    while (!path.empty()) {
      const bool item = path[0] == '[';
      path.remove_prefix(1);
      const size_t end = item ? path.find(']') : std::min(path.find_first_of(".["), path.size());
      if (end == std::string_view::npos) throw TemplateError{"missing ']' in format string"};
      const std::string_view name = path.substr(0, end);
      const bool number = item && !name.empty() && std::ranges::all_of(name, IsDigit);
      std::string_view digits = name;
      value = item ? renderer_.Item(value, number ? Value(TakeNumber(digits))
                                                  : renderer_.Text(std::string(name)))
                   : renderer_.Attribute(value, name);
      path.remove_prefix(end + (item ? 1 : 0));
      if (item && !path.empty() && path[0] != '.' && path[0] != '[')
        throw TemplateError{"only '.' or '[' may follow ']' in a format field"};
    }
    return value;
  }

  Value Argument(std::string_view name) {
    if (name.empty() || IsDigit(name[0])) {
      const Numbering numbering = name.empty() ? Numbering::kAutomatic : Numbering::kManual;
      if (numbering_ != Numbering::kUnknown && numbering_ != numbering)
        throw TemplateError{"a format string mixes fields with and without numbers"};
      numbering_ = numbering;
      std::string_view digits = name;
      const size_t index = name.empty() ? next_++ : static_cast<size_t>(TakeNumber(digits));
      if (index < arguments_.positional.size()) return arguments_.positional[index];
      throw TemplateError{Cat("a format string asks for argument ", index, ", which is not given")};
    }
    for (const auto& [key, value] : arguments_.named) {
      if (key == name) return value;
    }
    throw TemplateError{
        Cat("a format string asks for '", Escape(name, 40), "', which is not given")};
  }

  Renderer& renderer_;
  const Arguments& arguments_;
  enum class Numbering { kUnknown, kAutomatic, kManual };

  Numbering numbering_ = Numbering::kUnknown;
  size_t next_ = 0;
  bool inside_ = false;
};

// The values of a % format: a tuple's one after the other, a dictionary's by name, or a single one.
class PercentValues {
 public:
  PercentValues(Budget& budget, const Value& values)
      : budget_(budget),
        values_(values),
        tuple_(values.is_list() && values.list()->kind == ListKind::kTuple) {}

  const Value& Next() {
    if (!tuple_ && used_ == 0) return ++used_, values_;
    if (!tuple_ || used_ >= values_.list()->items.size())
      throw TemplateError{"not enough arguments for format string"};
    return values_.list()->items[used_++];
  }

  /// Takes "(NAME)" from the text.
  const Value& TakeNamed(std::string_view& text) {
    const size_t end = text.find(')');
    if (end == std::string_view::npos || !values_.is_dict())
      throw TemplateError{"format requires a mapping"};
    const std::string_view name = text.substr(1, end - 1);
    const Value* found = values_.dict()->Find(budget_, name);
    if (found == nullptr)
      throw TemplateError{Cat("the format's key '", Escape(name, 40), "' is missing")};
    named_ = true;
    text.remove_prefix(end + 1);
    return *found;
  }

  void RequireAllUsed() const {
    const bool all =
        named_ || (tuple_ ? used_ == values_.list()->items.size()
                          : used_ == 1 || values_.is_dict() || IsSequenceList(values_));
    if (!all) throw TemplateError{"not all arguments converted during string formatting"};
  }

 private:
  Budget& budget_;
  const Value& values_;
  const bool tuple_;
  size_t used_ = 0;
  bool named_ = false;
};

// Takes flags, width, precision and type from the text.
Format TakePercentFormat(std::string_view& text) {
  Format format;
  format.align = '>';
  for (; !text.empty() && std::string_view("-+ #0").find(text[0]) != std::string_view::npos;
       text.remove_prefix(1)) {
    if (text[0] == '-') format.align = '<';
    if (text[0] == '+' || (text[0] == ' ' && format.sign == '-')) format.sign = text[0];
    if (text[0] == '#') format.alternate = true;
    if (text[0] == '0' && format.align != '<') format.align = '=';
  }
  format.width = TakeNumber(text);
  if (text.starts_with(".")) {
    text.remove_prefix(1);
    format.precision = static_cast<int>(std::min<int64_t>(TakeNumber(text), 300));
  }
  if (text.empty()) throw TemplateError{"incomplete format"};
  format.type = text[0];
  text.remove_prefix(1);
  if (format.type == 'i' || format.type == 'u') format.type = 'd';
  return format;
}

// The number as the type of the format wants it.
Value NumberFor(const Format& format, const Value& value) {
  if (!value.is_number()) {
    RequireDefined(value);
    throw TemplateError{
        Cat("%", format.type, " format: a real number is required, not ", value.type_name())};
  }
  if (!value.is_float() || std::string_view("dxXoc").find(format.type) == std::string_view::npos)
    return value;
  if (!(std::fabs(value.real()) < 9e18))
    throw TemplateError{"a number is too large for its format"};
  return Value(static_cast<int64_t>(value.real()));
}

std::string FormatOne(Budget& budget, Format format, const Value& value) {
  const char text_align = format.align == '=' ? '>' : format.align;
  if (format.type == 's' || format.type == 'r') {
    std::string piece = format.type == 's' ? ToText(budget, value) : Repr(budget, value);
    if (format.precision) piece = std::string(Substring(piece, 0, *format.precision));
    return Padded(format, "", piece, text_align);
  }
  if (std::string_view("dxXoeEfFgGc").find(format.type) == std::string_view::npos)
    throw TemplateError{
        Cat("unsupported format character '", Escape(std::string(1, format.type)), "'")};
  if (format.type == 'c' && value.is_string() && CountCharacters(value.text()) == 1)
    return Padded(format, "", value.text(), text_align);
  const Value number = NumberFor(format, value);
  if (format.align == '=') format.fill = "0";
  if (format.type == 'c' && (number.integer() < 0 || number.integer() > 0x10ffff ||
                             (number.integer() >= 0xd800 && number.integer() < 0xe000)))
    throw TemplateError{"%c needs a character's number"};
  return FormatNumber(format, number);
}

}  // namespace

std::string FormatBraces(Renderer& renderer, std::string_view format, const Arguments& arguments) {
  return BraceFormatter(renderer, arguments).Run(format);
}

std::string FormatPercent(Budget& budget, std::string_view text, const Value& values) {
  PercentValues arguments(budget, values);
  std::string out;
  while (true) {
    const size_t percent = std::min(text.find('%'), text.size());
    out += text.substr(0, percent);
    text.remove_prefix(percent);
    if (text.empty()) break;
    text.remove_prefix(1);
    if (text.starts_with("%")) {
      out += '%';
      text.remove_prefix(1);
      continue;
    }
    std::optional<Value> named;
    if (text.starts_with("(")) named = arguments.TakeNamed(text);
    const Format format = TakePercentFormat(text);
    const Value value = named ? *named : arguments.Next();
    const Charge fits(budget, static_cast<size_t>(format.width) * 4 + out.size());
    out += FormatOne(budget, format, value);
  }
  arguments.RequireAllUsed();
  return out;
}

}  // namespace smelt::jinja
