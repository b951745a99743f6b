#include <algorithm>
#include <iterator>

#include "lib/text/tokenizer.h"

namespace smelt {

bool LooksLikeEnd(std::string_view text, bool harmony) {
  static constexpr std::string_view kEnds[] = {
      "<|eot_id|>",
      "<|im_end|>",
      "<|end|>",
      "<|return|>",
      "<|call|>",
      "<end_of_turn>",
      "<|endoftext|>",
      "<|eom_id|>",
      "<EOT>",
      "_<EOT>",
      "[EOT]",
      "[EOS]",
      "<|end_of_text|>",
      "<end_of_utterance>",
      "<|END_OF_TURN_TOKEN|>",
      "< EOT >",
      "<\xef\xbd\x9c"
      "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>"};
  if (harmony && text == "<|end|>") return false;
  return std::find(std::begin(kEnds), std::end(kEnds), text) != std::end(kEnds);
}

}  // namespace smelt
