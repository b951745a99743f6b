// Functions that every template sees.
#include <algorithm>
#include <array>

#include "lib/base/cat.h"
#include "lib/text/chat/builtins.h"
#include "lib/text/chat/value_text.h"

namespace smelt::jinja {
namespace {

constexpr int64_t kLongestRange = 100000;  // as the sandbox of Jinja

Value MakeFunction(Function::Body body) {
  return Value(std::static_pointer_cast<Object>(std::make_shared<Function>(std::move(body))));
}

Value Range(Renderer& renderer, const Arguments& arguments) {
  const Parameters parameters("range", arguments, {"start", "stop", "step"}, 1);
  const bool one = arguments.positional.size() == 1;
  const int64_t start = one ? 0 : parameters.Integer(0, 0);
  const int64_t stop = one ? parameters.Integer(0, 0) : parameters.Integer(1, 0);
  const int64_t step = parameters.Integer(2, 1);
  if (step == 0) throw TemplateError{"range() arg 3 must not be zero"};
  const __int128 distance = static_cast<__int128>(stop) - start;
  const __int128 length = step > 0 ? (distance + step - 1) / step : (distance + step + 1) / step;
  if (length > kLongestRange) {
    throw TemplateError{Cat("range too big: a range of more than ", kLongestRange,
                            " numbers is not made by a template")};
  }
  std::vector<Value> numbers;
  for (int64_t i = 0; i < static_cast<int64_t>(length); ++i) numbers.emplace_back(start + i * step);
  return MakeList(renderer.budget(), std::move(numbers), ListKind::kRange,
                  Cat("range(", start, ", ", stop, step == 1 ? "" : Cat(", ", step), ")"));
}

Value RaiseException(Renderer& renderer, const Arguments& arguments) {
  const Parameters parameters("raise_exception", arguments, {"message"}, 1);
  throw TemplateError{ToText(renderer.budget(), parameters[0])};
}

Value StrftimeNow(Renderer& renderer, const Arguments& arguments) {
  const Parameters parameters("strftime_now", arguments, {"format"}, 1);
  const std::string format = parameters.Text(0, "");
  if (format.size() > 1000) throw TemplateError{"the format of strftime_now() is too long"};
  std::string text(16 * format.size() + 1024, '\0');
  text.resize(std::strftime(text.data(), text.size(), format.c_str(), &renderer.now()));
  return renderer.Text(std::move(text));
}

Value Dict(Renderer& renderer, const Arguments& arguments) {
  std::vector<std::pair<Value, Value>> items;
  if (arguments.positional.size() > 1) throw TemplateError{"dict() takes at most 1 argument"};
  for (const Value& from : arguments.positional) {
    if (from.is_dict()) {
      items = from.dict()->items;
      continue;
    }
    for (const Value& pair : Iterate(renderer.budget(), from)) {
      const std::vector<Value> both = Iterate(renderer.budget(), pair);
      if (both.size() != 2) throw TemplateError{"dict() takes pairs of keys and values"};
      items.emplace_back(both[0], both[1]);
    }
  }
  for (const auto& [name, value] : arguments.named) items.emplace_back(renderer.Text(name), value);
  return MakeDict(renderer.budget(), std::move(items));
}

/// cycler(a, b, ...): next(), current, reset().
class Cycler : public Object, public std::enable_shared_from_this<Cycler> {
 public:
  explicit Cycler(std::vector<Value> items) : items_(std::move(items)) {}
  std::string_view type_name() const override { return "Cycler"; }
  std::optional<Value> Attribute(Renderer&, std::string_view name) override {
    if (name == "current") return items_[at_];
    if (name == "reset") {
      return MakeFunction([cycler = shared_from_this()](Renderer&, const Arguments&) {
        cycler->at_ = 0;
        return Value();
      });
    }
    if (name != "next") return std::nullopt;
    return MakeFunction([cycler = shared_from_this()](Renderer&, const Arguments&) {
      const Value item = cycler->items_[cycler->at_];
      cycler->at_ = (cycler->at_ + 1) % cycler->items_.size();
      return item;
    });
  }

 private:
  const std::vector<Value> items_;
  size_t at_ = 0;
};

Value MakeCycler(Renderer&, const Arguments& arguments) {
  if (arguments.positional.empty()) throw TemplateError{"cycler() needs at least one item"};
  return Value(std::static_pointer_cast<Object>(std::make_shared<Cycler>(arguments.positional)));
}

// joiner(sep): nothing when called first, then the separator.
Value MakeJoiner(Renderer& renderer, const Arguments& arguments) {
  const Parameters parameters("joiner", arguments, {"sep"});
  const Value separator = parameters.Or(0, renderer.Text(", "));
  return MakeFunction([separator, used = false](Renderer& r, const Arguments&) mutable {
    return std::exchange(used, true) ? separator : r.Text("");
  });
}

struct NamedFunction {
  std::string_view name;
  Value (*body)(Renderer&, const Arguments&);
};
constexpr NamedFunction kFunctions[] = {
    {"range", Range},
    {"raise_exception", RaiseException},
    {"strftime_now", StrftimeNow},
    {"dict", Dict},
    {"cycler", MakeCycler},
    {"joiner", MakeJoiner},
};

}  // namespace

std::optional<Value> FindFunction(std::string_view name) {
  const auto found = std::ranges::find(kFunctions, name, &NamedFunction::name);
  if (found == std::end(kFunctions)) return std::nullopt;
  return MakeFunction(found->body);
}

}  // namespace smelt::jinja
