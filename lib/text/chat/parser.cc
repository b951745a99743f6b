#include "lib/text/chat/parser.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "lib/base/cat.h"
#include "lib/text/chat/expression_parser.h"
#include "lib/text/chat/token_stream.h"

namespace smelt::jinja {
namespace {

class Parser {
 public:
  Parser(std::vector<Token> tokens, Budget& constants)
      : tokens_(std::move(tokens)), expressions_(tokens_, constants) {}

  Block Run() {
    Block block = ParseBlock({});
    if (tokens_.Current().kind != TokenKind::kEnd)
      tokens_.Fail(Cat("unexpected tag '", tokens_.Current().text, "'"));
    return block;
  }

 private:
  // Up to a tag of one of these names, whose name is the current token then, or to the end.
  Block ParseBlock(std::initializer_list<std::string_view> ends) {
    const TokenStream::Level level(tokens_);
    Block block;
    for (;;) {
      switch (tokens_.Current().kind) {
        case TokenKind::kData:
          block.push_back({.kind = StatementKind::kText,
                           .line = tokens_.Line(),
                           .text = tokens_.Current().text});
          tokens_.Take();
          break;
        case TokenKind::kVariableBegin: {
          tokens_.Take();
          Statement output{.kind = StatementKind::kOutput, .line = tokens_.Line()};
          output.expression = expressions_.ParseTuple();
          if (tokens_.Current().kind != TokenKind::kVariableEnd) tokens_.FailExpected("\"}}\"");
          tokens_.Take();
          block.push_back(std::move(output));
          break;
        }
        case TokenKind::kBlockBegin:
          tokens_.Take();
          if (tokens_.Current().kind != TokenKind::kName) tokens_.FailExpected("the name of a tag");
          if (std::ranges::find(ends, tokens_.Current().text) != ends.end()) return block;
          block.push_back(ParseStatement(ends));
          break;
        default:
          if (ends.size() > 0) tokens_.Fail(Cat("{% ", *(ends.end() - 1), " %} is missing"));
          return block;
      }
    }
  }

  Block ParseBody(std::string_view end) {
    tokens_.ExpectBlockEnd();
    Block body = ParseBlock({end});
    tokens_.Take();
    tokens_.ExpectBlockEnd();
    return body;
  }

  Statement ParseStatement(std::initializer_list<std::string_view> ends) {
    const Token tag = tokens_.Current();
    if (tag.text == "if") return ParseIf();
    if (tag.text == "for") return ParseFor();
    if (tag.text == "set") return ParseSet();
    if (tag.text == "macro") return ParseMacro();
    if (tag.text == "call") return ParseCallBlock();
    if (tag.text == "filter") return ParseFilterBlock();
    if (tag.text == "with") return ParseWith();
    if (tag.text == "break" || tag.text == "continue") {
      if (loops_ == 0) tokens_.Fail(Cat("'", tag.text, "' outside of a loop"));
      tokens_.Take();
      tokens_.ExpectBlockEnd();
      return {.kind = tag.text == "break" ? StatementKind::kBreak : StatementKind::kContinue,
              .line = tag.line};
    }
    if (tag.text == "generation") {  // marks what an assistant said, for training
      tokens_.Take();
      Statement scope{.kind = StatementKind::kScope, .line = tag.line};
      scope.body = ParseBody("endgeneration");
      return scope;
    }
    const bool closing = tag.text.starts_with("end") || tag.text == "else" || tag.text == "elif";
    if (closing && ends.size() > 0)
      tokens_.Fail(Cat("found the tag '", Escape(tag.text, 40), "' where '", *(ends.end() - 1),
                       "' is expected"));
    if (closing) tokens_.Fail(Cat("the tag '", Escape(tag.text, 40), "' closes nothing"));
    tokens_.Fail(Cat("the tag '", Escape(tag.text, 40), "' is not supported"));
  }

  Statement ParseIf() {
    Statement statement{.kind = StatementKind::kIf, .line = tokens_.Line()};
    tokens_.Take();
    statement.expression = expressions_.ParseTuple(false);
    tokens_.ExpectBlockEnd();
    statement.body = ParseBlock({"elif", "else", "endif"});
    if (tokens_.IsName("elif")) {
      const TokenStream::Level level(tokens_);
      statement.otherwise.push_back(ParseIf());
      return statement;
    }
    if (tokens_.SkipName("else")) {
      tokens_.ExpectBlockEnd();
      statement.otherwise = ParseBlock({"endif"});
    }
    tokens_.Take();
    tokens_.ExpectBlockEnd();
    return statement;
  }

  Statement ParseFor() {
    Statement statement{.kind = StatementKind::kFor, .line = tokens_.Line()};
    tokens_.Take();
    statement.target = ParseTarget(false);
    tokens_.ExpectName("in");
    statement.expression = expressions_.ParseTuple(false);
    if (tokens_.SkipName("if")) statement.condition = expressions_.ParseExpression();
    statement.recursive = tokens_.SkipName("recursive");
    tokens_.ExpectBlockEnd();
    ++loops_;
    statement.body = ParseBlock({"else", "endfor"});
    --loops_;
    if (tokens_.SkipName("else")) {
      tokens_.ExpectBlockEnd();
      statement.otherwise = ParseBlock({"endfor"});
    }
    tokens_.Take();
    tokens_.ExpectBlockEnd();
    return statement;
  }

