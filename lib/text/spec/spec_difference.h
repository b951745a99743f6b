// Whether two specs are the same.
#pragma once

#include <string>

#include "lib/text/spec/pipeline_spec.h"

namespace smelt {

/// What differs first, as the beginning of a sentence ("token 5", "the merge 12"); empty when
/// nothing does.
std::string FirstDifference(const PipelineSpec& a, const PipelineSpec& b);

}  // namespace smelt
