#include "lib/model/left_out.h"

#include <cstdio>
#include <span>

#include "formats/computed_matrix.h"
#include "lib/base/cat.h"

namespace smelt {
namespace {

/// Three significant digits and one of `units`, each a thousand of the one before.
std::string Figure(uint64_t n, std::span<const char* const> units) {
  auto value = static_cast<double>(n);
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < units.size()) value /= 1000, ++unit;
  const int decimals = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  char text[32];
  std::snprintf(text, sizeof(text), "%.*f", decimals, value);
  return Cat(text, units[unit]);
}

}  // namespace

void LeftOut::Add(const RawTensor& tensor) {
  if (tensors_ == 0 || tensor.name < first_) first_ = tensor.name;
  const uint32_t codes = tensor.computed == nullptr ? 0 : tensor.computed->bits();
  ++tensors_;
  parameters_ += tensor.elements();
  bytes_ += (tensor.elements() * (codes != 0 ? codes : BitsOf(tensor.dtype)) + 7) / 8;
}

std::string LeftOut::ToText() const {
  static constexpr const char* kCounts[] = {"", " K", " M", " B", " T"};
  static constexpr const char* kBytes[] = {" bytes", " kB", " MB", " GB", " TB"};
  return Cat(Escape(first_), tensors_ == 1 ? std::string() : Cat(" and ", tensors_ - 1, " more"),
             " (", Figure(parameters_, kCounts), " parameters, ", Figure(bytes_, kBytes), ")");
}

}  // namespace smelt
