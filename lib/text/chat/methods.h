// Methods of Python's values.
#pragma once

#include <span>
#include <string_view>

#include "lib/text/chat/builtins.h"

namespace smelt::jinja {

using Method = Value (*)(Renderer&, const Value& self, const Arguments&);
struct NamedMethod {
  std::string_view name;
  Method method;
};

/// Of texts.
std::span<const NamedMethod> TextMethods();

}  // namespace smelt::jinja
