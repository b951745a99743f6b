#include "lib/text/chat/expression_parser.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "lib/base/cat.h"

namespace smelt::jinja {
namespace {

constexpr int kDeepestExpression = 500;

ExpressionPtr Make(ExpressionKind kind, int line, std::string name = {}) {
  auto expression = std::make_unique<Expression>();
  expression->kind = kind;
  expression->line = line;
  expression->name = std::move(name);
  return expression;
}

// Chains like a + b + c are as deep as they are long.
void CountDepth(Expression& expression, const ExpressionPtr& part) {
  if (part == nullptr) return;
  expression.depth = std::max(expression.depth, part->depth + 1);
  if (expression.depth > kDeepestExpression)
    throw TemplateError{Cat("line ", expression.line, ": an expression has too many operators")};
}

void Add(Expression& expression, ExpressionPtr operand) {
  CountDepth(expression, operand);
  expression.operands.push_back(std::move(operand));
}

template <typename... Operands>
ExpressionPtr Make(ExpressionKind kind, int line, std::string name, Operands... operands) {
  ExpressionPtr expression = Make(kind, line, std::move(name));
  (Add(*expression, std::move(operands)), ...);
  return expression;
}

}  // namespace

ExpressionPtr MakeExpression(ExpressionKind kind, int line) { return Make(kind, line); }

ExpressionPtr ExpressionParser::ParseTuple(bool conditional) {
  const int line = tokens_.Line();
  ExpressionPtr first = conditional ? ParseExpression() : ParseOr();
  if (!tokens_.IsOperator(",")) return first;
  ExpressionPtr tuple = Make(ExpressionKind::kTuple, line, "", std::move(first));
  while (tokens_.SkipOperator(",")) {
    if (EndsTuple()) break;
    Add(*tuple, conditional ? ParseExpression() : ParseOr());
  }
  return tuple;
}

bool ExpressionParser::EndsTuple() const {
  return tokens_.Current().kind == TokenKind::kVariableEnd ||
         tokens_.Current().kind == TokenKind::kBlockEnd || tokens_.IsOperator(")") ||
         tokens_.IsName("in") || tokens_.IsName("recursive");
}

ExpressionPtr ExpressionParser::ParseExpression() {
  const Level level(tokens_);
  ExpressionPtr value = ParseOr();
  while (tokens_.IsName("if")) {
    const int line = tokens_.Take().line;
    ExpressionPtr condition = ParseOr();
    ExpressionPtr otherwise = tokens_.SkipName("else") ? ParseExpression() : nullptr;
    value = Make(ExpressionKind::kConditional, line, "", std::move(condition), std::move(value),
                 std::move(otherwise));
  }
  return value;
}

ExpressionPtr ExpressionParser::ParseOr() {
  ExpressionPtr left = ParseAnd();
  while (tokens_.IsName("or")) {
    const int line = tokens_.Take().line;
    left = Make(ExpressionKind::kOr, line, "", std::move(left), ParseAnd());
  }
  return left;
}

ExpressionPtr ExpressionParser::ParseAnd() {
  ExpressionPtr left = ParseNot();
  while (tokens_.IsName("and")) {
    const int line = tokens_.Take().line;
    left = Make(ExpressionKind::kAnd, line, "", std::move(left), ParseNot());
  }
  return left;
}

ExpressionPtr ExpressionParser::ParseNot() {
  if (!tokens_.IsName("not")) return ParseCompare();
  const Level level(tokens_);
  const int line = tokens_.Take().line;
  return Make(ExpressionKind::kUnary, line, "not", ParseNot());
}

ExpressionPtr ExpressionParser::ParseCompare() {
  const int line = tokens_.Line();
  ExpressionPtr first = ParseSum();
  std::vector<std::string> operators;
  std::vector<ExpressionPtr> operands;
  for (;;) {
    constexpr std::string_view kComparisons[] = {"==", "!=", "<", "<=", ">", ">="};
    if (tokens_.Current().kind == TokenKind::kOperator &&
        std::ranges::find(kComparisons, tokens_.Current().text) != std::end(kComparisons)) {
      operators.push_back(tokens_.Take().text);
    } else if (tokens_.SkipName("in")) {
      operators.push_back("in");
    } else if (tokens_.IsName("not") && tokens_.Next().kind == TokenKind::kName &&
               tokens_.Next().text == "in") {
      tokens_.Take();
      tokens_.Take();
      operators.push_back("not in");
    } else {
      break;
    }
    operands.push_back(ParseSum());
  }
  if (operators.empty()) return first;
  ExpressionPtr compare = Make(ExpressionKind::kCompare, line, "", std::move(first));
  for (ExpressionPtr& operand : operands) Add(*compare, std::move(operand));
  compare->operators = std::move(operators);
  return compare;
}

// Operators of one precedence, from left to right.
template <typename Operand>
ExpressionPtr ExpressionParser::ParseBinary(std::initializer_list<std::string_view> operators,
                                            const Operand& operand) {
  ExpressionPtr left = operand();
  while (tokens_.Current().kind == TokenKind::kOperator &&
         std::ranges::find(operators, tokens_.Current().text) != operators.end()) {
    const Token op = tokens_.Take();
    left = Make(ExpressionKind::kBinary, op.line, op.text, std::move(left), operand());
  }
  return left;
}

ExpressionPtr ExpressionParser::ParseSum() {
  return ParseBinary({"+", "-"}, [this] { return ParseConcat(); });
}

ExpressionPtr ExpressionParser::ParseConcat() {
  const int line = tokens_.Line();
  ExpressionPtr first = ParseProduct();
  if (!tokens_.IsOperator("~")) return first;
  ExpressionPtr concat = Make(ExpressionKind::kConcat, line, "", std::move(first));
  while (tokens_.SkipOperator("~")) Add(*concat, ParseProduct());
  return concat;
}

ExpressionPtr ExpressionParser::ParseProduct() {
  return ParseBinary({"*", "/", "//", "%"},
                     [this] { return ParseBinary({"**"}, [this] { return ParseUnary(true); }); });
}

ExpressionPtr ExpressionParser::ParseUnary(bool with_filters) {
  const Level level(tokens_);
  const int line = tokens_.Line();
  ExpressionPtr value;
  if (tokens_.IsOperator("-") || tokens_.IsOperator("+")) {
    const std::string op = tokens_.Take().text;
    value = Make(ExpressionKind::kUnary, line, op, ParseUnary(false));
  } else {
    value = ParsePrimary();
  }
  value = ParsePostfix(std::move(value));
  return with_filters ? ParseFilters(std::move(value)) : std::move(value);
}

ExpressionPtr ExpressionParser::ParsePrimary() {
  const Token token = tokens_.Current();
  switch (token.kind) {
    case TokenKind::kName:
      tokens_.Take();
      return NameOrConstant(token);
    case TokenKind::kString: {
      std::string text = tokens_.Take().text;
      while (tokens_.Current().kind == TokenKind::kString) text += tokens_.Take().text;
      return Constant(token.line, MakeString(constants_, std::move(text)));
    }
    case TokenKind::kInteger:
      tokens_.Take();
      return Constant(token.line, Value(IntegerOf(token.text)));
    case TokenKind::kFloat:
      tokens_.Take();
      return Constant(token.line, Value(std::strtod(token.text.c_str(), nullptr)));
    case TokenKind::kOperator:
      if (token.text == "(") return ParseParentheses();
      if (token.text == "[") return ParseList();
      if (token.text == "{") return ParseDict();
      [[fallthrough]];
    default:
      tokens_.FailExpected("a value");
  }
}

ExpressionPtr ExpressionParser::Constant(int line, Value value) const {
  ExpressionPtr constant = Make(ExpressionKind::kConstant, line);
  constant->constant = std::move(value);
  return constant;
}

ExpressionPtr ExpressionParser::NameOrConstant(const Token& token) {
  const std::string& name = token.text;
  if (name == "true" || name == "True") return Constant(token.line, Value(true));
  if (name == "false" || name == "False") return Constant(token.line, Value(false));
  if (name == "none" || name == "None") return Constant(token.line, Value());
  if (macro_ != nullptr) {
    macro_->uses_varargs |= name == "varargs";
    macro_->uses_kwargs |= name == "kwargs";
    macro_->uses_caller |= name == "caller";
  }
  return Make(ExpressionKind::kName, token.line, name);
}

int64_t ExpressionParser::IntegerOf(std::string_view text) const {
  int base = 10;
  if (text.size() > 1 && text[0] == '0') {
    const char kind = static_cast<char>(text[1] | 32);
    base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
    if (base != 10) text.remove_prefix(2);
  }
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size())
    tokens_.Fail(Cat("the number ", Escape(text, 40), " is too large or broken"));
  return value;
}

