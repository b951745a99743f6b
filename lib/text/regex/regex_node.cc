#include "lib/text/regex/regex_node.h"

#include <utility>

namespace smelt {

namespace {

using Kind = RegexNode::Kind;

}  // namespace

RegexNode MakeNode(Kind kind, std::vector<RegexNode> children) {
  RegexNode node;
  node.kind = kind;
  node.children = std::move(children);
  return node;
}

RegexNode SetNode(CharSet set) {
  RegexNode node;
  node.kind = Kind::kSet;
  node.set = std::move(set);
  return node;
}

RegexNode Look(RegexNode inner, bool behind, bool negated) {
  RegexNode node = MakeNode(Kind::kLook, NodeList(std::move(inner)));
  node.behind = behind;
  node.negated = negated;
  return node;
}

const CharSet& AnyCharacter() {
  static const CharSet set = Complement({});
  return set;
}
const CharSet& NotLineEnd() {
  static const CharSet set = Complement({{'\n', '\n'}});
  return set;
}

RegexNode LineBegin() {
  RegexNode after_line = Look(SetNode({{'\n', '\n'}}), true, false);
  RegexNode more = Look(SetNode(AnyCharacter()), false, false);
  return MakeNode(Kind::kAlternative,
                  NodeList(TextBegin(), MakeNode(Kind::kConcat, NodeList(std::move(after_line),
                                                                         std::move(more)))));
}

RegexNode LineEnd() { return Look(SetNode(NotLineEnd()), false, true); }

RegexNode TextBegin() { return Look(SetNode(AnyCharacter()), true, true); }

RegexNode TextEnd() { return Look(SetNode(AnyCharacter()), false, true); }

RegexNode TextOrLastLineEnd() {
  RegexNode line_end = MakeNode(Kind::kRepeat, NodeList(SetNode({{'\n', '\n'}})));
  line_end.max = 1;
  return Look(MakeNode(Kind::kConcat, NodeList(std::move(line_end), TextEnd())), false, false);
}

RegexNode WordBoundary(bool boundary) {
  // A word character on one side only; without a boundary on both or none.
  const auto side = [&](bool behind, bool negated) {
    return Look(SetNode(EscapeSet('w')), behind, negated);
  };
  return MakeNode(
      Kind::kAlternative,
      NodeList(MakeNode(Kind::kConcat, NodeList(side(true, false), side(false, boundary))),
               MakeNode(Kind::kConcat, NodeList(side(true, true), side(false, !boundary)))));
}

}  // namespace smelt
