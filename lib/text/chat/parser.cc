#include "lib/text/chat/parser.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <initializer_list>

#include "lib/base/cat.h"
#include "lib/text/chat/lexer.h"

namespace smelt::jinja {
namespace {

constexpr int kDeepest = 150;  // tags and brackets inside each other
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

class Parser {
 public:
  Parser(std::vector<Token> tokens, Budget& constants)
      : tokens_(std::move(tokens)), constants_(constants) {}

  Block Run() {
    Block block = ParseBlock({});
    if (Current().kind != TokenKind::kEnd) Fail(Cat("unexpected tag '", Current().text, "'"));
    return block;
  }

 private:
  /// Counts what is inside each other.
  class Level {
   public:
    explicit Level(Parser& parser) : parser_(parser) {
      if (++parser_.depth_ > kDeepest) parser_.Fail("tags or brackets are nested too deeply");
    }
    ~Level() { --parser_.depth_; }

   private:
    Parser& parser_;
  };

  // ------------------------------------------------------------------ tokens
  const Token& Current() const { return tokens_[at_]; }
  const Token& Next() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  int Line() const { return Current().line; }
  Token Take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }

  [[noreturn]] void Fail(std::string_view what) const {
    throw TemplateError{Cat("line ", Line(), ": ", what)};
  }
  [[noreturn]] void FailExpected(std::string_view what) const {
    switch (Current().kind) {
      case TokenKind::kVariableEnd:
      case TokenKind::kBlockEnd:
        Fail(Cat("the tag ends where ", what, " is expected"));
      case TokenKind::kEnd:
        Fail(Cat("the template ends where ", what, " is expected"));
      default:
        Fail(Cat("found \"", Escape(Current().text, 40), "\" where ", what, " is expected"));
    }
  }

  bool IsOperator(std::string_view text) const {
    return Current().kind == TokenKind::kOperator && Current().text == text;
  }
  bool IsName(std::string_view text) const {
    return Current().kind == TokenKind::kName && Current().text == text;
  }
  bool SkipOperator(std::string_view text) {
    if (!IsOperator(text)) return false;
    Take();
    return true;
  }
  bool SkipName(std::string_view text) {
    if (!IsName(text)) return false;
    Take();
    return true;
  }
  void ExpectOperator(std::string_view text) {
    if (!SkipOperator(text)) FailExpected(Cat("\"", text, "\""));
  }
  void ExpectName(std::string_view text) {
    if (!SkipName(text)) FailExpected(Cat("\"", text, "\""));
  }
  std::string ExpectAnyName() {
    if (Current().kind != TokenKind::kName) FailExpected("a name");
    return Take().text;
  }
  void ExpectBlockEnd() {
    if (Current().kind != TokenKind::kBlockEnd) FailExpected("\"%}\"");
    Take();
  }

  // ------------------------------------------------------------------ statements
  // Up to a tag of one of these names, whose name is the current token then, or to the end.
  Block ParseBlock(std::initializer_list<std::string_view> ends) {
    const Level level(*this);
    Block block;
    for (;;) {
      switch (Current().kind) {
        case TokenKind::kData:
          block.push_back({.kind = StatementKind::kText, .line = Line(), .text = Current().text});
          Take();
          break;
        case TokenKind::kVariableBegin: {
          Take();
          Statement output{.kind = StatementKind::kOutput, .line = Line()};
          output.expression = ParseTuple();
          if (Current().kind != TokenKind::kVariableEnd) FailExpected("\"}}\"");
          Take();
          block.push_back(std::move(output));
          break;
        }
        case TokenKind::kBlockBegin:
          Take();
          if (Current().kind != TokenKind::kName) FailExpected("the name of a tag");
          if (std::ranges::find(ends, Current().text) != ends.end()) return block;
          block.push_back(ParseStatement(ends));
          break;
        default:
          if (ends.size() > 0) Fail(Cat("{% ", *(ends.end() - 1), " %} is missing"));
          return block;
      }
    }
  }

