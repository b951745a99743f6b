#include "lib/text/chat/value.h"

#include <algorithm>

#include "lib/base/cat.h"
#include "lib/text/chat/characters.h"

namespace smelt::jinja {
namespace {

constexpr int kDeepest = 100;  // containers inside each other
constexpr size_t kObjectBytes = 64, kItemBytes = 32, kEntryBytes = 160;

int DepthAround(const std::vector<Value>& items) {
  int deepest = 0;
  for (const Value& item : items) deepest = std::max(deepest, item.depth());
  if (deepest >= kDeepest) throw TemplateError{"nests lists and dictionaries too deeply"};
  return deepest + 1;
}

}  // namespace

bool IsHashable(const Value& value) {
  CurrentBudget::Step();
  if (value.is_dict()) return false;
  const ListObject* list = value.list();
  if (list == nullptr || list->kind == ListKind::kRange || list->kind == ListKind::kGenerator)
    return true;
  if (list->kind == ListKind::kView) return list->label == "dict_values";
  return list->kind == ListKind::kTuple && std::ranges::all_of(list->items, IsHashable);
}

namespace {

// A comparison that may go through all of a text, or into what a list holds.
void StepOver(const Value& value) {
  CurrentBudget::Step(1 + (value.is_string() ? value.text().size() / 64 : 0));
}

// The order of keys of different types.
int KeyRank(const Value& value) {
  if (value.is_none()) return 0;
  if (value.is_number()) return 1;
  if (value.is_string()) return 2;
  if (value.is_list()) return 3;
  return value.is_undefined() ? 4 : 5;
}

long double Number(const Value& value) {  // exact for every integer too
  return value.is_integer() ? static_cast<long double>(value.integer())
                            : static_cast<long double>(value.real());
}

}  // namespace

bool IsSequenceList(const Value& value) {
  return value.is_list() && value.list()->kind <= ListKind::kRange;
}

std::optional<Value> Object::Attribute(Renderer&, std::string_view) { return std::nullopt; }

Value Object::Call(Renderer&, const Arguments&) {
  throw TemplateError{Cat("'", type_name(), "' object is not callable")};
}

Value Value::MakeUndefined(std::string hint) {
  Value value;
  value.data_ = Undefined{std::make_shared<const std::string>(std::move(hint))};
  return value;
}

int64_t Value::integer() const {
  return is_bool() ? static_cast<int64_t>(boolean()) : std::get<int64_t>(data_);
}

double Value::real() const {
  return is_integer() ? static_cast<double>(integer()) : std::get<double>(data_);
}

const std::string& Value::text() const { return string()->text; }
const std::string& Value::hint() const { return *std::get<Undefined>(data_).hint; }

std::string_view Value::type_name() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (is_bool()) return "bool";
  if (is_integer()) return "int";
  if (is_float()) return "float";
  if (is_string()) return string()->markup ? "Markup" : "str";
  if (is_dict()) return "dict";
  if (object() != nullptr) return object()->type_name();
  switch (list()->kind) {
    case ListKind::kList:
      return "list";
    case ListKind::kTuple:
      return "tuple";
    case ListKind::kRange:
      return "range";
    case ListKind::kView:
      return list()->label;
    case ListKind::kGenerator:
      return "generator";
  }
  return "list";
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (is_bool()) return boolean();
  if (is_integer()) return integer() != 0;
  if (is_float()) return real() != 0;
  if (is_string()) return !text().empty();
  if (is_list()) return list()->kind == ListKind::kGenerator || !list()->items.empty();
  if (is_dict()) return !dict()->items.empty();
  return true;
}

int Value::depth() const {
  if (is_list()) return list()->depth;
  return is_dict() ? dict()->depth : 0;
}

bool KeyLess::operator()(const Value& a, const Value& b) const {
  StepOver(a);
  const int rank = KeyRank(a);
  if (rank != KeyRank(b)) return rank < KeyRank(b);
  if (rank == 1) return Number(a) < Number(b);
  if (rank == 2) return a.text() < b.text();
  if (rank == 3) {
    return std::ranges::lexicographical_compare(a.list()->items, b.list()->items, KeyLess{});
  }
  return rank == 5 && std::less<>{}(a.object(), b.object());
}

