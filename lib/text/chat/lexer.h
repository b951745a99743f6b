// The text of a template cut into tokens, with Jinja's rules for the white space around tags
// (trim_blocks and lstrip_blocks, as transformers renders chat templates).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace smelt::jinja {

enum class TokenKind {
  kData,  ///< text outside of tags
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,  ///< text: what the literal stands for
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind;
  std::string text;
  int line;
};

/// Ends with one kEnd. Throws TemplateError.
std::vector<Token> Tokenize(std::string_view source);

}  // namespace smelt::jinja
