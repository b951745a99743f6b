// The syntax tree of a regular expression, from which the compiled table and PCRE2's text are made.
#pragma once

#include <utility>
#include <vector>

#include "lib/text/regex/char_set.h"

namespace smelt {

/// One node of a parsed expression. Everything that Oniguruma and others read differently is
/// resolved: classes and letter case are sets, anchors and word boundaries are looks.
struct RegexNode {
  enum class Kind {
    kSet,          ///< one character of `set`
    kConcat,       ///< children one after the other; none: the empty string
    kAlternative,  ///< the first child that leads to a match
    kRepeat,       ///< children[0], min to max times (max < 0: any number)
    kLook,         ///< children[0] matches here (negated: does not), and takes no characters
    kAtomic,       ///< the first match of children[0], which stays as it is
  };
  Kind kind = Kind::kConcat;
  CharSet set;
  std::vector<RegexNode> children;
  int min = 0, max = 0;  ///< of kRepeat
  bool greedy = true;    ///< of kRepeat
  bool behind = false;   ///< of kLook: the match ends here
  bool negated = false;  ///< of kLook

  friend bool operator==(const RegexNode&, const RegexNode&) = default;
};

// What the parser builds it from.
RegexNode MakeNode(RegexNode::Kind kind, std::vector<RegexNode> children);
RegexNode SetNode(CharSet set);
RegexNode Look(RegexNode inner, bool behind, bool negated);

/// Every character, and every one but the line feed.
const CharSet& AnyCharacter();
const CharSet& NotLineEnd();

RegexNode LineBegin();                  ///< "^": not after the last line's end
RegexNode LineEnd();                    ///< "$"
RegexNode TextBegin();                  ///< "\A"
RegexNode TextEnd();                    ///< "\z"
RegexNode TextOrLastLineEnd();          ///< "\Z": a line feed may follow
RegexNode WordBoundary(bool boundary);  ///< "\b", "\B"

/// A vector of nodes that are moved into it, where an initializer list would copy their sets.
template <typename... Nodes>
std::vector<RegexNode> NodeList(Nodes... nodes) {
  std::vector<RegexNode> list;
  list.reserve(sizeof...(nodes));
  (list.push_back(std::move(nodes)), ...);
  return list;
}

}  // namespace smelt
