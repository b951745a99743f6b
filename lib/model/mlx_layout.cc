#include "lib/model/mlx_layout.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/computed_matrix.h"
#include "formats/quantized/stored_matrix.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/model/alternatives.h"
#include "lib/model/published_names.h"

namespace smelt {
namespace {

constexpr std::string_view kWeight = ".weight", kExperts = ".experts";
/// ERNIE's bias of experts' scores, of which mlx-lm keeps nothing, behind what holds the experts.
constexpr std::string_view kLeftOut = ".moe_statics.e_score_correction_bias";
/// How mlx-lm's classes of GPT-2 and GPT-NeoX call blocks, and how GPT-NeoX's does.
constexpr std::string_view kMlxBlock = "model.h.", kBlock = "layers.";
/// Before the projection that a stack of experts is of.
constexpr std::string_view kStacks[] = {".switch_mlp.", ".switch_glu.", ".experts."};

/// A stack's name, taken apart.
struct StackName {
  std::string_view prefix;      ///< without that of the experts
  std::string_view projection;  ///< "up_proj"
};
std::optional<StackName> StackNameOf(const RawTensor& tensor) {
  const std::string_view name = tensor.name;
  if (tensor.shape.size() != 3 || !name.ends_with(kWeight)) return std::nullopt;
  for (const std::string_view stack : kStacks) {
    const size_t at = name.find(stack);
    if (at == std::string_view::npos) continue;
    StackName parts{name.substr(0, at), name.substr(at + stack.size())};
    parts.projection.remove_suffix(kWeight.size());
    if (parts.prefix.ends_with(kExperts)) parts.prefix.remove_suffix(kExperts.size());
    return parts;
  }
  return std::nullopt;
}

/// What mlx-lm calls projections, and what classes may call them.
struct Projection {
  std::string_view mlx, published;
};
constexpr Projection kProjections[] = {{"gate_proj", "gate_proj"}, {"up_proj", "up_proj"},
                                       {"down_proj", "down_proj"}, {"gate_proj", "w1"},
                                       {"down_proj", "w2"},        {"up_proj", "w3"},
                                       {"fc1", "up_proj"},         {"fc2", "down_proj"}};

/// A row of numbers, each less one.
class LessOne : public ComputedMatrix {
 public:
  explicit LessOne(StoredMatrix stored) : ComputedMatrix("MLX", 0), stored_(std::move(stored)) {}
  absl::Status ReadRows(uint64_t first, uint64_t count, float* out) const override {
    SMELT_RETURN_IF_ERROR(stored_.ReadFloats(first, count, out));
    for (uint64_t i = 0; i < count * stored_.columns(); ++i) out[i] -= 1;
    return absl::OkStatus();
  }

 private:
  StoredMatrix stored_;
};

/// Taps in the middle, where published ones are last.
bool IsMovedConvolution(const RawTensor& tensor) {
  return tensor.shape.size() == 3 && tensor.shape[1] > 1 && tensor.shape[2] == 1 &&
         tensor.contiguous() &&
         (tensor.name.ends_with("conv1d.weight") || tensor.name.ends_with(".conv.weight"));
}

/// One matrix of a stack.
RawTensor MatrixOf(const RawTensor& stack, uint64_t number, std::string name) {
  RawTensor matrix = OuterSlice(stack, number, 1);
  matrix.name = std::move(name);
  matrix.shape.erase(matrix.shape.begin());
  matrix.strides.erase(matrix.strides.begin());
  return matrix;
}

/// Whether a bare name is that of a rule: '*' is any number.
bool IsOf(std::string_view pattern, std::string_view bare) {
  const auto is_number = [](std::string_view text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
  };
  return std::ranges::equal(
      SplitAt(pattern, '.'), SplitAt(bare, '.'),
      [&](std::string_view a, std::string_view b) { return a == b || (a == "*" && is_number(b)); });
}

class Undoing {
 public:
  Undoing(const Family& family, Container& container)
      : family_(family), names_(family), container_(container) {}

  absl::Status Run() {
    std::vector<RawTensor> out;
    bool moved = false;
    const bool linear = HasLinears();
    for (RawTensor& tensor : container_.tensors) {
      if (Unstack(tensor, out)) continue;
      if (IsMovedConvolution(tensor)) {
        moved = true;
        std::swap(tensor.shape[1], tensor.shape[2]);
        tensor.strides = ContiguousStrides(tensor.shape);
      }
      Rename(tensor);
      if (linear && IsTurned(tensor.name)) tensor.name.insert(tensor.name.rfind('.'), ".linear");
      out.push_back(std::move(tensor));
    }
    container_.tensors = std::move(out);
    AddLeftOut();
    return moved ? AfterMoving() : absl::OkStatus();
  }

 private:
  bool IsWanted(std::string_view name) const { return names_.IsWanted(names_.Bare(name).text); }

  /// `name` with its last part but the ending, as the family calls it; empty: it calls nothing so.
  std::string Called(std::string_view before, std::string_view projection,
                     std::string_view ending) const {
    for (const Projection& p : kProjections) {
      std::string name = Cat(before, p.published, ending);
      if (p.mlx == projection && IsWanted(name)) return name;
    }
    return "";
  }

