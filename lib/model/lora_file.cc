#include "lib/model/lora_file.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include "formats/computed_matrix.h"
#include "formats/gguf.h"
#include "formats/model_card.h"
#include "formats/model_folder.h"
#include "formats/weights_directory.h"
#include "lib/base/folder.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/model/choose_family.h"
#include "lib/model/general.h"
#include "lib/model/gguf_source.h"
#include "lib/model/imagined_model.h"
#include "lib/model/lora.h"
#include "lib/model/lora_gguf.h"
#include "lib/model/merged_names.h"
#include "lib/model/recipe_source.h"
#include "smelt/text.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kLimit = 16 << 20;
constexpr std::string_view kEmbedding = "token_embd.weight";

/// A recipe's matrix as a leaf of another recipe.
class MatrixLeaf : public ComputedMatrix {
 public:
  explicit MatrixLeaf(RecipeMatrix matrix) : ComputedMatrix("adapter", 0), matrix_(matrix) {}
  uint64_t tile_rows() const override { return matrix_.tile_rows(); }
  absl::Status ReadRows(uint64_t first, uint64_t count, float* out) const override {
    return matrix_.ReadRows(first, count, out);
  }

 private:
  const RecipeMatrix matrix_;
};

Leaf LeafOf(const RecipeMatrix& matrix) {
  RawTensor tensor;
  tensor.name = matrix.name();
  tensor.shape = {matrix.rows(), matrix.columns()};
  tensor.strides = ContiguousStrides(tensor.shape);
  tensor.computed = std::make_shared<MatrixLeaf>(matrix);
  return RawLeaf{std::move(tensor), matrix.columns(), false};
}

class LoraFile {
 public:
  LoraFile(LoraAdapter adapter, double strength, std::string base)
      : adapter_(std::move(adapter)), strength_(strength), base_(std::move(base)) {}

  absl::StatusOr<OpenedModel> Make() {
    SMELT_ASSIGN_OR_RETURN(GgufLora lora, IsFolder(base_) ? OfFolder() : OfGguf());
    if (lora.merged.left_out.any())
      notes_.push_back(
          Cat("the adapter ", Escape(adapter_.path, 80), ": ", lora.merged.LeftOutText()));
    SMELT_ASSIGN_OR_RETURN(alpha_, adapter_.config.Alpha());
    for (const auto& [target, change] : lora.changes) {
      SMELT_RETURN_IF_ERROR(CheckHolds(target, change));
      if (!change.change.products.empty())
        SMELT_RETURN_IF_ERROR(Add(target, change.change.products));
    }
    OpenedModel opened;
    opened.notes = std::move(notes_);
    opened.notes.push_back(Cat("the base is ", Escape(base_, 120)));
    Metadata metadata = WriteKeys(opened.warnings);
    SMELT_ASSIGN_OR_RETURN(
        opened.source,
        MakeRecipeSource(adapter_.path, std::move(metadata), std::move(tensors_),
                         adapter_.container.files, Cat(adapter_.texts, strength_, base_texts_)));
    return opened;
  }

 private:
  absl::StatusOr<GgufLora> OfFolder() {
    const std::string file = (fs::path(base_) / "config.json").string();
    if (!NameExists(file)) {
      return Error(ErrorCode::kNotFound, "no config.json in ", Escape(base_, 120),
                   ": the base is a published folder (its weights are not needed) or a GGUF");
    }
    SMELT_ASSIGN_OR_RETURN(base_texts_, ReadTextFile(file, kLimit));
    SMELT_ASSIGN_OR_RETURN(const Config whole, Config::Parse(base_texts_, "config.json"));
    SMELT_ASSIGN_OR_RETURN(const ChosenFamily chosen, ChooseFamily(whole));
    const Family& family = *chosen.family;
    SMELT_ASSIGN_OR_RETURN(const Config config, TextPart(family, whole));
    Container container;  // of some classes the rest of a layout follows from the weights
    if (const auto form = FindWeights(base_); form.ok()) {
      SMELT_ASSIGN_OR_RETURN(container, OpenWeights(base_, *form));
    }
    SMELT_ASSIGN_OR_RETURN(FamilyContext context,
                           ReadHyper(family, config, container, nullptr, std::nullopt));
    architecture_ = family.architecture.name;
    return ToGgufLora(PublishedNames(family), context, adapter_, strength_);
  }

  absl::StatusOr<GgufLora> OfGguf() {
    SMELT_ASSIGN_OR_RETURN(GgufFile file, OpenGguf(base_));
    SMELT_RETURN_IF_ERROR(CheckIsModel(file));
    const std::unique_ptr<ModelSource> source = MakeGgufSource(base_, std::move(file));
    architecture_ = source->metadata().StringOr("general.architecture", "").value_or("");
    return ToGgufLora(adapter_, strength_, *source);
  }

  absl::Status CheckHolds(const std::string& target, const GgufChange& change) const {
    const bool bias = std::ranges::any_of(change.change.products, [](const LowRank& product) {
      return product.left.rows() == 1 && product.left.columns() == 1;
    });
    std::string_view what = "";
    if (bias && !target.ends_with(".weight")) what = "a bias";
    if (change.change.lengths) what = "DoRA's lengths";
    if (change.change.replaced) what = "rows of single tokens";
    if (change.whole && !change.copy) what = "a whole tensor";
    if (what.empty()) return absl::OkStatus();
    return Error(ErrorCode::kUnsupported, "the adapter ", Escape(adapter_.path, 80), " has ", what,
                 " for ", Escape(target, 80),
                 ", which a GGUF adapter cannot hold; merge it into its base: smelt convert ",
                 ShellQuoted(base_), " --lora ", ShellQuoted(adapter_.path));
  }