  Statement ParseSet() {
    Statement statement{.kind = StatementKind::kSet, .line = tokens_.Line()};
    tokens_.Take();
    statement.target = ParseTarget(true);
    if (tokens_.SkipOperator("=")) {
      statement.expression = expressions_.ParseTuple();
      tokens_.ExpectBlockEnd();
      return statement;
    }
    statement.kind = StatementKind::kSetBlock;
    statement.expression = MakeExpression(ExpressionKind::kCaptured, tokens_.Line());
    if (tokens_.IsOperator("|"))
      statement.expression = expressions_.ParseFilters(std::move(statement.expression));
    statement.body = ParseBody("endset");
    return statement;
  }

  Statement ParseMacro() {
    Statement statement{.kind = StatementKind::kMacro, .line = tokens_.Line()};
    tokens_.Take();
    auto macro = std::make_shared<MacroBody>();
    macro->name = tokens_.ExpectAnyName();
    ParseParameters(*macro);
    ParseMacroBody(*macro, "endmacro");
    statement.macro = std::move(macro);
    return statement;
  }

  Statement ParseCallBlock() {
    Statement statement{.kind = StatementKind::kCall, .line = tokens_.Line()};
    tokens_.Take();
    auto macro = std::make_shared<MacroBody>();
    macro->name = "caller";
    if (tokens_.IsOperator("(")) ParseParameters(*macro);
    statement.expression = expressions_.ParseExpression();
    if (statement.expression->kind != ExpressionKind::kCall)
      tokens_.Fail("a call block needs a call");
    ParseMacroBody(*macro, "endcall");
    statement.macro = std::move(macro);
    return statement;
  }

  void ParseParameters(MacroBody& macro) {
    tokens_.ExpectOperator("(");
    while (!tokens_.IsOperator(")")) {
      if (!macro.parameters.empty()) tokens_.ExpectOperator(",");
      Parameter parameter{.name = tokens_.ExpectAnyName(), .fallback = nullptr};
      if (tokens_.SkipOperator("=")) {
        parameter.fallback = expressions_.ParseExpression();
      } else if (!macro.parameters.empty() && macro.parameters.back().fallback != nullptr) {
        tokens_.Fail(Cat("the parameter '", Escape(parameter.name, 40),
                         "' needs a default as the one before it"));
      }
      macro.parameters.push_back(std::move(parameter));
    }
    tokens_.Take();
  }

  void ParseMacroBody(MacroBody& macro, std::string_view end) {
    MacroBody* const outer = expressions_.EnterMacro(&macro);
    const int loops = std::exchange(loops_, 0);
    macro.body = ParseBody(end);
    expressions_.EnterMacro(outer);
    loops_ = loops;
  }

  Statement ParseFilterBlock() {
    Statement statement{.kind = StatementKind::kFilter, .line = tokens_.Line()};
    tokens_.Take();
    ExpressionPtr captured = MakeExpression(ExpressionKind::kCaptured, tokens_.Line());
    statement.expression = expressions_.ParseFilters(expressions_.ParseFilter(std::move(captured)));
    statement.body = ParseBody("endfilter");
    return statement;
  }

  Statement ParseWith() {
    Statement statement{.kind = StatementKind::kWith, .line = tokens_.Line()};
    tokens_.Take();
    while (tokens_.Current().kind != TokenKind::kBlockEnd) {
      if (!statement.assignments.empty()) tokens_.ExpectOperator(",");
      Target target = ParseTarget(false);
      tokens_.ExpectOperator("=");
      statement.assignments.emplace_back(std::move(target), expressions_.ParseExpression());
    }
    statement.body = ParseBody("endwith");
    return statement;
  }

  Target ParseTarget(bool with_attribute) {
    const TokenStream::Level level(tokens_);
    Target target = ParseOneTarget(with_attribute);
    if (!tokens_.IsOperator(",")) return target;
    Target several;
    several.parts.push_back(std::move(target));
    while (tokens_.SkipOperator(",")) {
      if (tokens_.Current().kind != TokenKind::kName && !tokens_.IsOperator("(")) break;
      several.parts.push_back(ParseOneTarget(with_attribute));
    }
    return several;
  }

  Target ParseOneTarget(bool with_attribute) {
    if (tokens_.SkipOperator("(")) {
      Target target = ParseTarget(with_attribute);
      tokens_.ExpectOperator(")");
      return target;
    }
    Target target;
    target.name = tokens_.ExpectAnyName();
    constexpr std::string_view kConstants[] = {"true", "false", "none", "True", "False", "None"};
    if (std::ranges::find(kConstants, target.name) != std::end(kConstants))
      tokens_.Fail(Cat("'", target.name, "' cannot be assigned to"));
    if (with_attribute && tokens_.SkipOperator(".")) target.attribute = tokens_.ExpectAnyName();
    return target;
  }

  TokenStream tokens_;
  ExpressionParser expressions_;
  int loops_ = 0;  ///< around the current statement
};

}  // namespace

Block ParseTemplate(std::string_view source, Budget& constants) {
  return Parser(Tokenize(source), constants).Run();
}

}  // namespace smelt::jinja
