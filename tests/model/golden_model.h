// What transformers recorded of a published model (golden.json and what lies beside it), and
// whether a source gives the same.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/json.h"
#include "lib/model/model_source.h"
#include "smelt/devices.h"

namespace smelt::testing {

/// A list of token ids.
std::vector<int32_t> Ids(const JsonValue& list);

/// Recorded logits of one sequence (`file`: tokens, logits) are those of the source.
void ExpectRecordedLogits(const ModelSource& source, const std::string& file,
                          const DeviceOptions& device = {});

class GoldenModel {
 public:
  /// What was recorded of the model in `folder`, there or where its golden_ref.json points; false:
  /// nothing is.
  bool Find(const std::string& folder);

  const JsonValue& golden() const { return golden_; }
  /// Ids of the text that was scored.
  const std::vector<int32_t>& tokens() const { return tokens_; }

  /// What computes; the processor where nobody says.
  void set_device(const DeviceOptions& device) { device_ = device; }

  /// Each of these fails where the source gives something else.
  void ExpectLogits(const ModelSource& source) const;
  void ExpectPerplexities(const ModelSource& source) const;
  void ExpectGreedyTexts(const ModelSource& source) const;

 private:
  void ExpectPerplexity(const ModelSource& source, const JsonValue& protocol) const;
  void ExpectGreedy(const ModelSource& source, const JsonValue& greedy) const;

  DeviceOptions device_;
  std::string folder_;
  JsonValue golden_;
  std::vector<int32_t> tokens_;
};

}  // namespace smelt::testing
