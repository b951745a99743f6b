#include "lib/model/model_source.h"

#include "formats/container.h"
#include "lib/base/cat.h"

namespace smelt {

std::string Shape::ToText() const {
  return ShapeText(std::span(ne).first(static_cast<size_t>(dims)));
}

std::string ScaleName(std::string_view weight) {
  constexpr std::string_view kWeight = ".weight";
  if (weight.ends_with(kWeight)) weight.remove_suffix(kWeight.size());
  return Cat(weight, ".scale");
}

int ModelSource::Find(std::string_view tensor_name) const {
  const auto it = index_.find(std::string(tensor_name));
  return it == index_.end() ? -1 : it->second;
}

void ModelSource::BuildIndex() {
  index_.clear();
  const std::vector<TensorInfo>& list = tensors();
  index_.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) index_.emplace(list[i].name, static_cast<int>(i));
}

}  // namespace smelt
