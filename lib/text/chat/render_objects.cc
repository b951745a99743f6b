#include "lib/text/chat/render_objects.h"

#include "lib/text/chat/builtins.h"
#include "lib/text/chat/operators.h"
#include "lib/text/chat/value_text.h"

namespace smelt::jinja {
namespace {

Value MakeFunction(Function::Body body) {
  return Value(std::static_pointer_cast<Object>(std::make_shared<Function>(std::move(body))));
}

}  // namespace

Value Macro::Call(Renderer& renderer, const Arguments& arguments) {
  return renderer.RunMacro(*body_, definition_, arguments);
}

std::optional<Value> Macro::Attribute(Renderer& renderer, std::string_view name) {
  if (name == "name") return renderer.Text(body_->name);
  return std::nullopt;
}

Value Loop::Call(Renderer& renderer, const Arguments& arguments) {
  if (!statement_.recursive)
    throw TemplateError{"the loop is not marked as recursive, but calls itself"};
  if (arguments.positional.size() != 1 || !arguments.named.empty())
    throw TemplateError{"a loop calls itself with one argument"};
  return renderer.RunLoop(statement_, scope_, arguments.positional[0], level_ + 1);
}

std::optional<Value> Loop::Attribute(Renderer&, std::string_view name) {
  const int64_t length = static_cast<int64_t>(items_.size());
  if (name == "index") return Value(index_ + 1);
  if (name == "index0") return Value(index_);
  if (name == "revindex") return Value(length - index_);
  if (name == "revindex0") return Value(length - index_ - 1);
  if (name == "first") return Value(index_ == 0);
  if (name == "last") return Value(index_ + 1 == length);
  if (name == "length") return Value(length);
  if (name == "depth") return Value(static_cast<int64_t>(level_) + 1);
  if (name == "depth0") return Value(static_cast<int64_t>(level_));
  if (name == "previtem") return Neighbour(index_ - 1, "there is no previous item");
  if (name == "nextitem") return Neighbour(index_ + 1, "there is no next item");
  if (name == "cycle") return Cycle();
  if (name == "changed") return Changed();
  return std::nullopt;
}

Value Loop::Neighbour(int64_t at, std::string hint) const {
  if (at < 0 || at >= static_cast<int64_t>(items_.size()))
    return Value::MakeUndefined(std::move(hint));
  return items_[static_cast<size_t>(at)];
}

Value Loop::Cycle() const {
  return MakeFunction([index = index_](Renderer&, const Arguments& arguments) {
    if (arguments.positional.empty()) throw TemplateError{"no items for cycling given"};
    return arguments.positional[static_cast<size_t>(index) % arguments.positional.size()];
  });
}

Value Loop::Changed() {
  return MakeFunction([loop = shared_from_this()](Renderer& renderer, const Arguments& arguments) {
    const Value now = MakeList(renderer.budget(), arguments.positional, ListKind::kTuple);
    const bool changed = !loop->seen_ || !Equal(*loop->seen_, now);
    loop->seen_ = now;
    return Value(changed);
  });
}

Value Namespace::Make(Renderer& renderer, const Arguments& arguments) {
  const auto space = std::make_shared<Namespace>();
  for (const Value& from : arguments.positional) {
    if (!from.is_dict()) throw TemplateError{"namespace() takes dictionaries and names"};
    for (const auto& [key, value] : from.dict()->items)
      space->Set(ToText(renderer.budget(), key), value);
  }
  for (const auto& [name, value] : arguments.named) space->Set(name, value);
  return Value(std::static_pointer_cast<Object>(space));
}

std::optional<Value> Namespace::Attribute(Renderer&, std::string_view name) {
  const Value* value = values_.Find(name);
  return value == nullptr ? std::nullopt : std::optional(*value);
}

}  // namespace smelt::jinja
