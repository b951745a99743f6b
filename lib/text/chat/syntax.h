// A parsed template.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/text/chat/value.h"

namespace smelt::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct CallArgument {
  enum class Kind { kPositional, kNamed, kList, kDict } kind;  ///< kList: *list, kDict: **dict
  std::string name;
  ExpressionPtr value;
};

enum class ExpressionKind {
  kConstant,     ///< constant
  kName,         ///< name
  kList,         ///< operands
  kTuple,        ///< operands
  kDict,         ///< operands: key, value, key, value ...
  kAttribute,    ///< operands[0].name
  kItem,         ///< operands[0][operands[1]]
  kSlice,        ///< operands[0][operands[1]:operands[2]:operands[3]], null where left out
  kCall,         ///< operands[0](arguments)
  kFilter,       ///< operands[0] | name(arguments)
  kTest,         ///< operands[0] is name(arguments)
  kUnary,        ///< name ("-", "+", "not") of operands[0]
  kBinary,       ///< operands[0] name operands[1]
  kCompare,      ///< operands[0] operators[0] operands[1] operators[1] ...
  kAnd,          ///< operands[0], operands[1]
  kOr,           ///< operands[0], operands[1]
  kConcat,       ///< operands joined as text
  kConditional,  ///< operands[1] if operands[0] else operands[2] (or null)
  kCaptured,     ///< the text of the block whose filters these are
};

struct Expression {
  ExpressionKind kind;
  int line;
  std::string name = {};
  int depth = 1;  ///< of the tree below
  Value constant = {};
  std::vector<ExpressionPtr> operands = {};
  std::vector<std::string> operators = {};
  std::vector<CallArgument> arguments = {};
};

/// What is assigned to: a name, an attribute of a namespace, or several of them.
struct Target {
  std::string name = {}, attribute = {};
  std::vector<Target> parts = {};
};

struct Statement;
using Block = std::vector<Statement>;

struct Parameter {
  std::string name;
  ExpressionPtr fallback;  ///< null: none
};

/// A body with parameters: of a macro, or what a call block hands to one.
struct MacroBody {
  std::string name;
  std::vector<Parameter> parameters;
  bool uses_varargs = false, uses_kwargs = false, uses_caller = false;
  Block body;
};

enum class StatementKind {
  kText,      ///< text
  kOutput,    ///< expression
  kIf,        ///< expression, body, otherwise
  kFor,       ///< target, expression, condition, recursive, body, otherwise
  kSet,       ///< target, expression
  kSetBlock,  ///< target, body, expression (filters of kCaptured)
  kMacro,     ///< macro
  kCall,      ///< expression, macro (the body that becomes `caller`)
  kFilter,    ///< body, expression (filters of kCaptured)
  kWith,      ///< assignments, body
  kScope,     ///< body, in a scope of its own
  kBreak,
  kContinue,
};

struct Statement {
  StatementKind kind;
  int line = 0;
  std::string text = {};
  ExpressionPtr expression = nullptr, condition = nullptr;
  Target target = {};
  bool recursive = false;
  std::shared_ptr<const MacroBody> macro = nullptr;
  std::vector<std::pair<Target, ExpressionPtr>> assignments = {};
  Block body = {}, otherwise = {};
};

}  // namespace smelt::jinja