const Value* DictObject::Find(const Value& key) const {
  if (!IsHashable(key)) return nullptr;
  const auto found = index.find(key);
  return found == index.end() ? nullptr : &items[found->second].second;
}

const Value* DictObject::Find(Budget& budget, std::string_view key) const {
  return Find(MakeString(budget, std::string(key)));
}

Value MakeString(Budget& budget, std::string text, bool markup) {
  const size_t bytes = kObjectBytes + text.size();
  return Value(std::shared_ptr<const StringObject>(
      new StringObject{std::move(text), markup, Charge(budget, bytes)}));
}

Value MakeList(Budget& budget, std::vector<Value> items, ListKind kind, std::string label) {
  const int depth = DepthAround(items);
  const size_t bytes = kObjectBytes + items.size() * kItemBytes;
  return Value(std::shared_ptr<const ListObject>(
      new ListObject{kind, std::move(items), std::move(label), depth, Charge(budget, bytes)}));
}

Value MakeDict(Budget& budget, std::vector<std::pair<Value, Value>> entries) {
  std::vector<std::pair<Value, Value>> items;
  std::map<Value, size_t, KeyLess> index;
  int depth = 1;
  for (auto& [key, value] : entries) {
    budget.Step();
    if (!IsHashable(key)) throw TemplateError{Cat("unhashable type: '", key.type_name(), "'")};
    depth = std::max({depth, key.depth() + 1, value.depth() + 1});
    const auto [place, fresh] = index.emplace(key, items.size());
    if (fresh) {
      items.emplace_back(std::move(key), std::move(value));
    } else {
      items[place->second].second = std::move(value);
    }
  }
  if (depth > kDeepest) throw TemplateError{"nests lists and dictionaries too deeply"};
  const size_t bytes = kObjectBytes + items.size() * kEntryBytes;
  return Value(std::shared_ptr<const DictObject>(
      new DictObject{std::move(items), std::move(index), depth, Charge(budget, bytes)}));
}

bool Equal(const Value& a, const Value& b) {
  StepOver(a);
  if (a.is_number() && b.is_number()) return Number(a) == Number(b);
  if (a.is_string() && b.is_string()) return a.text() == b.text();
  if (a.is_list() && b.is_list()) {
    return a.list() == b.list() || (a.list()->kind == b.list()->kind &&
                                    std::ranges::equal(a.list()->items, b.list()->items, Equal));
  }
  if (a.is_dict() && b.is_dict()) {
    const DictObject &x = *a.dict(), &y = *b.dict();
    return x.items.size() == y.items.size() && std::ranges::all_of(x.items, [&](const auto& item) {
             const Value* other = y.Find(item.first);
             return other != nullptr && Equal(item.second, *other);
           });
  }
  if (a.object() != nullptr) return a.object() == b.object();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

bool Less(const Value& a, const Value& b) {
  StepOver(a);
  RequireDefined(a);
  RequireDefined(b);
  if (a.is_number() && b.is_number()) return Number(a) < Number(b);
  if (a.is_string() && b.is_string()) return a.text() < b.text();
  if (IsSequenceList(a) && a.list()->kind != ListKind::kRange && b.is_list() &&
      a.list()->kind == b.list()->kind) {
    const std::vector<Value>&x = a.list()->items, &y = b.list()->items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!Equal(x[i], y[i])) return Less(x[i], y[i]);
    }
    return x.size() < y.size();
  }
  throw TemplateError{Cat("'<' not supported between instances of '", a.type_name(), "' and '",
                          b.type_name(), "'")};
}

std::vector<Value> Iterate(Budget& budget, const Value& value) {
  std::vector<Value> items;
  if (value.is_undefined()) return items;
  if (const ListObject* list = value.list()) {
    budget.Step(list->items.size());
    if (list->consumed) return items;
    list->consumed = list->kind == ListKind::kGenerator;
    return list->items;
  }
  if (const DictObject* dict = value.dict()) {
    budget.Step(dict->items.size());
    for (const auto& [key, unused] : dict->items) items.push_back(key);
    return items;
  }
  if (value.is_string()) {
    const Charge charge(budget, value.text().size() * kItemBytes);
    ForEachCharacter(value.text(), [&](std::string_view character) {
      items.push_back(MakeString(budget, std::string(character)));
    });
    return items;
  }
  throw TemplateError{Cat("'", value.type_name(), "' object is not iterable")};
}

