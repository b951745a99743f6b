// A regular expression as a program of ordered threads, from which the table of RegexDfa is made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/text/regex/regex_node.h"

namespace smelt {

struct RegexProgram {
  /// Of the two ways on of kSplit the one at `x` is preferred; y < 0: there is one only.
  struct Instruction {
    enum class Op { kSet, kLook, kSplit, kMatch } op;
    int set = 0;
    bool negated = false;
    int x = 0, y = -1;
    int leave = -1;  ///< of a kSplit that begins a repeat without end: the way out
  };
  std::vector<Instruction> code;
  std::vector<CharSet> sets;  ///< all different

  /// kUnsupported for what a table cannot do (a look behind, a look over more than one character,
  /// groups that are atomic, a repeat without end of a look) and for programs that are too large.
  static absl::StatusOr<RegexProgram> Of(const RegexNode& node);
};

/// Classes of characters: code points that no set tells apart share one.
struct RegexAlphabet {
  std::vector<std::pair<char32_t, uint8_t>> runs;  ///< first code point, class
  std::vector<std::vector<bool>> member;           ///< [class][set]

  static absl::StatusOr<RegexAlphabet> Of(const std::vector<CharSet>& sets);
};

/// Ordered threads, stepped by one character class at a time.
class RegexStepper {
 public:
  RegexStepper(const RegexProgram& program, const RegexAlphabet& alphabet)
      : code_(program.code),
        alphabet_(alphabet),
        seen_(program.code.size(), 0),
        following_(program.code.size(), false) {}

  using State = std::vector<int>;  ///< instructions that wait, in order of preference

  State Start();
  /// The state behind a character of the class; whether a match ends before it. The number of
  /// classes stands for the end of the text.
  bool Step(const State& state, size_t cls, State& next);

 private:
  // Behind looks, at one character: the instructions seen, and the splits that Advance is in.
  struct Looked {
    std::set<int> seen, following;
  };

  void Follow(int pc, State& state);
  bool Member(size_t cls, int set) const {
    return cls < alphabet_.member.size() && alphabet_.member[cls][static_cast<size_t>(set)];
  }
  void Advance(int pc, size_t cls, State& next, Looked& looked);

  const std::vector<RegexProgram::Instruction>& code_;
  const RegexAlphabet& alphabet_;
  std::vector<uint64_t> seen_;
  std::vector<bool> following_;  // the splits that Follow is in
  uint64_t round_ = 0;
  bool matched_ = false;
};

}  // namespace smelt