  Block ParseBody(std::string_view end) {
    ExpectBlockEnd();
    Block body = ParseBlock({end});
    Take();
    ExpectBlockEnd();
    return body;
  }

  Statement ParseStatement(std::initializer_list<std::string_view> ends) {
    const Token tag = Current();
    if (tag.text == "if") return ParseIf();
    if (tag.text == "for") return ParseFor();
    if (tag.text == "set") return ParseSet();
    if (tag.text == "macro") return ParseMacro();
    if (tag.text == "call") return ParseCallBlock();
    if (tag.text == "filter") return ParseFilterBlock();
    if (tag.text == "with") return ParseWith();
    if (tag.text == "break" || tag.text == "continue") {
      if (loops_ == 0) Fail(Cat("'", tag.text, "' outside of a loop"));
      Take();
      ExpectBlockEnd();
      return {.kind = tag.text == "break" ? StatementKind::kBreak : StatementKind::kContinue,
              .line = tag.line};
    }
    if (tag.text == "generation") {  // marks what an assistant said, for training
      Take();
      Statement scope{.kind = StatementKind::kScope, .line = tag.line};
      scope.body = ParseBody("endgeneration");
      return scope;
    }
    const bool closing = tag.text.starts_with("end") || tag.text == "else" || tag.text == "elif";
    if (closing && ends.size() > 0)
      Fail(Cat("found the tag '", Escape(tag.text, 40), "' where '", *(ends.end() - 1),
               "' is expected"));
    if (closing) Fail(Cat("the tag '", Escape(tag.text, 40), "' closes nothing"));
    Fail(Cat("the tag '", Escape(tag.text, 40), "' is not supported"));
  }

  Statement ParseIf() {
    Statement statement{.kind = StatementKind::kIf, .line = Line()};
    Take();
    statement.expression = ParseTuple(false);
    ExpectBlockEnd();
    statement.body = ParseBlock({"elif", "else", "endif"});
    if (IsName("elif")) {
      const Level level(*this);
      statement.otherwise.push_back(ParseIf());
      return statement;
    }
    if (SkipName("else")) {
      ExpectBlockEnd();
      statement.otherwise = ParseBlock({"endif"});
    }
    Take();
    ExpectBlockEnd();
    return statement;
  }

  Statement ParseFor() {
    Statement statement{.kind = StatementKind::kFor, .line = Line()};
    Take();
    statement.target = ParseTarget(false);
    ExpectName("in");
    statement.expression = ParseTuple(false);
    if (SkipName("if")) statement.condition = ParseExpression();
    statement.recursive = SkipName("recursive");
    ExpectBlockEnd();
    ++loops_;
    statement.body = ParseBlock({"else", "endfor"});
    --loops_;
    if (SkipName("else")) {
      ExpectBlockEnd();
      statement.otherwise = ParseBlock({"endfor"});
    }
    Take();
    ExpectBlockEnd();
    return statement;
  }

  Statement ParseSet() {
    Statement statement{.kind = StatementKind::kSet, .line = Line()};
    Take();
    statement.target = ParseTarget(true);
    if (SkipOperator("=")) {
      statement.expression = ParseTuple();
      ExpectBlockEnd();
      return statement;
    }
    statement.kind = StatementKind::kSetBlock;
    statement.expression = Make(ExpressionKind::kCaptured, Line());
    if (IsOperator("|")) statement.expression = ParseFilters(std::move(statement.expression));
    statement.body = ParseBody("endset");
    return statement;
  }

  Statement ParseMacro() {
    Statement statement{.kind = StatementKind::kMacro, .line = Line()};
    Take();
    auto macro = std::make_shared<MacroBody>();
    macro->name = ExpectAnyName();
    ParseParameters(*macro);
    ParseMacroBody(*macro, "endmacro");
    statement.macro = std::move(macro);
    return statement;
  }

