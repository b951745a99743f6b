// Copies of variants that survive a failed allocation.
#pragma once

#include <type_traits>
#include <utility>
#include <variant>

namespace smelt {

/// A copy of `from`. When the copy of what it holds throws, nothing has been made; libstdc++ 12's
/// own copy constructor then destroys an alternative that is not there, if all alternatives are
/// ones that it takes for never missing (numbers, strings, vectors).
template <typename... Alternatives>
std::variant<Alternatives...> CopyVariant(const std::variant<Alternatives...>& from) {
  using Variant = std::variant<Alternatives...>;
  return std::visit(
      [](const auto& held) {
        return Variant(std::in_place_type<std::remove_cvref_t<decltype(held)>>, held);
      },
      from);
}

}  // namespace smelt
