// `value | NAME(...)` of lists and dictionaries, and of each of their items.
#include <algorithm>
#include <set>

#include "lib/base/cat.h"
#include "lib/text/chat/characters.h"
#include "lib/text/chat/filters.h"
#include "lib/text/chat/operators.h"

namespace smelt::jinja {
namespace {

Value ListFilter(Renderer& renderer, const Value& value, const Arguments&) {
  return MakeList(renderer.budget(), Iterate(renderer.budget(), value));
}

Value ItemsFilter(Renderer& renderer, const Value& value, const Arguments&) {
  if (value.is_undefined()) return MakeList(renderer.budget(), {}, ListKind::kGenerator);
  if (!value.is_dict()) throw TemplateError{"Can only get item pairs from a mapping."};
  const Value items = renderer.Call(*FindMethod(renderer, value, "items"), {});
  return MakeList(renderer.budget(), items.list()->items, ListKind::kGenerator);
}

Value FirstFilter(Renderer& renderer, const Value& value, const Arguments&) {
  const std::vector<Value> items = Iterate(renderer.budget(), value);
  return items.empty() ? Value::MakeUndefined("No first item, sequence was empty.") : items.front();
}

Value LastFilter(Renderer& renderer, const Value& value, const Arguments&) {
  const std::vector<Value> items = Iterate(renderer.budget(), value);
  return items.empty() ? Value::MakeUndefined("No last item, sequence was empty.") : items.back();
}

Value JoinFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("join", arguments, {"d", "attribute"});
  const std::string separator = parameters.Has(0) ? TextOf(renderer, parameters[0]) : "";
  std::string out;
  bool first = true;
  for (const Value& item : Iterate(renderer.budget(), value)) {
    if (!first) out += separator;
    first = false;
    const bool by_attribute = parameters.Has(1) && !parameters[1].is_none();
    out += TextOf(renderer, by_attribute ? FollowPath(renderer, item, parameters[1]) : item);
    renderer.budget().Step(1 + separator.size() / 64);
    if (out.size() > kLongestText) throw TemplateError{"builds texts that are too large"};
  }
  return renderer.Text(std::move(out));
}

Value ReverseFilter(Renderer& renderer, const Value& value, const Arguments&) {
  std::vector<Value> items = Iterate(renderer.budget(), value);
  std::ranges::reverse(items);
  if (!value.is_string())
    return MakeList(renderer.budget(), std::move(items), ListKind::kGenerator);
  std::string out;
  for (const Value& item : items) out += item.text();
  return TextLike(renderer, value, std::move(out));
}

// What two items are compared by: without case unless asked, an attribute if named; several
// attributes with commas where the filter knows that.
class SortKey {
 public:
  SortKey(Renderer& renderer, bool case_sensitive, Value attribute, bool several = false)
      : renderer_(renderer),
        case_sensitive_(case_sensitive),
        several_(several),
        attribute_(std::move(attribute)) {}

  Value Of(const Value& item) const {
    if (!several_ || !attribute_.is_string()) return One(item, attribute_);
    std::vector<Value> keys;
    std::string_view paths = attribute_.text();
    while (true) {
      const size_t comma = std::min(paths.find(','), paths.size());
      keys.push_back(One(item, renderer_.Text(std::string(paths.substr(0, comma)))));
      if (comma == paths.size()) break;
      paths.remove_prefix(comma + 1);
    }
    return MakeList(renderer_.budget(), std::move(keys));
  }

 private:
  Value One(const Value& item, const Value& attribute) const {
    Value key = attribute.is_none() ? item : FollowPath(renderer_, item, attribute);
    if (case_sensitive_ || !key.is_string()) return key;
    return renderer_.Text(ToLower(key.text()));
  }

  Renderer& renderer_;
  const bool case_sensitive_, several_;
  const Value attribute_;
};

std::vector<Value> Sorted(Renderer& renderer, std::vector<Value> items, const SortKey& key,
                          bool reverse) {
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : items) {
    Value of = key.Of(item);
    keyed.emplace_back(std::move(of), std::move(item));
  }
  const auto less = [&](const auto& a, const auto& b) {
    renderer.budget().Step();
    return reverse ? Less(b.first, a.first) : Less(a.first, b.first);
  };
  std::ranges::stable_sort(keyed, less);
  items.clear();
  for (auto& [unused, item] : keyed) items.push_back(std::move(item));
  return items;
}