  Statement ParseCallBlock() {
    Statement statement{.kind = StatementKind::kCall, .line = Line()};
    Take();
    auto macro = std::make_shared<MacroBody>();
    macro->name = "caller";
    if (IsOperator("(")) ParseParameters(*macro);
    statement.expression = ParseExpression();
    if (statement.expression->kind != ExpressionKind::kCall) Fail("a call block needs a call");
    ParseMacroBody(*macro, "endcall");
    statement.macro = std::move(macro);
    return statement;
  }

  void ParseParameters(MacroBody& macro) {
    ExpectOperator("(");
    while (!IsOperator(")")) {
      if (!macro.parameters.empty()) ExpectOperator(",");
      Parameter parameter{.name = ExpectAnyName(), .fallback = nullptr};
      if (SkipOperator("=")) {
        parameter.fallback = ParseExpression();
      } else if (!macro.parameters.empty() && macro.parameters.back().fallback != nullptr) {
        Fail(Cat("the parameter '", Escape(parameter.name, 40),
                 "' needs a default as the one before it"));
      }
      macro.parameters.push_back(std::move(parameter));
    }
    Take();
  }

  void ParseMacroBody(MacroBody& macro, std::string_view end) {
    MacroBody* const outer = macro_;
    const int loops = loops_;
    macro_ = &macro;
    loops_ = 0;
    macro.body = ParseBody(end);
    macro_ = outer;
    loops_ = loops;
  }

  Statement ParseFilterBlock() {
    Statement statement{.kind = StatementKind::kFilter, .line = Line()};
    Take();
    ExpressionPtr captured = Make(ExpressionKind::kCaptured, Line());
    statement.expression = ParseFilters(ParseFilter(std::move(captured)));
    statement.body = ParseBody("endfilter");
    return statement;
  }

  Statement ParseWith() {
    Statement statement{.kind = StatementKind::kWith, .line = Line()};
    Take();
    while (Current().kind != TokenKind::kBlockEnd) {
      if (!statement.assignments.empty()) ExpectOperator(",");
      Target target = ParseTarget(false);
      ExpectOperator("=");
      statement.assignments.emplace_back(std::move(target), ParseExpression());
    }
    statement.body = ParseBody("endwith");
    return statement;
  }

  Target ParseTarget(bool with_attribute) {
    const Level level(*this);
    Target target = ParseOneTarget(with_attribute);
    if (!IsOperator(",")) return target;
    Target several;
    several.parts.push_back(std::move(target));
    while (SkipOperator(",")) {
      if (Current().kind != TokenKind::kName && !IsOperator("(")) break;
      several.parts.push_back(ParseOneTarget(with_attribute));
    }
    return several;
  }

  Target ParseOneTarget(bool with_attribute) {
    if (SkipOperator("(")) {
      Target target = ParseTarget(with_attribute);
      ExpectOperator(")");
      return target;
    }
    Target target;
    target.name = ExpectAnyName();
    constexpr std::string_view kConstants[] = {"true", "false", "none", "True", "False", "None"};
    if (std::ranges::find(kConstants, target.name) != std::end(kConstants))
      Fail(Cat("'", target.name, "' cannot be assigned to"));
    if (with_attribute && SkipOperator(".")) target.attribute = ExpectAnyName();
    return target;
  }

  // ------------------------------------------------------------------ expressions
  // An expression, or several with commas: a tuple.
  ExpressionPtr ParseTuple(bool conditional = true) {
    const int line = Line();
    ExpressionPtr first = conditional ? ParseExpression() : ParseOr();
    if (!IsOperator(",")) return first;
    ExpressionPtr tuple = Make(ExpressionKind::kTuple, line, "", std::move(first));
    while (SkipOperator(",")) {
      if (EndsTuple()) break;
      Add(*tuple, conditional ? ParseExpression() : ParseOr());
    }
    return tuple;
  }

