// A matcher compiled from a regular expression: a table walked once over the text, with the results
// of a backtracking matcher (first alternative that matches, greedy where the pattern is) and none
// of its bad cases.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/text/regex/regex_node.h"

namespace smelt {

struct RegexAlphabet;
class RegexStepper;

class RegexDfa {
 public:
  /// kUnsupported when the table would become too large, and for looks behind, looks over more than
  /// one character and atomic groups of more than a repeated character.
  static absl::StatusOr<RegexDfa> Compile(const RegexNode& node);

  /// What attempts on one text have learned: places and states from which no match ends any more.
  /// With it, attempts at every place of a text take linear time together (Reps 1998,
  /// doi:10.1145/276393.276394), though each may have to read far ahead. Costs nothing until one
  /// does.
  class Memo {
   public:
    uint64_t bytes_read() const { return bytes_read_; }  ///< by all attempts

   private:
    friend class RegexDfa;
    static constexpr size_t kStates = 4;  ///< remembered for a place
    bool Hopeless(size_t place, uint32_t state) const;
    void Learn(size_t place, uint32_t state);
    std::vector<std::array<uint16_t, kStates>> states_;  ///< of places from base_ on; 0: none
    size_t base_ = 0;
    uint64_t bytes_read_ = 0;
  };

  /// End of the match that begins at `begin` (bytes of valid UTF-8), or npos. May equal `begin`.
  /// `memo` belongs to this text.
  size_t MatchAt(std::string_view text, size_t begin, Memo& memo) const;

  /// True when both give the same matches on every text.
  static absl::StatusOr<bool> Equivalent(const RegexNode& a, const RegexNode& b);

  /// True when there is a match of at least one character at every place of every text.
  static absl::StatusOr<bool> MatchesEverywhere(const RegexNode& node);

  static constexpr size_t npos = SIZE_MAX;

  /// Of the tables.
  size_t memory() const { return next_.size() * sizeof(uint32_t) + class_of_.memory(); }

 private:
  // The class of every code point, in pages of which many are the same.
  class Classes {
   public:
    Classes() = default;
    explicit Classes(const RegexAlphabet& alphabet);
    uint32_t operator[](char32_t c) const { return pages_[page_of_[c >> 8] * 256u + (c & 255)]; }
    size_t memory() const { return page_of_.size() * sizeof(uint16_t) + pages_.size(); }

   private:
    std::vector<uint16_t> page_of_;  // of each 256 code points
    std::vector<uint8_t> pages_;
  };

  static absl::StatusOr<RegexDfa> Compile(const RegexNode& node,
                                          const std::vector<CharSet>& more_sets);
  absl::Status AddStates(RegexStepper& stepper);
  uint32_t states() const { return static_cast<uint32_t>(next_.size() / stride_); }
  uint32_t Row(uint32_t state, uint32_t cls) const { return next_[state * stride_ + cls]; }
  std::vector<bool> LiveStates() const;

  Classes class_of_;
  uint32_t classes_ = 0;  ///< of characters; the next one is the end of the text
  uint32_t stride_ = 0;
  std::vector<uint32_t> next_;  ///< [state][class]: next state * 2 + "a match ends before this
                                ///< character"; state 0 is dead, 1 the first
};

}  // namespace smelt