Value SortFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const SortKey key(renderer, parameters.Truth(1, false), parameters.Or(2, Value()), true);
  return MakeList(renderer.budget(), Sorted(renderer, Iterate(renderer.budget(), value), key,
                                            parameters.Truth(0, false)));
}

Value DictSortFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const std::string by = parameters.Text(1, "key");
  if (by != "key" && by != "value")
    throw TemplateError{"You can only sort by either \"key\" or \"value\""};
  RequireDefined(value);
  if (!value.is_dict())
    throw TemplateError{Cat("'", value.type_name(), " object' has no attribute 'items'")};
  const Value items = renderer.Call(*FindMethod(renderer, value, "items"), {});
  const SortKey key(renderer, parameters.Truth(0, false), Value(int64_t{by == "key" ? 0 : 1}));
  return MakeList(renderer.budget(),
                  Sorted(renderer, items.list()->items, key, parameters.Truth(2, false)));
}

template <bool largest>
Value ExtremeFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("min", arguments, {"case_sensitive", "attribute"});
  const SortKey key(renderer, parameters.Truth(0, false), parameters.Or(1, Value()));
  const std::vector<Value> items = Iterate(renderer.budget(), value);
  if (items.empty()) return Value::MakeUndefined("No aggregated item, sequence was empty.");
  Value best = items[0], best_key = key.Of(best);
  for (const Value& item : std::span(items).subspan(1)) {
    Value of = key.Of(item);
    if (largest ? Less(best_key, of) : Less(of, best_key)) {
      best = item;
      best_key = std::move(of);
    }
  }
  return best;
}

Value UniqueFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("unique", arguments, {"case_sensitive", "attribute"});
  const SortKey key(renderer, parameters.Truth(0, false), parameters.Or(1, Value()));
  std::set<Value, KeyLess> seen;
  std::vector<Value> items;
  for (const Value& item : Iterate(renderer.budget(), value)) {
    Value of = key.Of(item);
    if (of.is_dict() || (of.is_list() && of.list()->kind != ListKind::kTuple))
      throw TemplateError{Cat("unhashable type: '", of.type_name(), "'")};
    if (seen.insert(std::move(of)).second) items.push_back(item);
  }
  return MakeList(renderer.budget(), std::move(items), ListKind::kGenerator);
}

Value SumFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("sum", arguments, {"attribute", "start"});
  const Value attribute = parameters.Or(0, Value());
  Value sum = parameters.Or(1, Value(int64_t{0}));
  for (const Value& item : Iterate(renderer.budget(), value)) {
    sum = Binary(renderer.budget(), "+", sum,
                 attribute.is_none() ? item : FollowPath(renderer, item, attribute));
  }
  return sum;
}

Value BatchFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("batch", arguments, {"linecount", "fill_with"}, 1);
  const int64_t size = parameters.Integer(0, 1);
  if (size < 1 || size > 1 << 20) throw TemplateError{"batch() takes a size of at least 1"};
  std::vector<Value> batches, batch;
  const auto close = [&] { batches.push_back(MakeList(renderer.budget(), std::move(batch))); };
  for (Value& item : Iterate(renderer.budget(), value)) {
    if (static_cast<int64_t>(batch.size()) == size) {
      close();
      batch.clear();
    }
    batch.push_back(std::move(item));
  }
  if (!batch.empty()) {
    const bool fill = parameters.Has(1) && !parameters[1].is_none();
    renderer.budget().Step(static_cast<uint64_t>(size));
    if (fill) batch.resize(static_cast<size_t>(size), parameters[1]);
    close();
  }
  return MakeList(renderer.budget(), std::move(batches), ListKind::kGenerator);
}

Value SliceFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("slice", arguments, {"slices", "fill_with"}, 1);
  const int64_t slices = parameters.Integer(0, 1);
  if (slices < 1 || slices > 1 << 20) throw TemplateError{"slice() takes a number of at least 1"};
  const std::vector<Value> items = Iterate(renderer.budget(), value);
  const int64_t each = static_cast<int64_t>(items.size()) / slices,
                longer = static_cast<int64_t>(items.size()) % slices;
  std::vector<Value> parts;
  auto at = items.begin();
  for (int64_t i = 0; i < slices; ++i) {
    const auto end = at + each + (i < longer ? 1 : 0);
    std::vector<Value> part(at, end);
    const bool fill = parameters.Has(1) && !parameters[1].is_none() && i >= longer;
    if (fill) part.push_back(parameters[1]);
    parts.push_back(MakeList(renderer.budget(), std::move(part)));
    at = end;
  }
  return MakeList(renderer.budget(), std::move(parts), ListKind::kGenerator);
}

