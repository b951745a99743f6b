#include "formats/weight_sets.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <utility>

#include "lib/base/ascii.h"
#include "lib/base/cat.h"

namespace smelt {
namespace {

/// Beginnings of names that training and conversion leave beside the weights.
constexpr std::string_view kOtherBeginnings[] = {
    ".",       "training_args", "training_state", "optim",         "scheduler",    "lr_scheduler",
    "scaler",  "rng_state",     "trainer",        "random_states", "extra_state",  "recipe_state",
    "adapter", "sampler",       "dataloader",     "zero_pp_rank",  "bf16_zero_pp", "ggml-vocab",
};
constexpr std::string_view kOtherEndings[] = {"_model_states.pt", "_optim_states.pt",
                                              "_optim_states.bin"};
constexpr uint64_t kMaxNumber = 1'000'000;

/// A run of digits in a name.
struct Number {
  size_t begin = 0, length = 0;
  uint64_t value = 0;
};

/// The numbers of a name; empty where one of them is too large to count parts.
std::vector<Number> NumbersOf(std::string_view name) {
  std::vector<Number> numbers;
  for (size_t i = 0; i < name.size(); ++i) {
    if (!IsDigit(name[i])) continue;
    Number number{i, 0, 0};
    while (i < name.size() && IsDigit(name[i])) ++i;
    number.length = i - number.begin;
    const char* begin = name.data() + number.begin;
    const auto [end, error] = std::from_chars(begin, begin + number.length, number.value);
    if (error != std::errc() || number.value > kMaxNumber) return {};
    numbers.push_back(number);
  }
  return numbers;
}

/// A name whose parts are counted: which number counts, and how many there are to be.
struct Counted {
  size_t part = 0;  ///< index in its numbers
  uint64_t total = 0;
  bool ranks = false;
};

std::optional<Counted> CountedParts(std::string_view name, const std::vector<Number>& numbers) {
  const auto before = [&](size_t i) {
    const size_t begin = i == 0 ? 0 : numbers[i - 1].begin + numbers[i - 1].length;
    return name.substr(begin, numbers[i].begin - begin);
  };
  for (size_t i = 0; i + 1 < numbers.size(); ++i) {
    const std::string_view between = before(i + 1);
    if (between == "-of-" || between == "_of_" || between == ".of." || between == "of") {
      return Counted{i, numbers[i + 1].value, false};
    }
    if (before(i).ends_with("world_size_") && between.ends_with("rank_")) {
      return Counted{i + 1, numbers[i].value, true};
    }
  }
  return std::nullopt;
}

/// The name with another number in one place, as wide as it was.
std::string WithNumber(std::string_view name, const Number& place, uint64_t value) {
  std::string digits = Cat(value);
  if (digits.size() < place.length) digits.insert(0, place.length - digits.size(), '0');
  return Cat(name.substr(0, place.begin), digits, name.substr(place.begin + place.length));
}

/// Parts of a counted set by number; fills in what is missing.
void Complete(const std::string& first_name, const Number& place,
              const std::map<uint64_t, std::string>& parts, WeightSet& set) {
  const uint64_t base = parts.contains(0) ? 0 : 1;
  const auto named = [&](uint64_t number) {
    return Cat("part ", number + 1 - base, " of ", set.total, ", ",
               Escape(WithNumber(first_name, place, number), 80));
  };
  if (const uint64_t last = parts.rbegin()->first; last >= base + set.total) {
    set.missing = Cat("a place for ", Escape(parts.rbegin()->second, 80), " among ", set.total,
                      " parts counted from ", base);
    return;
  }
  if (parts.size() == set.total) return;
  uint64_t absent = base;
  while (parts.contains(absent)) ++absent;
  set.missing = named(absent);
  const uint64_t others = set.total - parts.size() - 1;
  if (others > 0) set.missing += Cat(" (and ", others, " more)");
}

/// Files whose names differ in numbers alone: one set if one number counts them from 0 or 1.
void AddUncounted(const std::vector<std::string>& names, std::vector<WeightSet>& sets) {
  std::optional<size_t> varies;
  bool one = names.size() > 1;
  const std::vector<Number> first = NumbersOf(names[0]);
  for (const std::string& name : names) {
    const std::vector<Number> numbers = NumbersOf(name);
    one = one && numbers.size() == first.size();
    for (size_t i = 0; one && i < first.size(); ++i) {
      if (numbers[i].value == first[i].value) continue;
      one = !varies || *varies == i;
      varies = i;
    }
  }
  std::map<uint64_t, std::string> parts;
  for (size_t i = 0; one && varies && i < names.size(); ++i) {
    parts.emplace(NumbersOf(names[i])[*varies].value, names[i]);
  }
  const bool counts = !parts.empty() && parts.size() == names.size() && parts.begin()->first <= 1 &&
                      parts.rbegin()->first - parts.begin()->first + 1 == parts.size();
  if (!counts) {
    for (const std::string& name : names) sets.push_back({{name}, 0, false, "", false});
    return;
  }
  WeightSet& set = sets.emplace_back();
  for (auto& [number, name] : parts) set.files.push_back(name);
  set.ranks = names[0].substr(0, NumbersOf(names[0])[*varies].begin).ends_with("rank_");
}

}  // namespace

std::string WeightSet::Describe() const {
  if (files.size() == 1) return Escape(files[0], 60);
  if (joined) {
    constexpr size_t kShown = 3;
    std::string list;
    for (size_t i = 0; i < std::min(kShown, files.size()); ++i)
      list += Cat(i == 0 ? "" : ", ", Escape(files[i], 40));
    return files.size() > kShown ? Cat(list, " and ", files.size() - kShown, " more") : list;
  }
  return Cat("the ", files.size(), " parts ", Escape(files.front(), 60), " to ",
             Escape(files.back(), 60));
}

bool HasEnding(std::string_view name, std::string_view ending) {
  return name.size() > ending.size() &&
         SameWithoutCase(name.substr(name.size() - ending.size()), ending);
}

bool IsNoWeights(std::string_view name) {
  return std::ranges::any_of(kOtherBeginnings,
                             [&](std::string_view other) { return name.starts_with(other); }) ||
         std::ranges::any_of(kOtherEndings,
                             [&](std::string_view other) { return name.ends_with(other); });
}

std::vector<WeightSet> FindWeightSets(const std::vector<std::string>& names) {
  // By what stays when the number of the part is taken out, or every number.
  std::map<std::string, std::vector<std::string>> counted, others;
  for (const std::string& name : names) {
    const std::vector<Number> numbers = NumbersOf(name);
    if (const std::optional<Counted> parts = CountedParts(name, numbers)) {
      const Number& place = numbers[parts->part];
      counted[Cat(name.substr(0, place.begin), "#", name.substr(place.begin + place.length))]
          .push_back(name);
      continue;
    }
    std::string pattern = name;
    for (auto it = numbers.rbegin(); it != numbers.rend(); ++it) {
      pattern.replace(it->begin, it->length, 1, '#');
    }
    others[pattern].push_back(name);
  }
  std::vector<WeightSet> sets;
  for (const auto& [pattern, members] : counted) {
    const std::vector<Number> numbers = NumbersOf(members[0]);
    const Counted how = *CountedParts(members[0], numbers);
    std::map<uint64_t, std::string> parts;
    for (const std::string& name : members) {
      parts.emplace(NumbersOf(name)[how.part].value, name);
    }
    WeightSet& set = sets.emplace_back();
    set.total = how.total;
    set.ranks = how.ranks;
    for (const auto& [number, name] : parts) set.files.push_back(name);
    Complete(members[0], numbers[how.part], parts, set);
  }
  for (const auto& [pattern, members] : others) AddUncounted(members, sets);
  std::ranges::sort(sets, {}, [](const WeightSet& set) { return set.files.front(); });
  return sets;
}

const WeightSet* TheModel(const std::vector<WeightSet>& sets) {
  if (sets.size() == 1) return &sets[0];
  const WeightSet* found = nullptr;
  for (const WeightSet& set : sets) {
    if (!set.complete() || set.total < 2) continue;
    if (found != nullptr) return nullptr;
    found = &set;
  }
  return found;
}

}  // namespace smelt