ExpressionPtr ExpressionParser::ParseParentheses() {
  const int line = tokens_.Take().line;
  if (tokens_.SkipOperator(")")) return Make(ExpressionKind::kTuple, line);
  ExpressionPtr inside = ParseTuple();
  tokens_.ExpectOperator(")");
  return inside;
}

ExpressionPtr ExpressionParser::ParseList() {
  ExpressionPtr list = Make(ExpressionKind::kList, tokens_.Take().line);
  while (!tokens_.IsOperator("]")) {
    if (!list->operands.empty()) tokens_.ExpectOperator(",");
    if (tokens_.IsOperator("]")) break;
    Add(*list, ParseExpression());
  }
  tokens_.Take();
  return list;
}

ExpressionPtr ExpressionParser::ParseDict() {
  ExpressionPtr dict = Make(ExpressionKind::kDict, tokens_.Take().line);
  while (!tokens_.IsOperator("}")) {
    if (!dict->operands.empty()) tokens_.ExpectOperator(",");
    if (tokens_.IsOperator("}")) break;
    Add(*dict, ParseExpression());
    tokens_.ExpectOperator(":");
    Add(*dict, ParseExpression());
  }
  tokens_.Take();
  return dict;
}

ExpressionPtr ExpressionParser::ParsePostfix(ExpressionPtr value) {
  for (;;) {
    if (tokens_.IsOperator(".")) {
      value = ParseAttribute(std::move(value));
    } else if (tokens_.IsOperator("[")) {
      value = ParseSubscript(std::move(value));
    } else if (tokens_.IsOperator("(")) {
      value = Make(ExpressionKind::kCall, tokens_.Line(), "", std::move(value));
      AddArguments(*value);
    } else {
      return value;
    }
  }
}

