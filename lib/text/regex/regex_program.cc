#include "lib/text/regex/regex_program.h"

#include <algorithm>
#include <map>

#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr size_t kMaxInstructions = 4000;
constexpr int kMaxRepeat = 64;
constexpr char32_t kLimit = 0x110000;

using Kind = RegexNode::Kind;
using Op = RegexProgram::Instruction::Op;

bool HasLook(const RegexNode& node) {
  return node.kind == Kind::kLook || node.kind == Kind::kAtomic ||
         std::any_of(node.children.begin(), node.children.end(), HasLook);
}

bool MayBeEmpty(const RegexNode& node) {
  const auto& children = node.children;
  switch (node.kind) {
    case Kind::kSet:
      return false;
    case Kind::kLook:
      return true;
    case Kind::kRepeat:
      return node.min == 0 || MayBeEmpty(children.front());
    case Kind::kAlternative:
      return std::any_of(children.begin(), children.end(), MayBeEmpty);
    case Kind::kConcat:
    case Kind::kAtomic:
      break;
  }
  return std::all_of(children.begin(), children.end(), MayBeEmpty);
}

class ProgramBuilder {
 public:
  absl::StatusOr<RegexProgram> Build(const RegexNode& node) {
    SMELT_RETURN_IF_ERROR(Emit(node));
    code_.push_back({.op = Op::kMatch});
    return std::move(program_);
  }

 private:
  int SetIndex(const CharSet& set) {
    const auto found = std::find(sets_.begin(), sets_.end(), set);
    if (found != sets_.end()) return static_cast<int>(found - sets_.begin());
    sets_.push_back(set);
    return static_cast<int>(sets_.size()) - 1;
  }
  int Here() const { return static_cast<int>(code_.size()); }

  // Execution falls through to the instruction after what was emitted.
  absl::Status Emit(const RegexNode& node) {
    // Steps too: a repeat of a repeat of nothing takes time without instructions.
    if (code_.size() > kMaxInstructions || ++steps_ > 4 * kMaxInstructions)
      return Error(ErrorCode::kUnsupported, "the regular expression is too large");
    switch (node.kind) {
      case Kind::kSet:
        code_.push_back({.op = Op::kSet, .set = SetIndex(node.set), .x = Here() + 1});
        return absl::OkStatus();
      case Kind::kLook:
        return EmitLook(node);
      case Kind::kConcat:
        for (const RegexNode& child : node.children) SMELT_RETURN_IF_ERROR(Emit(child));
        return absl::OkStatus();
      case Kind::kAlternative:
        return EmitAlternative(node);
      case Kind::kRepeat:
        return EmitRepeat(node);
      case Kind::kAtomic:
        return EmitAtomic(node);
    }
    return absl::OkStatus();
  }

  absl::Status EmitLook(const RegexNode& node) {
    const RegexNode& inner = node.children.front();
    if (node.behind || inner.kind != Kind::kSet)
      return Error(ErrorCode::kUnsupported, "only a look at the next character has a table");
    PushLook(inner.set, node.negated);
    return absl::OkStatus();
  }
  void PushLook(const CharSet& set, bool negated) {
    code_.push_back({.op = Op::kLook, .set = SetIndex(set), .negated = negated, .x = Here() + 1});
  }

  // A repeat of characters that gives none back: whatever follows, none of the set does. Of at most
  // one: that one, or none of the set.
  absl::Status EmitAtomic(const RegexNode& node) {
    const RegexNode& repeat = node.children.front();
    const bool plain = repeat.kind == Kind::kRepeat && repeat.greedy &&
                       (repeat.max < 0 || (repeat.min == 0 && repeat.max == 1)) &&
                       repeat.children.front().kind == Kind::kSet;
    if (!plain) return Error(ErrorCode::kUnsupported, "atomic groups have no table");
    const RegexNode& one = repeat.children.front();
    if (repeat.max < 0) {
      SMELT_RETURN_IF_ERROR(EmitRepeat(repeat));
      PushLook(one.set, true);
      return absl::OkStatus();
    }
    const RegexNode none = Look(one, /*behind=*/false, /*negated=*/true);
    return EmitAlternative(MakeNode(Kind::kAlternative, NodeList(one, none)));
  }

  absl::Status EmitAlternative(const RegexNode& node) {
    std::vector<int> jumps;
    for (size_t i = 0; i < node.children.size(); ++i) {
      const bool last = i + 1 == node.children.size();
      const int split = Here();
      if (!last) code_.push_back({.op = Op::kSplit, .x = Here() + 1});
      SMELT_RETURN_IF_ERROR(Emit(node.children[i]));
      if (last) break;
      jumps.push_back(Here());
      code_.push_back({.op = Op::kSplit});
      code_[split].y = Here();
    }
    for (const int jump : jumps) code_[jump].x = Here();
    return absl::OkStatus();
  }

  void Choose(int split, int enter, int leave, bool greedy) {
    code_[split].x = greedy ? enter : leave;
    code_[split].y = greedy ? leave : enter;
  }

