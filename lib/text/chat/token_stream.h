// The tokens of a template as its parsers take them.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/cat.h"
#include "lib/text/chat/lexer.h"

namespace smelt::jinja {

/// Fail and Expect throw TemplateError with the line.
class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  /// Counts tags and brackets inside each other.
  class Level {
   public:
    explicit Level(TokenStream& tokens) : tokens_(tokens) {
      if (++tokens_.depth_ > kDeepest) tokens_.Fail("tags or brackets are nested too deeply");
    }
    ~Level() { --tokens_.depth_; }

   private:
    TokenStream& tokens_;
  };

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

 private:
  static constexpr int kDeepest = 150;  // tags and brackets inside each other
  const std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace smelt::jinja