  bool Unstack(const RawTensor& tensor, std::vector<RawTensor>& out) {
    const std::optional<StackName> stack = StackNameOf(tensor);
    if (!stack || IsWanted(tensor.name)) return false;
    std::vector<std::string> experts;
    for (uint64_t i = 0; i < tensor.shape[0]; ++i) {
      experts.push_back(
          Called(Cat(stack->prefix, kExperts, ".", i, "."), stack->projection, kWeight));
      if (experts.back().empty()) return false;
    }
    for (uint64_t i = 0; i < tensor.shape[0]; ++i)
      out.push_back(MatrixOf(tensor, i, std::move(experts[i])));
    const std::string left_out = Cat(stack->prefix, kLeftOut);
    if (IsWanted(left_out)) missing_.emplace(left_out, tensor.shape[0]);
    return true;
  }

  void Rename(RawTensor& tensor) const {
    std::string_view name = tensor.name;
    if (IsWanted(name)) return;
    if (name.starts_with(kMlxBlock)) {
      std::string called = Cat(kBlock, name.substr(kMlxBlock.size()));
      if (IsWanted(called)) tensor.name = std::move(called);
      return;
    }
    if (!name.ends_with(kWeight)) return;
    const size_t end = name.size() - kWeight.size(), dot = name.rfind('.', end - 1);
    if (dot == std::string_view::npos) return;
    const std::string called =
        Called(name.substr(0, dot + 1), name.substr(dot + 1, end - dot - 1), kWeight);
    if (!called.empty()) tensor.name = called;
  }

  /// Whether the family stores the matrix as (inputs, outputs), or the bias of one; `only`: the
  /// matrix of queries, keys and values.
  bool IsTurned(std::string_view name, bool only = false) const {
    const std::string bare = names_.Bare(name).text;
    return std::ranges::any_of(family_.tensors, [&](const TensorRule& rule) {
      return rule.op == TensorOp::kTranspose && (!only || rule.rows == Param::kQkv) &&
             (names_.PlaceIn(rule.source, bare) || names_.PlaceIn(BiasesOf(rule.source), bare));
    });
  }

  /// mlx-lm has made (outputs, inputs) of such matrices: the one with more outputs tells.
  bool HasLinears() const {
    return std::ranges::any_of(container_.tensors, [&](const RawTensor& tensor) {
      return tensor.shape.size() == 2 && tensor.shape[0] > tensor.shape[1] &&
             IsTurned(tensor.name, true);
    });
  }

  /// Zeros, where experts were stacked and the family has a bias that mlx-lm's class leaves out.
  void AddLeftOut() {
    for (const RawTensor& tensor : container_.tensors) missing_.erase(tensor.name);
    if (!missing_.empty()) {
      container_.notes.push_back(
          Cat("mlx-lm leaves ", kLeftOut.substr(1),
              " away: experts are chosen without it, as mlx-lm chooses them; the model that was "
              "converted to MLX chooses with it"));
    }
    for (const auto& [name, experts] : missing_) {
      RawTensor tensor;
      tensor.name = name;
      tensor.shape = {1, experts};
      tensor.strides = ContiguousStrides(tensor.shape);
      tensor.storage = MemoryStorage(name, std::vector<std::byte>(experts * sizeof(float)));
      container_.tensors.push_back(std::move(tensor));
    }
  }

  bool IsAddedOne(std::string_view name) const {
    const std::string bare = names_.Bare(name).text;
    return std::ranges::any_of(family_.tensors, [&](const TensorRule& rule) {
      return rule.op == TensorOp::kAddOne &&
             std::ranges::any_of(Alternatives(rule.source), [&](std::string_view source) {
               return IsOf(names_.Bare(source).text, bare);
             });
    });
  }

  absl::Status AfterMoving() {
    if (family_.architecture.name == "falcon-h1") {
      return Error(ErrorCode::kUnsupported,
                   "the weights are mlx-lm's, which has multiplied the multipliers of ",
                   family_.names[0], " into them; use the model that was converted to MLX");
    }
    for (RawTensor& tensor : container_.tensors) {
      if (tensor.shape.size() != 1 || tensor.computed != nullptr || !IsAddedOne(tensor.name))
        continue;
      SMELT_ASSIGN_OR_RETURN(StoredMatrix stored, StoredMatrix::Make(tensor));
      tensor.computed = std::make_shared<LessOne>(std::move(stored));
      tensor.dtype = RawType::kF32;
    }
    return absl::OkStatus();
  }

  const Family& family_;
  const PublishedNames names_;
  Container& container_;
  std::map<std::string, uint64_t> missing_;  ///< tensors of so many zeros
};

}  // namespace

absl::Status UndoMlxLayout(const Family& family, Container& container) {
  const bool any = std::ranges::any_of(container.tensors, [](const RawTensor& tensor) {
    return IsMovedConvolution(tensor) || StackNameOf(tensor) || tensor.name.starts_with(kMlxBlock);
  });
  return any ? Undoing(family, container).Run() : absl::OkStatus();
}

}  // namespace smelt