  void AddTensor(std::string name, const std::vector<uint64_t>& ne, Recipe recipe) {
    RecipeTensor tensor;
    tensor.name = std::move(name);
    tensor.shape.dims = static_cast<int>(ne.size());
    std::ranges::copy(ne, tensor.shape.ne.begin());
    tensor.recipe = std::move(recipe);
    tensors_.push_back(std::move(tensor));
  }

  absl::Status Add(const std::string& target, const std::vector<LowRank>& products) {
    const uint64_t experts = products.size(), rank = products[0].rank(),
                   rows = products[0].left.rows(), columns = products[0].right.columns();
    const bool alike = std::ranges::all_of(products, [&](const LowRank& product) {
      const auto place = static_cast<uint64_t>(&product - products.data());
      return product.rank() == rank && product.left.rows() == rows &&
             product.scale == products[0].scale && product.first_row == place * rows;
    });
    if (!alike) {
      return Error(ErrorCode::kUnsupported, "the adapter ", Escape(adapter_.path, 80),
                   " has matrices for some experts of ", Escape(target, 80),
                   " only, or of several ranks, which a GGUF adapter cannot hold; merge it into "
                   "its base with smelt convert BASE --lora ADAPTER");
    }
    Recipe a, b;
    const bool embedding = target == kEmbedding;
    for (const LowRank& product : products) {
      a.leaves.push_back(LeafOf(embedding ? product.left : product.right));
      b.leaves.push_back(LeafOf(embedding ? product.right : product.left));
    }
    if (embedding) {  // stored by rank, wanted by column
      auto& leaf = std::get<RawLeaf>(b.leaves[0]);
      leaf.columns = rank;
      leaf.transposed = true;
    }
    const double factor = products[0].scale * static_cast<double>(rank) / alpha_;
    // What remains is rounding where the file's own scale is the module's.
    if (std::abs(factor - 1) > 1e-6) b.elements.push_back(ScaleRows{{{0, factor}}});
    std::vector<uint64_t> of_a = {columns, rank}, of_b = {rank, rows};
    if (embedding) {
      of_a = {rank, rows};
      of_b = {rank, columns};
    }
    if (experts > 1) {
      of_a.push_back(experts);
      of_b.push_back(experts);
    }
    AddTensor(target + ".lora_a", of_a, std::move(a));
    AddTensor(target + ".lora_b", of_b, std::move(b));
    return absl::OkStatus();
  }

  Metadata WriteKeys(std::vector<std::string>& warnings) const {
    GeneralInputs inputs;
    inputs.architecture = architecture_;
    inputs.folder = AdapterName(adapter_.path);
    const std::string card = (fs::path(adapter_.path) / "README.md").string();
    if (NameExists(card)) {
      const absl::StatusOr<std::string> text = ReadTextFile(card, kLimit);
      absl::StatusOr<std::optional<JsonValue>> parsed =
          text.ok() ? ParseModelCard(*text)
                    : absl::StatusOr<std::optional<JsonValue>>(text.status());
      if (parsed.ok()) {
        inputs.card = *std::move(parsed);
      } else {
        warnings.push_back(Cat("README.md: ", std::string(parsed.status().message()),
                               "; its metadata are left out"));
      }
    }
    Metadata general, keys;
    WriteGeneral(inputs, general, warnings);
    // A name's parts are a model's; llama.cpp's converter leaves them out of adapters.
    for (const char* key : {"general.basename", "general.finetune", "general.size_label"})
      general.Erase(key);
    for (const Metadata::Entry& entry : general.entries()) {
      keys.Set(entry.key, entry.value);
      if (entry.key != "general.type") continue;
      keys.Set("general.type", "adapter");
      keys.Set("adapter.type", "lora");
    }
    keys.Set("adapter.lora.alpha", static_cast<float>(alpha_));
    keys.Set("general.quantization_version", uint32_t{2});
    return keys;
  }

  LoraAdapter adapter_;
  const double strength_;
  const std::string base_;
  std::string architecture_, base_texts_;
  double alpha_ = 1;
  std::vector<std::string> notes_;
  std::vector<RecipeTensor> tensors_;
};

}  // namespace

absl::StatusOr<OpenedModel> OpenAsLoraFile(const std::string& adapter, double strength,
                                           const std::string& base) {
  SMELT_ASSIGN_OR_RETURN(const ModelPlace place, LocateModel(adapter));
  SMELT_ASSIGN_OR_RETURN(LoraAdapter opened, OpenLora(place.path));
  std::string of = base.empty() ? FindLoraBase(opened) : base;
  if (of.empty()) {
    const std::string name = opened.config.Base();
    return Error(ErrorCode::kNotFound, "the base of the adapter ", Escape(adapter, 100),
                 name.empty() ? std::string() : Cat(", ", Escape(name, 100), ","),
                 " is not on this machine; download its config.json and name the folder with "
                 "--base");
  }
  SMELT_ASSIGN_OR_RETURN(ModelPlace of_base, LocateModel(of));
  return LoraFile(std::move(opened), strength, std::move(of_base.path)).Make();
}

}  // namespace smelt
