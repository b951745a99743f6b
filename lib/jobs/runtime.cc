#include "smelt/runtime.h"

#include "lib/base/mapped_file.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"

namespace smelt {

void UseThreads(int threads) { SetThreads(threads); }

void SurviveShrinkingFiles() { CatchLostPages(); }

std::string_view ErrorName(const absl::Status& status) { return CodeName(CodeOf(status)); }

}  // namespace smelt
