// The components of a tokenizer.json as steps of a spec, and back. Which members a component has
// stands once, in component_json.cc, for reading and writing.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/json.h"
#include "lib/text/spec/pipeline_spec.h"

namespace smelt {

/// Whether a component must have all members that the `tokenizers` library asks for. What may be
/// absent means what the library takes for it, never what a reader would guess.
enum class Members { kAll, kAny };

/// Of a component, nested sequences flattened; none for null. `place` names the file or the key in
/// messages, which name the component and the member too. kUnsupported for a step that nobody
/// knows.
absl::StatusOr<std::vector<NormalizerStep>> ReadNormalizers(const JsonValue* json,
                                                            std::string_view place,
                                                            Members members = Members::kAll);
absl::StatusOr<std::vector<PreTokenizerStep>> ReadPreTokenizers(const JsonValue* json,
                                                                std::string_view place,
                                                                Members members = Members::kAll);
absl::StatusOr<std::vector<PostProcessorStep>> ReadPostProcessors(const JsonValue* json,
                                                                  std::string_view place);
absl::StatusOr<std::vector<DecoderStep>> ReadDecoders(const JsonValue* json,
                                                      std::string_view place);

/// The member "model" of a tokenizer.json without its vocabulary and merges: `kind` is the row
/// whose members are read.
absl::StatusOr<TokenizerModel> ReadModelMembers(const JsonValue& json, TokenizerModel kind,
                                                std::string_view place);

/// One entry of added_tokens; or, kAny, of added_tokens_decoder, whose id is the key.
absl::StatusOr<AddedToken> ReadAddedToken(const JsonValue& json, std::string_view place,
                                          Members members);

/// As the library writes them: one step, or a Sequence; null for a decoder that only joins.
std::string ToJson(const std::vector<NormalizerStep>& steps);
std::string ToJson(const std::vector<PreTokenizerStep>& steps);
std::string ToJson(const std::vector<DecoderStep>& steps);

/// The names that the library gives to steps: "NFC, Lowercase".
std::string TypeNames(const std::vector<NormalizerStep>& steps);
std::string TypeNames(const std::vector<DecoderStep>& steps);

}  // namespace smelt