Value GroupByFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  const Parameters parameters("groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
  const SortKey key(renderer, parameters.Truth(2, false), parameters[0]);
  std::vector<Value> groups, group;
  Value current;
  const auto close = [&] {
    if (group.empty()) return;
    Value name = FollowPath(renderer, group[0], parameters[0]);
    groups.push_back(MakeList(renderer.budget(),
                              {std::move(name), MakeList(renderer.budget(), std::move(group))},
                              ListKind::kTuple, std::string(kGroupLabel)));
    group.clear();
  };
  for (Value& item : Sorted(renderer, Iterate(renderer.budget(), value), key, false)) {
    Value of = key.Of(item);
    if (!group.empty() && !Equal(of, current)) close();
    current = std::move(of);
    group.push_back(std::move(item));
  }
  close();
  return MakeList(renderer.budget(), std::move(groups));
}

// A filter by name with the arguments behind it, or an attribute.
Value MapFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  std::vector<Value> mapped;
  if (!value.truth()) return MakeList(renderer.budget(), {}, ListKind::kGenerator);
  if (arguments.positional.empty()) {
    const Parameters parameters("map", arguments, {"attribute", "default"}, 1);
    for (const Value& item : Iterate(renderer.budget(), value)) {
      const Value found = FollowPath(renderer, item, parameters[0]);
      mapped.push_back(found.is_undefined() ? parameters.Or(1, found) : found);
    }
  } else {
    const std::string name = TextOf(renderer, arguments.positional[0]);
    const Filter filter = FindFilter(name);
    if (filter == nullptr)
      throw TemplateError{Cat("the filter '", Escape(name, 40), "' is not supported")};
    const Arguments rest{
        .positional = {arguments.positional.begin() + 1, arguments.positional.end()},
        .named = arguments.named};
    for (const Value& item : Iterate(renderer.budget(), value))
      mapped.push_back(filter(renderer, item, rest));
  }
  return MakeList(renderer.budget(), std::move(mapped), ListKind::kGenerator);
}

// Items (or their attribute) that pass a test, or are true where none is named.
template <bool wanted, bool by_attribute>
Value SelectFilter(Renderer& renderer, const Value& value, const Arguments& arguments) {
  if (!value.truth()) return MakeList(renderer.budget(), {}, ListKind::kGenerator);
  constexpr size_t kTestAt = by_attribute ? 1 : 0;
  if (by_attribute && arguments.positional.empty())
    throw TemplateError{"selectattr() needs the name of an attribute"};
  Test test = nullptr;
  Arguments rest;
  if (arguments.positional.size() > kTestAt) {
    const std::string name = TextOf(renderer, arguments.positional[kTestAt]);
    test = FindTest(name);
    if (test == nullptr)
      throw TemplateError{Cat("the test '", Escape(name, 40), "' is not supported")};
    rest.positional.assign(arguments.positional.begin() + kTestAt + 1, arguments.positional.end());
    rest.named = arguments.named;
  }
  std::vector<Value> chosen;
  for (const Value& item : Iterate(renderer.budget(), value)) {
    const Value looked_at =
        by_attribute ? FollowPath(renderer, item, arguments.positional[0]) : item;
    const bool passes = test == nullptr ? looked_at.truth() : test(renderer, looked_at, rest);
    if (passes == wanted) chosen.push_back(item);
  }
  return MakeList(renderer.budget(), std::move(chosen), ListKind::kGenerator);
}

constexpr NamedFilter kFilters[] = {
    {"batch", BatchFilter},
    {"dictsort", DictSortFilter},
    {"first", FirstFilter},
    {"groupby", GroupByFilter},
    {"items", ItemsFilter},
    {"join", JoinFilter},
    {"last", LastFilter},
    {"list", ListFilter},
    {"map", MapFilter},
    {"max", ExtremeFilter<true>},
    {"min", ExtremeFilter<false>},
    {"reject", SelectFilter<false, false>},
    {"rejectattr", SelectFilter<false, true>},
    {"reverse", ReverseFilter},
    {"select", SelectFilter<true, false>},
    {"selectattr", SelectFilter<true, true>},
    {"slice", SliceFilter},
    {"sort", SortFilter},
    {"sum", SumFilter},
    {"unique", UniqueFilter},
};

}  // namespace

std::span<const NamedFilter> SequenceFilters() { return kFilters; }

}  // namespace smelt::jinja