  absl::Status EmitRepeat(const RegexNode& node) {
    if (node.min > kMaxRepeat || node.max > kMaxRepeat)
      return Error(ErrorCode::kUnsupported, "long counted repeats have no table");
    const RegexNode& child = node.children.front();
    for (int i = 0; i < node.min; ++i) SMELT_RETURN_IF_ERROR(Emit(child));
    if (node.max < 0) {
      // A round that takes nothing is the last one, and behind a look nobody knows what it took.
      if (HasLook(child) && MayBeEmpty(child))
        return Error(ErrorCode::kUnsupported, "repeats of a look have no table");
      const int split = Here();
      code_.push_back({.op = Op::kSplit});
      SMELT_RETURN_IF_ERROR(Emit(child));
      code_.push_back({.op = Op::kSplit, .x = split});
      Choose(split, split + 1, Here(), node.greedy);
      code_[split].leave = Here();
      return absl::OkStatus();
    }
    std::vector<int> splits;
    for (int i = node.min; i < node.max; ++i) {
      splits.push_back(Here());
      code_.push_back({.op = Op::kSplit});
      SMELT_RETURN_IF_ERROR(Emit(child));
    }
    for (const int split : splits) Choose(split, split + 1, Here(), node.greedy);
    return absl::OkStatus();
  }

  RegexProgram program_;
  std::vector<RegexProgram::Instruction>& code_ = program_.code;
  std::vector<CharSet>& sets_ = program_.sets;
  size_t steps_ = 0;
};

}  // namespace

absl::StatusOr<RegexProgram> RegexProgram::Of(const RegexNode& node) {
  return ProgramBuilder().Build(node);
}

absl::StatusOr<RegexAlphabet> RegexAlphabet::Of(const std::vector<CharSet>& sets) {
  std::set<char32_t> starts = {0};
  for (const CharSet& set : sets) {
    for (const auto& [first, last] : set) {
      starts.insert(first);
      if (last + 1 < kLimit) starts.insert(last + 1);
    }
  }
  RegexAlphabet alphabet;
  std::map<std::vector<bool>, uint8_t> classes;
  std::vector<size_t> at(sets.size(), 0);
  for (const char32_t start : starts) {
    std::vector<bool> signature(sets.size());
    for (size_t i = 0; i < sets.size(); ++i) {
      while (at[i] < sets[i].size() && sets[i][at[i]].second < start) ++at[i];
      signature[i] = at[i] < sets[i].size() && sets[i][at[i]].first <= start;
    }
    const auto [entry, added] =
        classes.try_emplace(signature, static_cast<uint8_t>(classes.size()));
    if (added) alphabet.member.push_back(signature);
    if (alphabet.member.size() > 250)
      return Error(ErrorCode::kUnsupported, "the regular expression has too many classes");
    alphabet.runs.emplace_back(start, entry->second);
  }
  return alphabet;
}

RegexStepper::State RegexStepper::Start() {
  State state;
  ++round_;
  Follow(0, state);
  return state;
}

bool RegexStepper::Step(const State& state, size_t cls, State& next) {
  next.clear();
  matched_ = false;
  ++round_;
  Looked looked;
  for (const int pc : state) {
    if (matched_) break;
    Advance(pc, cls, next, looked);
  }
  return matched_;
}

// Adds what can be waited at, in order of preference.
void RegexStepper::Follow(int pc, State& state) {
  const RegexProgram::Instruction& in = code_[static_cast<size_t>(pc)];
  if (seen_[static_cast<size_t>(pc)] == round_) {
    // Back at the repeat without having taken anything: on behind it.
    if (in.leave >= 0 && following_[static_cast<size_t>(pc)]) Follow(in.leave, state);
    return;
  }
  seen_[static_cast<size_t>(pc)] = round_;
  if (in.op != Op::kSplit) {
    state.push_back(pc);
    return;
  }
  following_[static_cast<size_t>(pc)] = true;
  Follow(in.x, state);
  if (in.y >= 0) Follow(in.y, state);
  following_[static_cast<size_t>(pc)] = false;
}

void RegexStepper::Advance(int pc, size_t cls, State& next, Looked& looked) {
  if (matched_) return;
  const RegexProgram::Instruction& in = code_[static_cast<size_t>(pc)];
  switch (in.op) {
    case Op::kMatch:
      matched_ = true;
      return;
    case Op::kSet:
      if (Member(cls, in.set)) Follow(in.x, next);
      return;
    case Op::kLook:
      if (Member(cls, in.set) != in.negated && looked.seen.insert(pc).second)
        Advance(in.x, cls, next, looked);
      return;
    case Op::kSplit:
      if (!looked.seen.insert(pc).second) {
        if (in.leave >= 0 && looked.following.contains(pc)) Advance(in.leave, cls, next, looked);
        return;
      }
      looked.following.insert(pc);
      Advance(in.x, cls, next, looked);
      if (in.y >= 0) Advance(in.y, cls, next, looked);
      looked.following.erase(pc);
      return;
  }
}

}  // namespace smelt
