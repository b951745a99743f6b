#include <algorithm>

#include "lib/base/cat.h"
#include "lib/text/chat/builtins.h"

namespace smelt::jinja {

Parameters::Parameters(std::string_view function, const Arguments& arguments,
                       std::initializer_list<std::string_view> names, size_t required)
    : function_(function), names_(names), values_(names.size()) {
  if (arguments.positional.size() > names.size())
    throw TemplateError{Cat(function, "() takes at most ", names.size(), " argument(s)")};
  std::ranges::copy(arguments.positional, values_.begin());
  for (const auto& [name, value] : arguments.named) {
    const auto place = std::ranges::find(names_, name);
    if (place == names_.end()) {
      throw TemplateError{
          Cat(function, "() got an unexpected keyword argument '", Escape(name, 40), "'")};
    }
    std::optional<Value>& slot = values_[static_cast<size_t>(place - names_.begin())];
    if (slot) throw TemplateError{Cat(function, "() got '", name, "' twice")};
    slot = value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!values_[i]) throw TemplateError{Cat(function, "() needs the argument '", names_[i], "'")};
  }
}

void Parameters::FailType(size_t i, std::string_view expected) const {
  throw TemplateError{Cat("the argument '", names_[i], "' of ", function_, "() must be ", expected,
                          ", not ", values_[i]->type_name())};
}

int64_t Parameters::Integer(size_t i, int64_t otherwise) const {
  if (!Has(i)) return otherwise;
  if (!values_[i]->is_integer()) FailType(i, "int");
  return values_[i]->integer();
}

std::string Parameters::Text(size_t i, std::string_view otherwise) const {
  if (!Has(i)) return std::string(otherwise);
  if (!values_[i]->is_string()) FailType(i, "str");
  return values_[i]->text();
}

}  // namespace smelt::jinja
