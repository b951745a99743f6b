#include "lib/model/recipe_source.h"

#include <deque>
#include <utility>

#include "lib/base/hash.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

class RecipeSource : public ModelSource {
 public:
  RecipeSource(std::string name, Metadata metadata,
               std::vector<std::shared_ptr<const Storage>> files, std::string texts)
      : name_(std::move(name)), metadata_(std::move(metadata)), files_(std::move(files)) {
    texts_hash_ = XxHash64(std::as_bytes(std::span(texts)));
  }

  absl::Status Add(RecipeTensor tensor) {
    TensorInfo info;
    info.name = std::move(tensor.name);
    info.shape = tensor.shape;
    recipes_.push_back(std::move(tensor.recipe));
    info.recipe = &recipes_.back();
    SMELT_RETURN_IF_ERROR(CheckRecipe(info));
    tensors_.push_back(std::move(info));
    return absl::OkStatus();
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

 private:
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
  for (RecipeTensor& tensor : tensors) SMELT_RETURN_IF_ERROR(source->Add(std::move(tensor)));
  source->Finish();
  return source;
}

}  // namespace smelt
