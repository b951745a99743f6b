// Tokens to expressions: values, operators, filters, tests, calls.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "lib/text/chat/syntax.h"
#include "lib/text/chat/token_stream.h"

namespace smelt::jinja {

ExpressionPtr MakeExpression(ExpressionKind kind, int line);

/// Takes what it parses from the tokens. Throws TemplateError with the line.
class ExpressionParser {
 public:
  /// Constants are charged to `constants`, which must outlive the expressions.
  ExpressionParser(TokenStream& tokens, Budget& constants)
      : tokens_(tokens), constants_(constants) {}

  /// An expression, or several with commas: a tuple. Not `conditional`: without "a if b else c".
  ExpressionPtr ParseTuple(bool conditional = true);
  ExpressionPtr ParseExpression();
  /// A filter's name and arguments.
  ExpressionPtr ParseFilter(ExpressionPtr value);
  /// Filters, tests and calls behind a value.
  ExpressionPtr ParseFilters(ExpressionPtr value);

  /// The macro in whose body the expressions stand, which learns what they use; null: none. The one
  /// before is returned.
  MacroBody* EnterMacro(MacroBody* macro) { return std::exchange(macro_, macro); }

 private:
  using Level = TokenStream::Level;

  bool EndsTuple() const;
  ExpressionPtr ParseOr();
  ExpressionPtr ParseAnd();
  ExpressionPtr ParseNot();
  ExpressionPtr ParseCompare();
  template <typename Operand>
  ExpressionPtr ParseBinary(std::initializer_list<std::string_view> operators,
                            const Operand& operand);
  ExpressionPtr ParseSum();
  ExpressionPtr ParseConcat();
  ExpressionPtr ParseProduct();
  ExpressionPtr ParseUnary(bool with_filters);
  ExpressionPtr ParsePrimary();
  ExpressionPtr Constant(int line, Value value) const;
  ExpressionPtr NameOrConstant(const Token& token);
  int64_t IntegerOf(std::string_view text) const;
  ExpressionPtr ParseParentheses();
  ExpressionPtr ParseList();
  ExpressionPtr ParseDict();
  ExpressionPtr ParsePostfix(ExpressionPtr value);
  ExpressionPtr ParseAttribute(ExpressionPtr value);
  ExpressionPtr ParseSubscript(ExpressionPtr value);
  std::vector<CallArgument> ParseArguments();
  void AddArguments(Expression& expression);
  ExpressionPtr ParseTest(ExpressionPtr value);
  bool BeginsTestArgument() const;

  TokenStream& tokens_;
  Budget& constants_;
  MacroBody* macro_ = nullptr;
};

}  // namespace smelt::jinja
