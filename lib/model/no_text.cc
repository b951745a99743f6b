// Until the tokenizers are there.
#include "lib/base/status.h"
#include "lib/text/vocabulary.h"

namespace smelt {

absl::StatusOr<std::unique_ptr<PublishedTokenizer>> OpenPublishedTokenizer(const std::string&) {
  return Error(ErrorCode::kUnsupported, "tokenizers are not built in");
}

}  // namespace smelt