ExpressionPtr ExpressionParser::ParseAttribute(ExpressionPtr value) {
  const int line = tokens_.Take().line;
  if (tokens_.Current().kind == TokenKind::kInteger) {
    const int64_t index = IntegerOf(tokens_.Take().text);
    return Make(ExpressionKind::kItem, line, "", std::move(value), Constant(line, Value(index)));
  }
  return Make(ExpressionKind::kAttribute, line, tokens_.ExpectAnyName(), std::move(value));
}

ExpressionPtr ExpressionParser::ParseSubscript(ExpressionPtr value) {
  const int line = tokens_.Take().line;
  ExpressionPtr parts[3];
  int colons = 0;
  while (!tokens_.IsOperator("]")) {
    if (tokens_.SkipOperator(":")) {
      if (++colons > 2) tokens_.Fail("a slice has at most three parts");
    } else if (parts[colons] != nullptr) {
      tokens_.FailExpected("\"]\"");
    } else {
      parts[colons] = colons == 0 ? ParseTuple() : ParseExpression();
    }
  }
  if (colons == 0 && parts[0] == nullptr) tokens_.FailExpected("an index");
  tokens_.Take();
  if (colons == 0)
    return Make(ExpressionKind::kItem, line, "", std::move(value), std::move(parts[0]));
  return Make(ExpressionKind::kSlice, line, "", std::move(value), std::move(parts[0]),
              std::move(parts[1]), std::move(parts[2]));
}

