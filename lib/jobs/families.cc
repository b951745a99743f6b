#include "smelt/families.h"

#include <algorithm>
#include <utility>

#include "lib/base/guard.h"
#include "lib/model/alternatives.h"
#include "lib/model/choose_family.h"

namespace smelt {

absl::StatusOr<std::vector<PublishedFamily>> Families() try {
  std::vector<PublishedFamily> all;
  for (const Family* family : KnownFamilies()) {
    PublishedFamily row{{family->names.begin(), family->names.end()},
                        std::string(Alternatives(family->model_type)[0]),
                        std::string(family->architecture.name),
                        std::string(family->checked),
                        std::string(family->llama_cpp)};
    // One class with several text parts of the same architecture is listed once.
    if (std::ranges::find(all, row) == all.end()) all.push_back(std::move(row));
  }
  return all;
} catch (...) {
  return CaughtError();
}

}  // namespace smelt