  bool EndsTuple() const {
    return Current().kind == TokenKind::kVariableEnd || Current().kind == TokenKind::kBlockEnd ||
           IsOperator(")") || IsName("in") || IsName("recursive");
  }

  ExpressionPtr ParseExpression() {
    const Level level(*this);
    ExpressionPtr value = ParseOr();
    while (IsName("if")) {
      const int line = Take().line;
      ExpressionPtr condition = ParseOr();
      ExpressionPtr otherwise = SkipName("else") ? ParseExpression() : nullptr;
      value = Make(ExpressionKind::kConditional, line, "", std::move(condition), std::move(value),
                   std::move(otherwise));
    }
    return value;
  }

  ExpressionPtr ParseOr() {
    ExpressionPtr left = ParseAnd();
    while (IsName("or")) {
      const int line = Take().line;
      left = Make(ExpressionKind::kOr, line, "", std::move(left), ParseAnd());
    }
    return left;
  }

  ExpressionPtr ParseAnd() {
    ExpressionPtr left = ParseNot();
    while (IsName("and")) {
      const int line = Take().line;
      left = Make(ExpressionKind::kAnd, line, "", std::move(left), ParseNot());
    }
    return left;
  }

  ExpressionPtr ParseNot() {
    if (!IsName("not")) return ParseCompare();
    const Level level(*this);
    const int line = Take().line;
    return Make(ExpressionKind::kUnary, line, "not", ParseNot());
  }

