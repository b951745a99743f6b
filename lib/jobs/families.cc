#include "smelt/families.h"

#include "lib/model/choose_family.h"

namespace smelt {

std::vector<PublishedFamily> Families() {
  std::vector<PublishedFamily> all;
  for (const Family* family : KnownFamilies()) {
    all.push_back({{family->names.begin(), family->names.end()},
                   std::string(family->model_type),
                   std::string(family->architecture.name)});
  }
  return all;
}

}  // namespace smelt