int64_t Length(const Value& value) {
  if (value.is_undefined()) return 0;
  if (value.is_string()) return static_cast<int64_t>(CountCharacters(value.text()));
  if (value.is_dict()) return static_cast<int64_t>(value.dict()->items.size());
  if (value.is_list() && value.list()->kind != ListKind::kGenerator)
    return static_cast<int64_t>(value.list()->items.size());
  throw TemplateError{Cat("object of type '", value.type_name(), "' has no len()")};
}

bool Contains(Budget& budget, const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) {
      throw TemplateError{
          Cat("'in <string>' requires string as left operand, not ", item.type_name())};
    }
    return FindText(container.text(), item.text()) != std::string::npos;
  }
  if (const DictObject* dict = container.dict()) {
    if (!IsHashable(item)) throw TemplateError{Cat("unhashable type: '", item.type_name(), "'")};
    return dict->Find(item) != nullptr;
  }
  if (container.is_undefined()) return false;
  if (!container.is_list()) {
    throw TemplateError{Cat("argument of type '", container.type_name(), "' is not iterable")};
  }
  if (container.list()->kind == ListKind::kView && !IsHashable(item))
    throw TemplateError{Cat("unhashable type: '", item.type_name(), "'")};
  budget.Step(1 + container.list()->items.size());
  return std::ranges::any_of(container.list()->items,
                             [&](const Value& each) { return Equal(each, item); });
}

namespace {

int64_t SliceBound(const Value& bound, int64_t otherwise, int64_t length, int64_t lowest,
                   int64_t highest) {
  if (bound.is_none()) return otherwise;
  int64_t at = bound.integer();
  if (at < 0) at = at < -length ? lowest : at + length;
  return std::clamp(at, lowest, highest);
}

}  // namespace

Value Slice(Budget& budget, const Value& value, const Value& start, const Value& stop,
            const Value& step) {
  RequireDefined(value);
  const bool sliceable = value.is_string() || IsSequenceList(value);
  const auto is_bound = [](const Value& bound) { return bound.is_none() || bound.is_integer(); };
  if (!sliceable) throw TemplateError{Cat("'", value.type_name(), "' object cannot be sliced")};
  if (!is_bound(start) || !is_bound(stop) || !is_bound(step))
    throw TemplateError{"slice indices must be integers or None"};
  const int64_t by = step.is_none() ? 1 : step.integer();
  if (by == 0) throw TemplateError{"slice step cannot be zero"};
  const int64_t length = Length(value);
  const bool forward = by > 0;
  const int64_t lowest = forward ? 0 : -1, highest = forward ? length : length - 1;
  const int64_t first = SliceBound(start, forward ? 0 : length - 1, length, lowest, highest);
  const int64_t last = SliceBound(stop, forward ? length : -1, length, lowest, highest);
  if (value.is_string() && by == 1) {
    return MakeString(budget, std::string(Substring(value.text(), first, std::max(first, last))),
                      value.string()->markup);
  }
  const std::vector<Value> all = value.is_string() ? Iterate(budget, value) : value.list()->items;
  std::vector<Value> some;
  for (int64_t i = first; forward ? i < last : i > last;) {
    budget.Step();
    some.push_back(all[static_cast<size_t>(i)]);
    if (forward ? last - i <= by : last - i >= by) break;
    i += by;
  }
  if (value.is_list()) {
    const bool tuple = value.list()->kind == ListKind::kTuple;
    return MakeList(budget, std::move(some), tuple ? ListKind::kTuple : ListKind::kList);
  }
  std::string text;
  for (const Value& character : some) text += character.text();
  return MakeString(budget, std::move(text), value.string()->markup);
}

void RequireDefined(const Value& value) {
  if (value.is_undefined()) throw TemplateError{value.hint()};
}

}  // namespace smelt::jinja