  ExpressionPtr ParseCompare() {
    const int line = Line();
    ExpressionPtr first = ParseSum();
    std::vector<std::string> operators;
    std::vector<ExpressionPtr> operands;
    for (;;) {
      constexpr std::string_view kComparisons[] = {"==", "!=", "<", "<=", ">", ">="};
      if (Current().kind == TokenKind::kOperator &&
          std::ranges::find(kComparisons, Current().text) != std::end(kComparisons)) {
        operators.push_back(Take().text);
      } else if (SkipName("in")) {
        operators.push_back("in");
      } else if (IsName("not") && Next().kind == TokenKind::kName && Next().text == "in") {
        Take();
        Take();
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
  ExpressionPtr ParseBinary(std::initializer_list<std::string_view> operators,
                            const Operand& operand) {
    ExpressionPtr left = operand();
    while (Current().kind == TokenKind::kOperator &&
           std::ranges::find(operators, Current().text) != operators.end()) {
      const Token op = Take();
      left = Make(ExpressionKind::kBinary, op.line, op.text, std::move(left), operand());
    }
    return left;
  }

  ExpressionPtr ParseSum() {
    return ParseBinary({"+", "-"}, [this] { return ParseConcat(); });
  }

  ExpressionPtr ParseConcat() {
    const int line = Line();
    ExpressionPtr first = ParseProduct();
    if (!IsOperator("~")) return first;
    ExpressionPtr concat = Make(ExpressionKind::kConcat, line, "", std::move(first));
    while (SkipOperator("~")) Add(*concat, ParseProduct());
    return concat;
  }

  ExpressionPtr ParseProduct() {
    return ParseBinary({"*", "/", "//", "%"},
                       [this] { return ParseBinary({"**"}, [this] { return ParseUnary(true); }); });
  }

  ExpressionPtr ParseUnary(bool with_filters) {
    const Level level(*this);
    const int line = Line();
    ExpressionPtr value;
    if (IsOperator("-") || IsOperator("+")) {
      const std::string op = Take().text;
      value = Make(ExpressionKind::kUnary, line, op, ParseUnary(false));
    } else {
      value = ParsePrimary();
    }
    value = ParsePostfix(std::move(value));
    return with_filters ? ParseFilters(std::move(value)) : std::move(value);
  }

  ExpressionPtr ParsePrimary() {
    const Token token = Current();
    switch (token.kind) {
      case TokenKind::kName:
        Take();
        return NameOrConstant(token);
      case TokenKind::kString: {
        std::string text = Take().text;
        while (Current().kind == TokenKind::kString) text += Take().text;
        return Constant(token.line, MakeString(constants_, std::move(text)));
      }
      case TokenKind::kInteger:
        Take();
        return Constant(token.line, Value(IntegerOf(token.text)));
      case TokenKind::kFloat:
        Take();
        return Constant(token.line, Value(std::strtod(token.text.c_str(), nullptr)));
      case TokenKind::kOperator:
        if (token.text == "(") return ParseParentheses();
        if (token.text == "[") return ParseList();
        if (token.text == "{") return ParseDict();
        [[fallthrough]];
      default:
        FailExpected("a value");
    }
  }

  ExpressionPtr Constant(int line, Value value) {
    ExpressionPtr constant = Make(ExpressionKind::kConstant, line);
    constant->constant = std::move(value);
    return constant;
  }

  ExpressionPtr NameOrConstant(const Token& token) {
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

  int64_t IntegerOf(std::string_view text) const {
    int base = 10;
    if (text.size() > 1 && text[0] == '0') {
      const char kind = static_cast<char>(text[1] | 32);
      base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
      if (base != 10) text.remove_prefix(2);
    }
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc() || end != text.data() + text.size())
      Fail(Cat("the number ", Escape(text, 40), " is too large or broken"));
    return value;
  }

  ExpressionPtr ParseParentheses() {
    const int line = Take().line;
    if (SkipOperator(")")) return Make(ExpressionKind::kTuple, line);
    ExpressionPtr inside = ParseTuple();
    ExpectOperator(")");
    return inside;
  }

  ExpressionPtr ParseList() {
    ExpressionPtr list = Make(ExpressionKind::kList, Take().line);
    while (!IsOperator("]")) {
      if (!list->operands.empty()) ExpectOperator(",");
      if (IsOperator("]")) break;
      Add(*list, ParseExpression());
    }
    Take();
    return list;
  }

  ExpressionPtr ParseDict() {
    ExpressionPtr dict = Make(ExpressionKind::kDict, Take().line);
    while (!IsOperator("}")) {
      if (!dict->operands.empty()) ExpectOperator(",");
      if (IsOperator("}")) break;
      Add(*dict, ParseExpression());
      ExpectOperator(":");
      Add(*dict, ParseExpression());
    }
    Take();
    return dict;
  }

  ExpressionPtr ParsePostfix(ExpressionPtr value) {
    for (;;) {
      if (IsOperator(".")) {
        value = ParseAttribute(std::move(value));
      } else if (IsOperator("[")) {
        value = ParseSubscript(std::move(value));
      } else if (IsOperator("(")) {
        value = Make(ExpressionKind::kCall, Line(), "", std::move(value));
        AddArguments(*value);
      } else {
        return value;
      }
    }
  }

  ExpressionPtr ParseAttribute(ExpressionPtr value) {
    const int line = Take().line;
    if (Current().kind == TokenKind::kInteger) {
      const int64_t index = IntegerOf(Take().text);
      return Make(ExpressionKind::kItem, line, "", std::move(value), Constant(line, Value(index)));
    }
    return Make(ExpressionKind::kAttribute, line, ExpectAnyName(), std::move(value));
  }

  ExpressionPtr ParseSubscript(ExpressionPtr value) {
    const int line = Take().line;
    ExpressionPtr parts[3];
    int colons = 0;
    while (!IsOperator("]")) {
      if (SkipOperator(":")) {
        if (++colons > 2) Fail("a slice has at most three parts");
      } else if (parts[colons] != nullptr) {
        FailExpected("\"]\"");
      } else {
        parts[colons] = colons == 0 ? ParseTuple() : ParseExpression();
      }
    }
    if (colons == 0 && parts[0] == nullptr) FailExpected("an index");
    Take();
    if (colons == 0)
      return Make(ExpressionKind::kItem, line, "", std::move(value), std::move(parts[0]));
    return Make(ExpressionKind::kSlice, line, "", std::move(value), std::move(parts[0]),
                std::move(parts[1]), std::move(parts[2]));
  }

  std::vector<CallArgument> ParseArguments() {
    std::vector<CallArgument> arguments;
    ExpectOperator("(");
    while (!IsOperator(")")) {
      if (!arguments.empty()) ExpectOperator(",");
      if (IsOperator(")")) break;
      using Kind = CallArgument::Kind;
      if (SkipOperator("**")) {
        arguments.push_back({Kind::kDict, "", ParseExpression()});
      } else if (SkipOperator("*")) {
        arguments.push_back({Kind::kList, "", ParseExpression()});
      } else if (Current().kind == TokenKind::kName && Next().kind == TokenKind::kOperator &&
                 Next().text == "=") {
        const std::string name = Take().text;
        Take();
        arguments.push_back({Kind::kNamed, name, ParseExpression()});
      } else {
        if (!arguments.empty() && arguments.back().kind != Kind::kPositional)
          Fail("an argument without a name stands behind one with a name");
        arguments.push_back({Kind::kPositional, "", ParseExpression()});
      }
    }
    Take();
    return arguments;
  }

  void AddArguments(Expression& expression) {
    expression.arguments = ParseArguments();
    for (const CallArgument& argument : expression.arguments)
      CountDepth(expression, argument.value);
  }

  // Filters, tests and calls behind a value.
  ExpressionPtr ParseFilters(ExpressionPtr value) {
    for (;;) {
      if (SkipOperator("|")) {
        value = ParseFilter(std::move(value));
      } else if (IsName("is")) {
        value = ParseTest(std::move(value));
      } else if (IsOperator("(")) {
        value = Make(ExpressionKind::kCall, Line(), "", std::move(value));
        AddArguments(*value);
      } else {
        return value;
      }
    }
  }

  ExpressionPtr ParseFilter(ExpressionPtr value) {
    const int line = Line();
    ExpressionPtr filter = Make(ExpressionKind::kFilter, line, ExpectAnyName(), std::move(value));
    if (IsOperator("(")) AddArguments(*filter);
    return filter;
  }

  ExpressionPtr ParseTest(ExpressionPtr value) {
    const int line = Take().line;
    const bool negated = SkipName("not");
    ExpressionPtr test = Make(ExpressionKind::kTest, line, ExpectAnyName(), std::move(value));
    if (IsOperator("(")) {
      AddArguments(*test);
    } else if (BeginsTestArgument()) {
      ExpressionPtr argument = ParsePostfix(ParsePrimary());
      CountDepth(*test, argument);
      test->arguments.push_back({CallArgument::Kind::kPositional, "", std::move(argument)});
    }
    if (!negated) return test;
    return Make(ExpressionKind::kUnary, line, "not", std::move(test));
  }

  bool BeginsTestArgument() const {
    switch (Current().kind) {
      case TokenKind::kString:
      case TokenKind::kInteger:
      case TokenKind::kFloat:
        return true;
      case TokenKind::kOperator:
        return Current().text == "[" || Current().text == "{";
      case TokenKind::kName: {
        constexpr std::string_view kFollowing[] = {"else", "or",  "and", "is",
                                                   "if",   "not", "in",  "recursive"};
        return std::ranges::find(kFollowing, Current().text) == std::end(kFollowing);
      }
      default:
        return false;
    }
  }

  const std::vector<Token> tokens_;
  Budget& constants_;
  size_t at_ = 0;
  int depth_ = 0, loops_ = 0;
  MacroBody* macro_ = nullptr;
};

}  // namespace

Block ParseTemplate(std::string_view source, Budget& constants) {
  return Parser(Tokenize(source), constants).Run();
}

}  // namespace smelt::jinja