std::vector<CallArgument> ExpressionParser::ParseArguments() {
  std::vector<CallArgument> arguments;
  tokens_.ExpectOperator("(");
  while (!tokens_.IsOperator(")")) {
    if (!arguments.empty()) tokens_.ExpectOperator(",");
    if (tokens_.IsOperator(")")) break;
    using Kind = CallArgument::Kind;
    if (tokens_.SkipOperator("**")) {
      arguments.push_back({.kind = Kind::kDict, .name = "", .value = ParseExpression()});
    } else if (tokens_.SkipOperator("*")) {
      arguments.push_back({.kind = Kind::kList, .name = "", .value = ParseExpression()});
    } else if (tokens_.Current().kind == TokenKind::kName &&
               tokens_.Next().kind == TokenKind::kOperator && tokens_.Next().text == "=") {
      const std::string name = tokens_.Take().text;
      tokens_.Take();
      arguments.push_back({.kind = Kind::kNamed, .name = name, .value = ParseExpression()});
    } else {
      if (!arguments.empty() && arguments.back().kind != Kind::kPositional)
        tokens_.Fail("an argument without a name stands behind one with a name");
      arguments.push_back({.kind = Kind::kPositional, .name = "", .value = ParseExpression()});
    }
  }
  tokens_.Take();
  return arguments;
}

void ExpressionParser::AddArguments(Expression& expression) {
  expression.arguments = ParseArguments();
  for (const CallArgument& argument : expression.arguments) CountDepth(expression, argument.value);
}

ExpressionPtr ExpressionParser::ParseFilters(ExpressionPtr value) {
  for (;;) {
    if (tokens_.SkipOperator("|")) {
      value = ParseFilter(std::move(value));
    } else if (tokens_.IsName("is")) {
      value = ParseTest(std::move(value));
    } else if (tokens_.IsOperator("(")) {
      value = Make(ExpressionKind::kCall, tokens_.Line(), "", std::move(value));
      AddArguments(*value);
    } else {
      return value;
    }
  }
}

ExpressionPtr ExpressionParser::ParseFilter(ExpressionPtr value) {
  const int line = tokens_.Line();
  ExpressionPtr filter =
      Make(ExpressionKind::kFilter, line, tokens_.ExpectAnyName(), std::move(value));
  if (tokens_.IsOperator("(")) AddArguments(*filter);
  return filter;
}

ExpressionPtr ExpressionParser::ParseTest(ExpressionPtr value) {
  const int line = tokens_.Take().line;
  const bool negated = tokens_.SkipName("not");
  ExpressionPtr test = Make(ExpressionKind::kTest, line, tokens_.ExpectAnyName(), std::move(value));
  if (tokens_.IsOperator("(")) {
    AddArguments(*test);
  } else if (BeginsTestArgument()) {
    ExpressionPtr argument = ParsePostfix(ParsePrimary());
    CountDepth(*test, argument);
    test->arguments.push_back(
        {.kind = CallArgument::Kind::kPositional, .name = "", .value = std::move(argument)});
  }
  if (!negated) return test;
  return Make(ExpressionKind::kUnary, line, "not", std::move(test));
}

bool ExpressionParser::BeginsTestArgument() const {
  switch (tokens_.Current().kind) {
    case TokenKind::kString:
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return true;
    case TokenKind::kOperator:
      return tokens_.Current().text == "[" || tokens_.Current().text == "{";
    case TokenKind::kName: {
      constexpr std::string_view kFollowing[] = {"else", "or",  "and", "is",
                                                 "if",   "not", "in",  "recursive"};
      return std::ranges::find(kFollowing, tokens_.Current().text) == std::end(kFollowing);
    }
    default:
      return false;
  }
}

}  // namespace smelt::jinja
