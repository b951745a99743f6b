// GGUF files that are no model by themselves, by what their keys and tensors say.
#include <algorithm>
#include <string>
#include <string_view>

#include "formats/gguf.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

/// How a kind of file is known: by its general.type, its general.architecture, a key that only it
/// has, or the ending of a tensor's name. Empty: not by this.
struct Kind {
  std::string_view type, architecture, key, tensor_ending;
  std::string_view what, way_out;
};
constexpr std::string_view kItsModel = "name the model that it belongs to";
constexpr Kind kKinds[] = {
    {"adapter", "", "adapter.type", ".lora_a", "a LoRA adapter",
     "name the model that it was trained on, or merge the two first"},
    {"", "", "", ".loraA", "a LoRA adapter",
     "name the model that it was trained on, or merge the two first"},
    {"mmproj", "clip", "clip.has_vision_encoder", "", "a projector for images or sound (mmproj)",
     kItsModel},
    {"", "", "clip.has_audio_encoder", "", "a projector for images or sound (mmproj)", kItsModel},
    {"imatrix", "imatrix", "imatrix.chunk_count", ".in_sum2", "an importance matrix (imatrix)",
     "name the model that it was made from"},
    {"controlvector", "controlvector", "controlvector.layer_count", "",
     "a control vector, which is added to a model's activations", kItsModel},
};

std::string TextOf(const GgufFile& file, std::string_view key) {
  const MetadataValue* value = file.metadata.Find(key);
  const std::string* text = value == nullptr ? nullptr : value->AsString();
  return text == nullptr ? std::string() : *text;
}

constexpr std::string_view kEmbedding = "token_embd.weight";  // of every language model

bool HasTensor(const GgufFile& file, std::string_view name) {
  return std::ranges::any_of(file.tensors,
                             [&](const GgufTensor& tensor) { return tensor.name == name; });
}

bool Is(const Kind& kind, const GgufFile& file) {
  if (!kind.type.empty() && TextOf(file, "general.type") == kind.type) return true;
  if (!kind.architecture.empty() && TextOf(file, "general.architecture") == kind.architecture)
    return true;
  if (HasTensor(file, kEmbedding)) return false;  // a model that carries something else besides
  if (!kind.key.empty() && file.metadata.Has(kind.key)) return true;
  return !kind.tensor_ending.empty() &&
         std::ranges::any_of(file.tensors, [&](const GgufTensor& tensor) {
           return tensor.name.ends_with(kind.tensor_ending);
         });
}

}  // namespace

absl::Status CheckIsModel(const GgufFile& file) {
  const std::string name = Escape(file.files.front()->name());
  for (const Kind& kind : kKinds) {
    if (!Is(kind, file)) continue;
    const std::string base = TextOf(file, "general.base_model.0.name");
    return Error(ErrorCode::kUnsupported, name, ": ", kind.what,
                 base.empty() ? "" : Cat(" of ", Escape(base, 60)),
                 ", not a model: ", kind.way_out);
  }
  const std::string type = TextOf(file, "general.type");
  if (!type.empty() && type != "model") {
    return Error(ErrorCode::kUnsupported, name, ": is no model but of the type \"",
                 Escape(type, 40), "\" (general.type); ", kItsModel);
  }
  return absl::OkStatus();
}

}  // namespace smelt
