#include "lib/model/recipe_source.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <string_view>
#include <utility>

#include "lib/base/hash.h"
#include "lib/base/status.h"
#include "lib/base/text_hash.h"

namespace smelt {
namespace {

constexpr std::string_view kWeight = ".weight";

/// Matrices beside which llama.cpp reads what their blocks are multiplied with, by their names in a
/// layer.
constexpr std::string_view kScaled[] = {
    "attn_q",         "attn_k",         "attn_v",
    "attn_output",    "attn_qkv",       "attn_gate",
    "ffn_gate",       "ffn_down",       "ffn_up",
    "ffn_gate_shexp", "ffn_down_shexp", "ffn_up_shexp",
    "ffn_gate_exps",  "ffn_down_exps",  "ffn_up_exps",
    "ssm_in",         "ssm_out",        "ssm_alpha",
    "ssm_beta",       "nextn.eh_proj",  "nextn.shared_head_head"};

bool TakesScale(std::string_view name) {
  if (!name.ends_with(kWeight)) return false;
  name.remove_suffix(kWeight.size());
  if (name == "output") return true;
  if (!name.starts_with("blk.")) return false;
  name.remove_prefix(4);
  name.remove_prefix(std::min(name.find('.'), name.size() - 1) + 1);
  return std::ranges::find(kScaled, name) != std::end(kScaled);
}

class RecipeSource : public ModelSource {
 public:
  RecipeSource(std::string name, Metadata metadata,
               std::vector<std::shared_ptr<const Storage>> files, std::string texts)
      : name_(std::move(name)), metadata_(std::move(metadata)), files_(std::move(files)) {
    texts_hash_ = XxHash64(std::as_bytes(std::span(texts)));
  }

  absl::Status Add(RecipeTensor tensor, const TextSet<std::string>& names) {
    TensorInfo info;
    info.name = std::move(tensor.name);
    info.shape = tensor.shape;
    Recipe& recipe = recipes_.emplace_back(std::move(tensor.recipe));
    info.recipe = &recipe;
    SMELT_RETURN_IF_ERROR(CheckRecipe(info));
    std::optional<std::vector<float>> scales;
    if (Info(info.type).quantized) {
      scales = recipe.BlockFactors(info.shape.ne[2] * info.shape.ne[3], info.shape.ne[1]);
      const bool none = scales && std::ranges::all_of(*scales, [](float x) { return x == 1; });
      if (none) {
        scales.reset();
      } else if (!scales || !TakesScale(info.name) || names.contains(ScaleName(info.name))) {
        scales.reset();
        recipe.decoded = true;
        SMELT_RETURN_IF_ERROR(CheckRecipe(info));
      }
    }
    tensors_.push_back(std::move(info));
    return scales ? AddScale(*std::move(scales)) : absl::OkStatus();
  }
  void Finish() { BuildIndex(); }

  const Metadata& metadata() const override { return metadata_; }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  const std::string& name() const override { return name_; }
  std::string identity() const override {
    std::string text = Cat("texts ", texts_hash_, ";");
    for (const auto& file : files_) text += Cat(file->identity(), ";");
    return text;
  }

  absl::Status ReadRows(size_t tensor, uint64_t first, uint64_t count, float* out) const override {
    return ReadRecipeRows(tensors_[tensor], first, count, out);
  }
  absl::Status ReadRawRows(size_t tensor, uint64_t first, uint64_t count,
                           std::byte* out) const override {
    return ReadRecipeRawRows(tensors_[tensor], first, count, out);
  }
  absl::StatusOr<MappedRows> MapRows(size_t tensor) const override {
    return MapRecipeRows(tensors_[tensor]);
  }

  void DropPages(size_t tensor) const override {
    for (const Leaf& leaf : tensors_[tensor].recipe->leaves) {
      const RawLeaf* const raw = std::get_if<RawLeaf>(&leaf);
      if (raw == nullptr || raw->tensor.computed != nullptr || !raw->tensor.contiguous()) continue;
      raw->tensor.storage->DropPages(raw->tensor.offset,
                                     raw->tensor.elements() * BitsOf(raw->tensor.dtype) / 8);
    }
  }

 private:
  /// ".scale" of the last tensor: a number for each of its matrices.
  absl::Status AddScale(std::vector<float> values) {
    TensorInfo info;
    info.name = ScaleName(tensors_.back().name);
    info.shape.dims = 1;
    info.shape.ne[0] = values.size();
    info.companion_of = tensors_.size() - 1;
    Recipe recipe;
    recipe.leaves.push_back(ConstantLeaf{std::move(values)});
    recipes_.push_back(std::move(recipe));
    info.recipe = &recipes_.back();
    SMELT_RETURN_IF_ERROR(CheckRecipe(info));
    tensors_.push_back(std::move(info));
    return absl::OkStatus();
  }

  std::string name_;
  Metadata metadata_;
  std::vector<std::shared_ptr<const Storage>> files_;
  uint64_t texts_hash_;
  std::deque<Recipe> recipes_;  // TensorInfo points into it
  std::vector<TensorInfo> tensors_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModelSource>> MakeRecipeSource(
    std::string name, Metadata metadata, std::vector<RecipeTensor> tensors,
    std::vector<std::shared_ptr<const Storage>> files, std::string texts) {
  auto source = std::make_unique<RecipeSource>(std::move(name), std::move(metadata),
                                               std::move(files), std::move(texts));
  TextSet<std::string> names;
  for (const RecipeTensor& tensor : tensors) names.insert(tensor.name);
  for (RecipeTensor& tensor : tensors) SMELT_RETURN_IF_ERROR(source->Add(std::move(tensor), names));
  source->Finish();
  return source;
}

}  // namespace smelt
