// A model with other metadata.
#pragma once

#include <utility>

#include "lib/model/forwarding_source.h"

namespace smelt::testing {

/// A source under other metadata.
class Edited : public ForwardingSource {
 public:
  Edited(const ModelSource& source, Metadata metadata)
      : ForwardingSource(source), metadata_(std::move(metadata)) {}
  const Metadata& metadata() const override { return metadata_; }

 private:
  Metadata metadata_;
};

}  // namespace smelt::testing
